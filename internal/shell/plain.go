package shell

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/sshlogin"
	"github.com/aditdev/adit/internal/wire"
)

// plainLine is an ordinary SSH shell: where the device cannot hold a terminal, the connection does.
type plainLine struct {
	l       *link
	session *ssh.Session
	in      io.Writer
	out     io.Reader
}

func (l *link) joinPlain(r Record) error {
	session, err := l.client.NewSession()
	if err != nil {
		return wire.Wrap(err, wire.Offline, "The device's SSH server opened no channel.")
	}
	p := &plainLine{l: l, session: session}
	if err := p.start(r); err != nil {
		_ = session.Close()
		return err
	}
	l.begin(p, span{}, wire.ShellSize{}, false)
	return nil
}

func (p *plainLine) start(r Record) (err error) {
	if p.in, err = p.session.StdinPipe(); err != nil {
		return fmt.Errorf("ssh stdin: %w", err)
	}
	if p.out, err = p.session.StdoutPipe(); err != nil {
		return fmt.Errorf("ssh stdout: %w", err)
	}
	if err := p.session.RequestPty(term, r.Rows, r.Cols, ssh.TerminalModes{}); err != nil {
		return wire.Wrap(err, wire.Forbidden, "The device's SSH server gives no terminal.")
	}
	if err := p.session.Shell(); err != nil {
		return wire.Wrap(err, wire.Forbidden, "The device's SSH server gives no shell.")
	}
	return nil
}

// receive implements line. A plain shell that is lost is lost for good.
func (p *plainLine) receive(ctx context.Context) (exit int, err error) {
	buf := make([]byte, wire.ShellChunk)
	for next := int64(0); ; {
		n, err := p.out.Read(buf)
		if n > 0 {
			if err := p.l.sh.deliver(ctx, next, buf[:n]); err != nil {
				return 0, err
			}
			next += int64(n)
		}
		if err != nil {
			return p.exitStatus(p.session.Wait())
		}
	}
}

func (p *plainLine) exitStatus(err error) (int, error) {
	if err == nil {
		return 0, nil
	}
	if exit, ok := errors.AsType[*ssh.ExitError](err); ok {
		return exit.ExitStatus(), nil
	}
	return 0, sshlogin.Final(wire.Wrap(err, wire.Offline, "The connection to the device was lost, and with it the shell: "+
		"this device has no agent that could hold it."))
}

func (p *plainLine) input(typed []byte) error {
	_, err := p.in.Write(typed)
	p.l.taken(int64(len(typed)))
	return err
}

func (p *plainLine) resize(size wire.ShellSize) error {
	return p.session.WindowChange(size.Rows, size.Cols)
}

func (p *plainLine) ack(int64) error { return nil }

// hangup closes the channel: the SSH server then closes the terminal.
func (p *plainLine) hangup() error { return p.session.Close() }

func (p *plainLine) forget() {}
