package bridge

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/wire"
)

const (
	redialLeast = time.Second
	redialMost  = 30 * time.Second
)

// link keeps a connection to one of the two brokers. Its MQTT session goes on over all of them.
type link struct {
	what    string
	log     *slog.Logger
	connect func(ctx context.Context, session *mqtt.Session) (*mqtt.Client, error)

	session    *mqtt.Session
	subscribed bool // of the goroutine that keeps

	mu      sync.Mutex
	client  *mqtt.Client
	changed chan struct{} // closed when client changes
	dialect dialect
	err     error
}

// keep connects again and again until ctx ends.
func (l *link) keep(ctx context.Context) {
	wait := redialLeast
	for ctx.Err() == nil {
		began := time.Now()
		err := l.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > redialMost {
			wait = redialLeast
		}
		l.log.Info("mqtt bridge not connected", "to", l.what, "cause", err)
		select {
		case <-ctx.Done():
		case <-time.After(wait/2 + rand.N(wait/2)):
		}
		wait = min(wait*2, redialMost)
	}
}

func (l *link) once(ctx context.Context) error {
	c, err := l.connect(ctx, l.session)
	if err != nil {
		if c != nil {
			_ = c.Close()
		}
		l.set(nil, err)
		return err
	}
	l.set(c, nil)
	select {
	case <-c.Done():
		err = c.Err()
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	l.set(nil, err)
	_ = c.Close() // and waits: the session is the next one's then
	return err
}

func (l *link) set(c *mqtt.Client, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.client, l.err = c, err
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

func (l *link) speak(d dialect) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dialect = d
}

// speaks is the dialect found last.
func (l *link) speaks() dialect {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dialect
}

// now is the client that is connected, nil for none.
func (l *link) now() *mqtt.Client {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.client
}

func (l *link) up() bool { return l.now() != nil }

func (l *link) why() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		return ""
	}
	if wire.CodeOf(l.err) != wire.Internal {
		return wire.MessageOf(l.err)
	}
	return "The " + l.what + " is not connected: " + l.err.Error() + "."
}

// await gives the client as soon as there is one; nil where ctx ended.
func (l *link) await(ctx context.Context) *mqtt.Client {
	for {
		l.mu.Lock()
		if l.client != nil {
			defer l.mu.Unlock()
			return l.client
		}
		if l.changed == nil {
			l.changed = make(chan struct{})
		}
		changed := l.changed
		l.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}
