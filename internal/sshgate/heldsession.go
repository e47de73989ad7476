package sshgate

import (
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/wire"
)

// heldSession is a session channel (RFC 4254 §6) whose requests and bytes the hub passes between client and device.
type heldSession struct {
	*held
	near, far ssh.Channel
	ended     atomic.Bool // the device said how

	saying sync.Mutex // held while the hub itself says something, and where the client's output ends
	silent bool       // nothing may be said to the client any more
}

// session opens the device's channel beside the client's and carries until both are closed.
func (h *held) session(n ssh.NewChannel) {
	far, farRequests, err := h.far.OpenChannel("session", nil)
	if err != nil {
		reject(n, wire.Wrap(err, wire.Offline, "The device's SSH server opened no session."))
		return
	}
	near, nearRequests, err := n.Accept()
	if err != nil {
		_ = far.Close()
		ssh.DiscardRequests(farRequests)
		return
	}
	s := &heldSession{held: h, near: near, far: far}
	h.mu.Lock()
	h.open[s] = struct{}{}
	h.mu.Unlock()
	s.carry(nearRequests, farRequests)
	h.mu.Lock()
	delete(h.open, s)
	h.mu.Unlock()
}

// carry keeps half-closes and the order of what the device says: its output, then its status, then the end.
func (s *heldSession) carry(nearRequests, farRequests <-chan *ssh.Request) {
	var input, output sync.WaitGroup
	typed := make(chan struct{})
	input.Go(func() {
		defer close(typed)
		_, _ = io.Copy(s.far, s.near)
		_ = s.far.CloseWrite()
	})
	input.Go(func() {
		for r := range nearRequests {
			s.ask(r)
		}
		select { // the client closed the channel; what it said before still arrives
		case <-typed:
		case <-time.After(closeGrace):
		}
		_ = s.far.Close()
	})
	output.Go(func() { _, _ = io.Copy(s.near, s.far) })
	output.Go(func() { _, _ = io.Copy(s.near.Stderr(), s.far.Stderr()) })
	status := s.answers(farRequests, output.Wait)
	output.Wait()
	if status != nil {
		_, _ = s.near.SendRequest(status.Type, false, status.Payload)
	}
	_ = s.near.Close()
	input.Wait()
}

// closeGrace is how long a closed channel waits for the device to take what was typed before.
const closeGrace = 2 * time.Second

// answers serves the device's requests until it closes the channel, and gives the one that says how the program ended
// (RFC 4254 §6.10). flushed waits for its output.
func (s *heldSession) answers(requests <-chan *ssh.Request, flushed func()) (status *ssh.Request) {
	var closing sync.WaitGroup
	closing.Go(func() { flushed(); s.silence() })
	defer closing.Wait()
	for r := range requests {
		switch r.Type {
		case "exit-status", "exit-signal":
			status = r
			s.ended.Store(true)
		case "eow@openssh.com":
			_, _ = s.near.SendRequest(r.Type, false, r.Payload)
		}
		if r.WantReply { // as OpenSSH's keepalive has it: any answer is a sign of life
			_ = r.Reply(false, nil)
		}
	}
	return status
}

// ask passes on a request of the client's, of those that work on a terminal or a program.
func (s *heldSession) ask(r *ssh.Request) {
	ok := false
	if s.passes(r) {
		ok, _ = s.far.SendRequest(r.Type, r.WantReply, r.Payload)
	} else {
		s.inner.tell(slog.LevelWarn, "ssh request refused", "type", wire.Printable(r.Type, 60))
	}
	if r.WantReply {
		_ = r.Reply(ok, nil)
	}
}

func (s *heldSession) passes(r *ssh.Request) bool {
	switch r.Type {
	case "env", "shell", "exec", "signal", "window-change", "break", "eow@openssh.com":
		return true
	case "pty-req":
		return s.options.PTY()
	case "subsystem":
		var p struct{ Name string }
		return ssh.Unmarshal(r.Payload, &p) == nil && p.Name == "sftp"
	}
	return false
}

// say tells the client why the session ends, unless its program ended by itself.
func (s *heldSession) say(why error) {
	s.saying.Lock()
	defer s.saying.Unlock()
	if !s.silent && !s.ended.Load() {
		s.silent = true
		_, _ = fmt.Fprintf(s.near.Stderr(), "\r\nadit: %s: %s\r\n", wire.CodeOf(why), wire.MessageOf(why))
	}
}

// silence ends the client's output. A channel's CloseWrite must not meet a Write of its own.
func (s *heldSession) silence() {
	s.saying.Lock()
	defer s.saying.Unlock()
	s.silent = true
	_ = s.near.CloseWrite()
}
