package ports

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
	"github.com/aditdev/adit/tunnelhub"
)

const (
	// maxConns is how many connections one port carries at once.
	maxConns = 256
	// listenEvery is how often a port is tried that cannot be listened on.
	listenEvery = 3 * time.Second
	// acceptPause is how long accepting waits after a failure: out of file descriptors, most likely, which passes.
	acceptPause = time.Second
)

var (
	errGivenBack = wire.Errorf(wire.Forbidden, "This port was given back.")
	errFull      = wire.Errorf(wire.RateLimited, "The port carries %d connections, which is the most.", maxConns)
)

// port is one reservation, served.
type port struct {
	*Ports
	row    store.TCPPort
	log    *slog.Logger
	life   context.Context // ends with the reservation; its cause is why
	cancel context.CancelCauseFunc

	mu       sync.Mutex
	listener net.Listener // nil where it does not listen
	cause    error        // why
	conns    int
}

// begin listens and serves until end. The caller holds Ports.mu.
func (p *Ports) begin(row store.TCPPort) *port {
	s := &port{Ports: p, row: row, log: p.Log.With("port", row.Port, "device", row.DeviceID, "target", row.Target)}
	s.life, s.cancel = context.WithCancelCause(p.life)
	s.listen()
	p.serving.Go(s.run)
	return s
}

// end stops listening at once, so that the next reservation finds the port free, and ends what runs through it.
func (s *port) end(cause error) {
	s.cancel(cause)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		_ = s.listener.Close()
	}
}

// listen tries to listen and remembers why it cannot.
func (s *port) listen() {
	listener, err := s.tryListen()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && s.cause == nil {
		s.log.Warn("port not listened on; it is tried again", "cause", err)
	}
	s.listener, s.cause = listener, err
	if err == nil && s.life.Err() != nil { // it ended meanwhile
		_ = listener.Close()
	}
}

func (s *port) tryListen() (net.Listener, error) {
	if !s.Range.Has(int(s.row.Port)) {
		return nil, wire.Errorf(wire.Conflict, "It lies outside of ADIT_TCP_PORTS (%s), and waits for that to hold it again.",
			cmp.Or(s.Range.String(), "which is not set"))
	}
	listener, err := (&net.ListenConfig{}).Listen(s.life, "tcp", s.address())
	if err != nil {
		return nil, wire.Wrap(err, wire.Conflict, "The hub cannot listen on %s (%s). It tries again every few seconds.",
			s.address(), plainly(err))
	}
	s.log.Info("port listens", "address", s.address())
	return listener, nil
}

// plainly is what the system says, without the words that Go puts around it.
func plainly(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	return err.Error()
}

func (s *port) address() string { return s.Ports.address(s.row.Port) }

// state is whether the port listens, and why not.
func (s *port) state() (listening bool, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listener != nil, s.cause
}

// run accepts connections, and listens again where that failed, until the port ends. It waits for what it carries.
func (s *port) run() {
	var carrying sync.WaitGroup
	defer carrying.Wait()
	for s.life.Err() == nil {
		s.mu.Lock()
		listener := s.listener
		s.mu.Unlock()
		if listener == nil {
			if s.pause(listenEvery) {
				s.listen()
			}
			continue
		}
		conn, err := listener.Accept()
		switch {
		case err == nil:
			s.take(conn, &carrying)
		case s.life.Err() == nil:
			s.log.Warn("port accepts nothing for a moment", "cause", err)
			s.pause(acceptPause)
		}
	}
}

// pause reports whether the port still lives after d.
func (s *port) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.life.Done():
		return false
	}
}

// take carries a connection in the background, unless there are too many.
func (s *port) take(conn net.Conn, carrying *sync.WaitGroup) {
	s.mu.Lock()
	full := s.conns >= maxConns
	if !full {
		s.conns++
	}
	s.mu.Unlock()
	if full {
		s.tell(conn, errFull)
		_ = conn.Close()
		return
	}
	carrying.Go(func() {
		if err := s.carry(conn); err != nil {
			s.tell(conn, err)
		}
		s.mu.Lock()
		s.conns--
		s.mu.Unlock()
	})
}

// tell logs a refusal. Whoever can reach the port can cause one, so there are no more than a few at once.
func (s *port) tell(conn net.Conn, cause error) {
	if s.told.Allow(s.address()) {
		s.log.Info("port refused a connection", "from", from(conn), "cause", cause)
	}
}

// carry takes one connection to the target and back, for as long as whoever reserved the port may reach it. The error
// is why that never began; how it ended the tunnel's log says.
func (s *port) carry(conn net.Conn) error {
	defer conn.Close()
	held, release, err := s.Gate.HoldForOthers(s.life, access.Use{User: s.row.UserID, Device: s.row.DeviceID, Target: s.row.Target})
	if err != nil {
		return err
	}
	defer release()
	far, err := s.Dial(held, tunnelhub.Request{Device: s.row.DeviceID, Target: wire.Target(s.row.Target), User: s.row.UserID,
		Via: tunnelhub.ViaPort, From: from(conn)})
	if err != nil {
		return err
	}
	defer context.AfterFunc(held, func() { far.Reset(s.why(held)) })()
	_ = far.Join(conn)
	return nil
}

// why is the cause for which a stream ends: the hub's own end is no fault of anybody.
func (s *port) why(held context.Context) error {
	if cause := context.Cause(held); wire.CodeOf(cause) != wire.Internal {
		return cause
	}
	return stream.Restarting
}

// from is where a connection comes from, without its port.
func from(conn net.Conn) string {
	at, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return conn.RemoteAddr().String()
	}
	return at.Addr().Unmap().WithZone("").String()
}
