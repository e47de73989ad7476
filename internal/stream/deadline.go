package stream

import (
	"errors"
	"net"
	"sync"
	"time"
)

// streamAddr is the address of both ends of a stream: there is none.
type streamAddr struct{}

func (streamAddr) Network() string { return "adit" }
func (streamAddr) String() string  { return "stream" }

// LocalAddr is net.Conn's; a stream has no address.
func (e *End) LocalAddr() net.Addr { return streamAddr{} }

// RemoteAddr is net.Conn's; a stream has no address.
func (e *End) RemoteAddr() net.Addr { return streamAddr{} }

// SetDeadline is net.Conn's.
func (e *End) SetDeadline(t time.Time) error {
	return errors.Join(e.SetReadDeadline(t), e.SetWriteDeadline(t))
}

// SetReadDeadline is net.Conn's.
func (e *End) SetReadDeadline(t time.Time) error { e.readDeadline.set(t); return nil }

// SetWriteDeadline is net.Conn's. It bounds the wait for the window.
func (e *End) SetWriteDeadline(t time.Time) error { e.writeDeadline.set(t); return nil }

// deadline wakes those who wait on changed when its time has passed.
type deadline struct {
	changed *sync.Cond
	at      time.Time
	timer   *time.Timer
}

func (d *deadline) set(t time.Time) {
	d.changed.L.Lock()
	defer d.changed.L.Unlock()
	d.at = t
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if !t.IsZero() {
		d.timer = time.AfterFunc(time.Until(t), func() {
			d.changed.L.Lock()
			defer d.changed.L.Unlock()
			d.changed.Broadcast()
		})
	}
	d.changed.Broadcast()
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }
