// Package shell keeps terminal sessions for browsers. A shell is an SSH client of the hub on a device, a ring of its
// newest output, and whoever is attached to it; it outlives its browsers, its link and, where the device's agent can
// hold the terminal (wire.HoldGreeting), the hub itself. The package knows no HTTP and no SQL: doors attach browsers,
// and the functions in Options reach the rest of the hub.
package shell

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/wire"
)

// Record is what of a shell outlives the hub.
type Record struct {
	ID, User, Device, Login string
	Rescue                  bool // through the agent's built-in server
	Cols, Rows              int
	OutlivesHub             bool // the device holds the terminal
	Created                 time.Time
}

// Target is what the shell's SSH connection is a stream to.
func (r Record) Target() wire.Target {
	if r.Rescue {
		return wire.TargetRescue
	}
	return wire.TargetSSH
}

// Store keeps records of shells that live.
type Store interface {
	CreateShell(ctx context.Context, r Record) error
	SetShellState(ctx context.Context, id, state string, outlivesHub bool) error
	EndShell(ctx context.Context, id string, exitStatus *int) error
	LiveShells(ctx context.Context) ([]Record, error)
}

// Device is what the hub knows of the other end.
type Device struct {
	Name      string
	HostKeys  []ssh.PublicKey // pinned; none means that no shell can be opened
	AgentPath string          // of the `adit` that holds terminals there; empty where there is none
}

// Options make Shells. Every field without a word about nil must be set.
type Options struct {
	Log   *slog.Logger
	Store Store

	// Device finds a device by its id.
	Device func(ctx context.Context, id string) (Device, error)
	// Dial opens a stream for a shell: to its target on its device, for its user.
	Dial func(ctx context.Context, r Record) (net.Conn, error)
	// Certify makes a user certificate for one login on one device.
	Certify func(ctx context.Context, user, device, login string, key ssh.PublicKey) (*ssh.Certificate, error)
	// Hold asks whether the record's user may have this shell. The context that it gives ends when that is no longer
	// so, with an Error as its cause.
	Hold func(ctx context.Context, r Record) (context.Context, context.CancelFunc, error)
	// Presence yields devices that come and go. nil: shells notice a lost device by its streams alone.
	Presence func(ctx context.Context) iter.Seq2[string, bool]
	// Opened and Ended are told of a shell's life, for the event log. Either may be nil.
	Opened, Ended func(ctx context.Context, r Record)

	// Life is how long a shell is kept without a browser. 0 means ten minutes.
	Life time.Duration
}

// Limits on shells that live at once. Each may hold wire.ShellRing bytes of output.
const (
	maxShells  = 1000
	maxPerUser = 50
)

// Shells are the live shells of a hub. Its methods may be called concurrently, after Run has begun.
type Shells struct {
	o     Options
	begun chan struct{}

	mu      sync.Mutex
	life    context.Context // of Run; nil before and after
	shells  map[string]*Shell
	running sync.WaitGroup
}

// New makes Shells; Run brings them to life.
func New(o Options) *Shells {
	o.Life = cmp.Or(o.Life, wire.HoldLife*time.Second)
	return &Shells{o: o, begun: make(chan struct{}), shells: make(map[string]*Shell)}
}

// Run takes up the shells that an earlier hub left and serves until ctx ends. Shells that devices hold are then left
// to the next hub. It returns when nothing of them runs any more.
func (s *Shells) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := s.restore(ctx); err != nil {
		return err
	}
	close(s.begun)
	if s.o.Presence != nil {
		s.running.Go(func() { s.watch(ctx) })
	}
	<-ctx.Done()
	s.mu.Lock()
	s.life = nil
	s.mu.Unlock()
	s.running.Wait()
	return nil
}

