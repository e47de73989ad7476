package sshserver

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/creack/pty"
	"golang.org/x/crypto/ssh"
)

// session is one channel of that type (RFC 4254 §6): it prepares an environment and perhaps a terminal, and then runs
// one program.
type session struct {
	channel ssh.Channel
	who     identity
	sftp    []string
	log     *slog.Logger

	env      []string
	term     string
	size     pty.Winsize
	wantsPTY bool
	program  *program // nil until one runs
}

func (c *connection) session(ctx context.Context, n ssh.NewChannel) {
	channel, requests, err := n.Accept()
	if err != nil {
		return
	}
	s := &session{channel: channel, who: c.who, sftp: c.server.config.SFTP, log: c.log, env: c.who.account.environment()}
	defer s.end()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.done():
			return
		case r, ok := <-requests:
			if !ok {
				return
			}
			granted := s.request(r)
			if r.WantReply {
				_ = r.Reply(granted, nil)
			}
		}
	}
}

// done is closed when the program has ended and everything it said is sent; nil before one runs.
func (s *session) done() <-chan struct{} {
	if s.program == nil {
		return nil
	}
	return s.program.done
}

func (s *session) end() {
	if s.program != nil {
		s.program.hangUp()
	}
	_ = s.channel.Close()
}

// request answers one channel request (RFC 4254 §6.2–6.9).
func (s *session) request(r *ssh.Request) bool {
	switch r.Type {
	case "env":
		return s.setEnv(r.Payload)
	case "pty-req":
		return s.allocate(r.Payload)
	case "window-change":
		return s.resize(r.Payload)
	case "shell":
		return s.start("", nil)
	case "exec":
		var p struct{ Command string }
		return ssh.Unmarshal(r.Payload, &p) == nil && s.start(p.Command, nil)
	case "subsystem":
		var p struct{ Name string }
		return ssh.Unmarshal(r.Payload, &p) == nil && p.Name == "sftp" && s.start("", s.sftp)
	case "signal":
		var p struct{ Name string }
		return ssh.Unmarshal(r.Payload, &p) == nil && s.program != nil && s.program.signal(p.Name)
	case "eow@openssh.com":
		return true
	}
	s.log.Warn("ssh channel request refused", "type", printable(r.Type))
	return false
}

// setEnv takes what sshd takes by default, the language, and what terminals say of their colours. Anything else could
// change how programs of the login find their parts.
func (s *session) setEnv(payload []byte) bool {
	var p struct{ Name, Value string }
	if ssh.Unmarshal(payload, &p) != nil || s.program != nil || strings.ContainsRune(p.Value, 0) {
		return false
	}
	if p.Name != "LANG" && !strings.HasPrefix(p.Name, "LC_") && p.Name != "COLORTERM" || strings.ContainsAny(p.Name, "=\x00") {
		return false
	}
	s.env = append(s.env, p.Name+"="+p.Value)
	return len(s.env) < 64
}

const maxSize = 10_000 // columns and rows

func (s *session) allocate(payload []byte) bool {
	var p struct {
		Term                string
		Cols, Rows          uint32
		WidthPix, HeightPix uint32
		Modes               string
	}
	if ssh.Unmarshal(payload, &p) != nil || !s.who.pty || s.wantsPTY || s.program != nil {
		return false
	}
	s.wantsPTY, s.term = true, printable(p.Term)
	s.size = winsize(p.Cols, p.Rows)
	return true
}

func winsize(cols, rows uint32) pty.Winsize {
	return pty.Winsize{Cols: uint16(min(cols, maxSize)), Rows: uint16(min(rows, maxSize))}
}

func (s *session) resize(payload []byte) bool {
	var p struct{ Cols, Rows, WidthPix, HeightPix uint32 }
	if ssh.Unmarshal(payload, &p) != nil || !s.wantsPTY {
		return false
	}
	s.size = winsize(p.Cols, p.Rows)
	if s.program != nil {
		return s.program.resize(s.size)
	}
	return true
}

// start runs the login shell, with line as its command where that is not empty, or the given subsystem.
func (s *session) start(line string, subsystem []string) bool {
	if s.program != nil {
		return false
	}
	cmd := s.command(line, subsystem)
	var err error
	if s.wantsPTY && subsystem == nil {
		s.env = append(s.env, "TERM="+s.term)
		cmd.Env = s.env
		s.program, err = startPTY(cmd, s.channel, s.who.account, s.size, line == "")
	} else {
		s.program, err = startPiped(cmd, s.channel, s.who.account)
	}
	if err != nil {
		s.log.Warn("ssh program not started", "cause", err)
		s.program = nil
		return false
	}
	return true
}

func (s *session) command(line string, subsystem []string) *exec.Cmd {
	a := s.who.account
	if s.who.forceCommand != "" {
		s.env = append(s.env, "SSH_ORIGINAL_COMMAND="+line)
		line, subsystem = s.who.forceCommand, nil
	}
	cmd := &exec.Cmd{Path: a.shell, Args: []string{"-" + filepath.Base(a.shell)}}
	switch {
	case subsystem != nil:
		cmd = exec.Command(subsystem[0], subsystem[1:]...)
	case line != "":
		cmd.Args = []string{filepath.Base(a.shell), "-c", line}
	}
	cmd.Env = s.env
	cmd.Dir = a.directory()
	cmd.SysProcAttr = a.attributes()
	if !reachable(cmd.Dir, a) {
		cmd.Dir = "/"
	}
	return cmd
}

// reachable reports whether the account may enter dir: a home that another account closed must not keep it out.
func reachable(dir string, a account) bool {
	info, err := os.Stat(dir)
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || a.uid == 0 || stat.Uid == a.uid {
		return true
	}
	return info.Mode()&0o001 != 0 || stat.Gid == a.gid && info.Mode()&0o010 != 0
}
