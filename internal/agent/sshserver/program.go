package sshserver

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/creack/pty"
	"golang.org/x/crypto/ssh"
)

// program is a process that a session runs, and the copying between it and the channel.
type program struct {
	cmd     *exec.Cmd
	account account // whom it belongs to
	channel ssh.Channel
	tty     *os.File      // the terminal's master side; nil without a terminal
	done    chan struct{} // closed when the process has ended and its output and status are sent

	stdin   io.WriteCloser
	outputs sync.WaitGroup
	files   []io.Closer // ours, to close when the session ends

	mu     sync.Mutex // held while the process group is signalled
	reaped bool       // from here on the number of the process may be another's
}

// startPTY runs cmd on a new terminal. greet shows the message of the day first.
func startPTY(cmd *exec.Cmd, channel ssh.Channel, a account, size pty.Winsize, greet bool) (*program, error) {
	master, slave, err := pty.Open()
	if err != nil {
		return nil, fmt.Errorf("open a terminal: %w", err)
	}
	defer func() { _ = slave.Close() }()
	if os.Geteuid() == 0 {
		err = errors.Join(slave.Chown(int(a.uid), -1), slave.Chmod(0o620))
	}
	if err := errors.Join(err, pty.Setsize(master, &size)); err != nil {
		_ = master.Close()
		return nil, fmt.Errorf("prepare the terminal: %w", err)
	}
	setUTF8(slave)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr.Setctty = true
	cmd.Env = append(cmd.Env, "SSH_TTY="+slave.Name())
	if greet {
		sayHello(channel, a)
	}
	if err := cmd.Start(); err != nil {
		_ = master.Close()
		return nil, err
	}
	p := &program{cmd: cmd, account: a, channel: channel, tty: master, done: make(chan struct{}), stdin: master, files: []io.Closer{master}}
	p.outputs.Go(func() { _, _ = io.Copy(channel, master) })
	p.run()
	return p, nil
}

// startPiped runs cmd with three pipes.
func startPiped(cmd *exec.Cmd, channel ssh.Channel, a account) (*program, error) {
	p := &program{cmd: cmd, account: a, channel: channel, done: make(chan struct{})}
	var theirs, ours [3]*os.File
	closeAll := func(files [3]*os.File) {
		for _, f := range files {
			_ = f.Close() // nil is no harm
		}
	}
	for i := range theirs {
		r, w, err := os.Pipe()
		if err != nil {
			closeAll(theirs)
			closeAll(ours)
			return nil, fmt.Errorf("open a pipe: %w", err)
		}
		theirs[i], ours[i] = w, r
		if i == 0 {
			theirs[i], ours[i] = r, w
		}
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs[0], theirs[1], theirs[2]
	err := cmd.Start()
	closeAll(theirs)
	if err != nil {
		closeAll(ours)
		return nil, err
	}
	p.stdin, p.files = ours[0], []io.Closer{ours[0], ours[1], ours[2]}
	p.outputs.Go(func() { _, _ = io.Copy(channel, ours[1]) })
	p.outputs.Go(func() { _, _ = io.Copy(channel.Stderr(), ours[2]) })
	p.run()
	return p, nil
}

// run copies input and waits for the process. Both goroutines end when the process has and the session closes its
// channel; a process that ignores its hang-up is reaped whenever it ends.
func (p *program) run() {
	go func() {
		_, _ = io.Copy(p.stdin, p.channel)
		if p.tty == nil {
			_ = p.stdin.Close() // half-close; a terminal has no such thing
		}
	}()
	go func() {
		p.reap()
		p.outputs.Wait()
		_ = p.channel.CloseWrite()
		_, _ = p.channel.SendRequest(exitMessage(p.cmd.ProcessState))
		close(p.done)
	}()
}

// hangUp tells the program that its user has gone, and frees our side.
func (p *program) hangUp() {
	p.kill(syscall.SIGHUP)
	for _, f := range p.files {
		_ = f.Close()
	}
}

func (p *program) resize(size pty.Winsize) bool {
	return p.tty != nil && pty.Setsize(p.tty, &size) == nil
}

// exitMessage is the request that ends a session: exit-status or exit-signal (RFC 4254 §6.10).
func exitMessage(state *os.ProcessState) (name string, wantReply bool, payload []byte) {
	status, ok := state.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() {
		return "exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(state.ExitCode())})
	}
	for name, s := range signals {
		if s == status.Signal() {
			return "exit-signal", false, ssh.Marshal(struct {
				Name       string
				CoreDumped bool
				Message    string
				Language   string
			}{name, status.CoreDump(), "", ""})
		}
	}
	return "exit-status", false, ssh.Marshal(struct{ Status uint32 }{128 + uint32(status.Signal())})
}

const maxMOTD = 64 << 10

// sayHello shows the message of the day, as login(1) does, unless the account has asked for quiet.
func sayHello(w io.Writer, a account) {
	if _, err := os.Lstat(filepath.Join(a.home, ".hushlogin")); err == nil {
		return
	}
	for _, path := range []string{"/run/motd.dynamic", "/etc/motd"} {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		_, _ = io.Copy(crlf{w}, io.LimitReader(f, maxMOTD))
		_ = f.Close()
	}
}