func (s *Shells) restore(ctx context.Context) error {
	records, err := s.o.Store.LiveShells(ctx)
	if err != nil {
		return fmt.Errorf("live shells: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.life = ctx
	for _, r := range records {
		if !r.OutlivesHub {
			if err := s.o.Store.EndShell(ctx, r.ID, nil); err != nil {
				return fmt.Errorf("end shell: %w", err)
			}
			continue
		}
		if err := s.begin(restored(r, s.o)); err != nil {
			s.o.Log.Info("shell ended", "shell", r.ID, "device", r.Device, "user", r.User, "cause", wire.MessageOf(err))
			if err := s.o.Store.EndShell(ctx, r.ID, nil); err != nil {
				return fmt.Errorf("end shell: %w", err)
			}
		}
	}
	return nil
}

// begin gives a shell its life. The caller holds mu.
func (s *Shells) begin(sh *Shell) error {
	allowed, release, err := s.o.Hold(s.life, sh.record)
	if err != nil {
		return err
	}
	id, life := sh.record.ID, s.life
	s.shells[id] = sh
	s.running.Go(func() {
		defer release()
		sh.run(life, allowed)
		s.mu.Lock()
		delete(s.shells, id)
		s.mu.Unlock()
	})
	return nil
}

// Open begins a shell; r.OutlivesHub is for the device to decide. It returns at once, in state opening. It fails with
// RateLimited, Invalid, and what Hold fails with.
func (s *Shells) Open(ctx context.Context, r Record) (View, error) {
	if err := s.ready(ctx); err != nil {
		return View{}, err
	}
	if !wire.ValidLogin(r.Login) || !(wire.ShellSize{Cols: r.Cols, Rows: r.Rows}).Valid() {
		return View{}, wire.Errorf(wire.Invalid, "A shell needs a login, and a size of 1 to 1000 columns and rows.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life == nil {
		return View{}, errStopping
	}
	if err := s.roomFor(r.User); err != nil {
		return View{}, err
	}
	if err := s.o.Store.CreateShell(ctx, r); err != nil {
		return View{}, fmt.Errorf("create shell: %w", err)
	}
	sh := newShell(r, s.o)
	if err := s.begin(sh); err != nil {
		_ = s.o.Store.EndShell(ctx, r.ID, nil)
		return View{}, err
	}
	return sh.View(), nil
}

var errStopping = wire.Errorf(wire.Offline, "The hub is stopping. Try again in a moment.")

// ready waits for Run to have taken up earlier shells.
func (s *Shells) ready(ctx context.Context) error {
	select {
	case <-s.begun:
		return nil
	case <-ctx.Done():
		return errStopping
	}
}

// roomFor refuses what would be one too many. The caller holds mu.
func (s *Shells) roomFor(user string) error {
	own := 0
	for _, sh := range s.shells {
		if sh.record.User == user && sh.View().State != wire.ShellEnded {
			own++
		}
	}
	if own >= maxPerUser || len(s.shells) >= maxShells {
		return wire.Errorf(wire.RateLimited, "You have %d shells open. End one first: each keeps its output in memory.", own)
	}
	return nil
}

// ErrNoShell is the answer for a shell that is over, or not the caller's: nobody can tell which.
var ErrNoShell = wire.Errorf(wire.NotFound, "You have no shell with this id. It may have ended.")

// find gives the shell of a user.
func (s *Shells) find(ctx context.Context, user, id string) (*Shell, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.shells[id]
	if sh == nil || sh.record.User != user {
		return nil, ErrNoShell
	}
	return sh, nil
}

// List gives the shells of a user that still live, oldest first.
func (s *Shells) List(ctx context.Context, user string) ([]View, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	views := []View{}
	for _, sh := range s.shells {
		if v := sh.View(); v.User == user && v.State != wire.ShellEnded {
			views = append(views, v)
		}
	}
	slices.SortFunc(views, func(a, b View) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return views, nil
}

// Close ends a user's shell: its terminal is hung up. It fails with NotFound.
func (s *Shells) Close(ctx context.Context, user, id string) error {
	sh, err := s.find(ctx, user, id)
	if err != nil {
		return err
	}
	sh.close()
	return nil
}

// Attach lets a browser of the shell's user look on and type, from output byte number from on. who is shown to everyone
// attached. It fails with NotFound. The caller closes the Attachment.
func (s *Shells) Attach(ctx context.Context, user, id, who string, from int64) (*Attachment, error) {
	sh, err := s.find(ctx, user, id)
	if err != nil {
		return nil, err
	}
	return sh.attach(who, from)
}

// watch tells shells whether their device is there.
func (s *Shells) watch(ctx context.Context) {
	for device, online := range s.o.Presence(ctx) {
		s.mu.Lock()
		for _, sh := range s.shells {
			if sh.record.Device == device {
				sh.setOnline(online)
			}
		}
		s.mu.Unlock()
	}
}
