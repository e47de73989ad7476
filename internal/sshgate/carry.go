package sshgate

import (
	"io"
	"net"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/stream"
)

// carry copies between a channel and a conn until both directions have ended, then closes both. It keeps half-closes
// (CHANNEL_EOF). A CHANNEL_CLOSE of the peer, which closes requests, ends the other direction too (RFC 4254 §5.3), once
// what came before it has been passed on: a conn that says nothing would else keep the channel for ever.
func carry(channel ssh.Channel, requests <-chan *ssh.Request, conn stream.HalfCloser) {
	var both, closing sync.WaitGroup
	passed := make(chan struct{}) // all that the channel said
	closing.Go(func() {
		ssh.DiscardRequests(requests)
		<-passed
		_ = conn.Close()
	})
	both.Go(func() {
		defer close(passed)
		if _, err := io.Copy(conn, channel); err != nil || conn.CloseWrite() != nil {
			_, _ = conn.Close(), channel.Close()
		}
	})
	if _, err := io.Copy(channel, conn); err != nil || channel.CloseWrite() != nil {
		_ = channel.Close()
	}
	both.Wait()
	_, _ = conn.Close(), channel.Close()
	closing.Wait() // the peer answers our close, or the connection ends
}

// pair is a conn inside this process whose other end carries a channel, which it closes when it is closed itself: at the
// other end a close and a half-close look alike.
type pair struct {
	*net.UnixConn
	once   sync.Once
	closed chan struct{}
}

func (p *pair) Close() error {
	p.once.Do(func() { close(p.closed) })
	return p.UnixConn.Close()
}

// newPair gives a conn that leads to a channel, and a function that carries until it is over.
func newPair(channel ssh.Channel, requests <-chan *ssh.Request) (*pair, func(), error) {
	ours, theirs, err := stream.SocketPair()
	if err != nil {
		_ = channel.Close()
		go ssh.DiscardRequests(requests)
		return nil, nil, err
	}
	p := &pair{UnixConn: ours, closed: make(chan struct{})}
	return p, func() {
		drained := &drain{UnixConn: theirs, end: make(chan struct{})}
		over := make(chan struct{})
		var watching sync.WaitGroup
		watching.Go(func() {
			select {
			case <-p.closed:
			case <-over:
				return
			}
			select {
			case <-drained.end: // what was written before the close still arrives
				_ = channel.Close()
			case <-over:
			}
		})
		carry(channel, requests, drained)
		close(over)
		watching.Wait()
	}, nil
}

// drain tells when everything that was written at the other end has been read.
type drain struct {
	*net.UnixConn
	once sync.Once
	end  chan struct{}
}

func (d *drain) Read(p []byte) (int, error) {
	n, err := d.UnixConn.Read(p)
	if err != nil {
		d.once.Do(func() { close(d.end) })
	}
	return n, err
}
