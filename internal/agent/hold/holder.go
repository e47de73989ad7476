//go:build !windows

package hold

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

const (
	readyWord = "ok"
	// firstJoin is how long a holder waits for the join that its bridge announced.
	firstJoin = 30 * time.Second
)

// serveHolder is the life of a holder. It says on ready that it listens, or why not, and returns when the terminal is
// over and its exit status was read, or when nobody has been there for wire.HoldLife seconds.
func serveHolder(ctx context.Context, id string, ready io.WriteCloser) error {
	// Caught rather than ignored: an ignored signal would be ignored by the login shell too.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGPIPE)
	defer signal.Stop(hangups)
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()

	path, err := socketPath(id)
	if err != nil {
		return errors.Join(err, say(ready, err.Error()))
	}
	lock, listener, err := claim(path)
	if errors.Is(err, errHeld) {
		return say(ready, readyWord) // the other one answers
	}
	if err != nil {
		return errors.Join(err, say(ready, err.Error()))
	}
	defer release(path, lock, listener)
	if err := say(ready, readyWord); err != nil {
		return err
	}
	return newHolder(listener, time.Duration(wire.HoldLife)*time.Second).run(ctx)
}

func say(ready io.WriteCloser, word string) error {
	_, err := io.WriteString(ready, word)
	return errors.Join(err, ready.Close())
}

// holder accepts joiners for one terminal.
type holder struct {
	listener net.Listener
	life     time.Duration // without a joiner
	joiners  sync.WaitGroup
	terminal *terminal
}

func newHolder(listener net.Listener, life time.Duration) *holder {
	return &holder{listener: listener, life: life, terminal: newTerminal()}
}

// run returns nil once the terminal is over; it has waited for everything that it started.
func (h *holder) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		h.accept(ctx)
	}()
	h.terminal.untilForgotten(ctx, firstJoin, h.life)
	cancel()
	_ = h.listener.Close()
	<-accepting
	h.terminal.end()
	h.joiners.Wait()
	return nil
}

func (h *holder) accept(ctx context.Context) {
	for {
		conn, err := h.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			select { // out of file descriptors, most likely: that passes
			case <-time.After(time.Second):
				continue
			case <-ctx.Done():
				return
			}
		}
		h.joiners.Go(func() {
			defer conn.Close()
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			_ = serveJoiner(conn, h.terminal) // its end is its own affair: the terminal stays
		})
	}
}

// parseJoin checks a first frame. It fails with an Error of code Invalid.
func parseJoin(kind byte, payload []byte) (wire.HoldJoin, error) {
	var join wire.HoldJoin
	if kind != wire.HoldJoinFrame {
		return join, wire.Errorf(wire.Invalid, "The first frame must be a join, not 0x%02x.", kind)
	}
	if err := unmarshal(payload, &join); err != nil {
		return join, err
	}
	if join.As == "" || join.From < 0 {
		return join, wire.Errorf(wire.Invalid, "A join names who joins, and wants output from 0 on.")
	}
	size := wire.ShellSize{Cols: join.Cols, Rows: join.Rows}
	if size != (wire.ShellSize{}) && !size.Valid() {
		return join, wire.Errorf(wire.Invalid, "A terminal of %d×%d cells is none.", join.Cols, join.Rows)
	}
	return join, nil
}
