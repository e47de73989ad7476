// Package ports serves the TCP ports of the hub that are dedicated to targets of devices: whoever connects to one is
// carried to its target. The reservations are in the database; each is served for as long as it stands there, also where
// another process, or the removal of a device or user, takes it away.
package ports

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/config"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/tunnelhub"
)

// Options make Ports; every field must be set, but Range may be none.
type Options struct {
	Log    *slog.Logger
	Range  config.TCPPorts
	Store  *store.Store
	Gate   *auth.Gate
	Events *events.Log
	Now    func() time.Time
	// Dial opens a stream: tunnelhub.Hub's.
	Dial func(context.Context, tunnelhub.Request) (stream.Conn, error)
}

// Ports are the dedicated ports of a hub. Its methods may be called concurrently; Reserve and Release wait for Run.
type Ports struct {
	Options
	reserving sync.Mutex    // one port is chosen at a time
	told      *auth.Limiter // lines in the log about what strangers do, by port
	begun     chan struct{} // closed when Run has

	mu      sync.Mutex
	life    context.Context // of Run; nil before and after
	version int64           // of the policy whose reservations are served
	served  map[int64]*port
	serving sync.WaitGroup
}

// New makes Ports. Run serves them.
func New(o Options) *Ports {
	return &Ports{Options: o, told: auth.NewLimiter(20, 10*time.Second, o.Now), begun: make(chan struct{}), version: -1,
		served: make(map[int64]*port)}
}

// Run listens on every reserved port until ctx ends, and returns when nothing of them runs any more. A port that cannot
// be listened on is no failure: it is tried again and again.
func (p *Ports) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p.mu.Lock()
	p.life = ctx
	p.mu.Unlock()
	close(p.begun)
	err := p.Store.Follow(ctx, p.follow)
	p.mu.Lock()
	p.life = nil
	for number, served := range p.served {
		served.end(stream.Restarting)
		delete(p.served, number)
	}
	p.mu.Unlock()
	p.serving.Wait()
	return err
}

// serveNow is follow for who has just changed something and wants it served when they are answered.
func (p *Ports) serveNow(ctx context.Context) error {
	select {
	case <-p.begun:
		return p.follow(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// follow serves what is reserved now. Whatever adds or takes a reservation, the end of its device or user included,
// changes who may do what, and so the policy's version.
func (p *Ports) follow(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	version, err := p.Store.Read().AccessVersion(ctx)
	if err != nil {
		return fmt.Errorf("access version: %w", err)
	}
	if version == p.version || p.life == nil {
		return nil
	}
	rows, err := p.Store.Read().TCPPorts(ctx)
	if err != nil {
		return fmt.Errorf("reserved ports: %w", err)
	}
	p.version = version
	p.serve(rows)
	return nil
}

// serve ends what is no longer reserved, or for something else, and begins what is new. The caller holds mu.
func (p *Ports) serve(rows []store.TCPPortsRow) {
	reserved := make(map[int64]store.TCPPort, len(rows))
	for _, row := range rows {
		reserved[row.TCPPort.Port] = row.TCPPort
	}
	for number, served := range p.served {
		if row, ok := reserved[number]; !ok || row != served.row {
			served.end(errGivenBack)
			delete(p.served, number)
		}
	}
	for number, row := range reserved {
		if p.served[number] == nil {
			p.served[number] = p.begin(row)
		}
	}
}
