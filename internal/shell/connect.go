package shell

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/wire"
)

// finalError is a failure that another attempt cannot mend.
type finalError struct{ error }

func (e *finalError) Unwrap() error { return e.error }

// connect reaches the terminal on the device: a new one for a shell that is opening, else the one it had.
func (sh *Shell) connect(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	defer context.AfterFunc(sh.closing, cancel)()
	r := sh.View().Record
	device, err := sh.o.Device(ctx, r.Device)
	if err != nil {
		return nil, orFinal(err, wire.NotFound)
	}
	conn, err := sh.o.Dial(ctx, r)
	if err != nil {
		return nil, orFinal(err, wire.NotFound, wire.Forbidden)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	client, err := sh.handshake(ctx, conn, r, device)
	if err != nil {
		_ = conn.Close()
		return nil, timedOut(ctx, err)
	}
	l, err := sh.join(client, r, device)
	if err != nil {
		_ = client.Close()
		return nil, timedOut(ctx, err)
	}
	return l, nil
}

// orFinal marks errors of certain codes as final.
func orFinal(err error, codes ...wire.Code) error {
	if slices.Contains(codes, wire.CodeOf(err)) {
		return &finalError{err}
	}
	return err
}

// timedOut says so where the attempt was cut short by its time limit.
func timedOut(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return wire.Wrap(err, wire.Offline, "The device took longer than %v to answer.", joinTimeout)
	}
	return err
}

// handshake logs in with a fresh key, a certificate for this one login, and the device's pinned host keys.
func (sh *Shell) handshake(ctx context.Context, conn net.Conn, r Record, device Device) (*ssh.Client, error) {
	signer, err := sh.signer(ctx, r)
	if err != nil {
		return nil, orFinal(err, wire.NotFound, wire.Forbidden, wire.Invalid)
	}
	check := &hostKeys{pinned: device.HostKeys}
	config := &ssh.ClientConfig{
		User:              r.Login,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback:   check.callback,
		HostKeyAlgorithms: check.algorithms(),
		ClientVersion:     "SSH-2.0-Adit",
	}
	if len(device.HostKeys) == 0 {
		return nil, &finalError{wire.Errorf(wire.Conflict, "The hub knows no SSH host key of this device, so it cannot "+
			"tell it from an impostor. Its agent reports one when it finds an SSH server.")}
	}
	c, channels, requests, err := ssh.NewClientConn(conn, r.Device, config)
	switch {
	case check.refused != nil:
		return nil, &finalError{check.refused}
	case err != nil && check.passed && !lost(err):
		return nil, wire.Wrap(err, wire.Unauthenticated, "The device's SSH server did not let the hub in as %q. Is there "+
			"such an account, and is trust in this hub set up? Its page shows both.", r.Login)
	case err != nil:
		return nil, wire.Wrap(err, wire.Offline, "The device's SSH server did not complete the handshake.")
	}
	return ssh.NewClient(c, channels, requests), nil
}

func (sh *Shell) signer(ctx context.Context, r Record) (ssh.Signer, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("ssh key: %w", err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, fmt.Errorf("ssh key: %w", err)
	}
	cert, err := sh.o.Certify(ctx, r.User, r.Device, r.Login, signer.PublicKey())
	if err != nil {
		return nil, err
	}
	return ssh.NewCertSigner(cert, signer)
}

// lost tells a connection that broke from an answer that was no.
func lost(err error) bool {
	_, network := errors.AsType[net.Error](err)
	ours, ok := errors.AsType[*wire.Error](err)
	return network || (ok && ours.Code == wire.Offline) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe)
}

// hostKeys accepts exactly the pinned keys.
type hostKeys struct {
	pinned  []ssh.PublicKey
	passed  bool
	refused error
}

func (h *hostKeys) callback(_ string, _ net.Addr, key ssh.PublicKey) error {
	h.passed = slices.ContainsFunc(h.pinned, func(p ssh.PublicKey) bool {
		return bytes.Equal(p.Marshal(), key.Marshal())
	})
	if h.passed {
		return nil
	}
	h.refused = wire.Errorf(wire.Conflict, "The machine that answered has another SSH host key (%s) than this device: "+
		"nothing was sent to it. Was it set up anew? Then accept its new key on its page.", ssh.FingerprintSHA256(key))
	return h.refused
}

// algorithms asks the device for keys of the kinds that are pinned. Otherwise it would choose, perhaps one that is not.
func (h *hostKeys) algorithms() []string {
	var names []string
	for _, key := range h.pinned {
		switch t := key.Type(); t {
		case ssh.KeyAlgoRSA:
			names = append(names, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		default:
			names = append(names, t)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
