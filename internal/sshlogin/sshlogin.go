// Package sshlogin is how the hub logs in to a device's SSH server for somebody: with a key that lives as long as the
// connection, a certificate for one account, and the device's pinned host keys.
package sshlogin

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

// FinalError is a failure that another attempt cannot mend.
type FinalError struct{ error }

// Unwrap gives what failed.
func (e *FinalError) Unwrap() error { return e.error }

// Final marks an error as final.
func Final(err error) error { return &FinalError{err} }

// OrFinal marks errors of certain codes as final.
func OrFinal(err error, codes ...wire.Code) error {
	if slices.Contains(codes, wire.CodeOf(err)) {
		return Final(err)
	}
	return err
}

// Options say as whom to log in, and where. Every field must be set; without host keys nothing is entered.
type Options struct {
	User, Device, Login string // ids of a user and of a device, and the account
	HostKeys            []ssh.PublicKey
	// Certify makes a user certificate for the login of the user on the device.
	Certify func(ctx context.Context, user, device, login string, key ssh.PublicKey) (*ssh.Certificate, error)
}

// Client logs in over conn, which it leaves open where it fails. It fails with Conflict where the machine that answers
// has another host key, Unauthenticated where it does not let the hub in, Offline where it does not answer as an SSH
// server, and what Certify fails with.
func Client(ctx context.Context, conn net.Conn, o Options) (*ssh.Client, error) {
	if len(o.HostKeys) == 0 {
		return nil, Final(wire.Errorf(wire.Conflict, "The hub knows no SSH host key of this device, so it cannot "+
			"tell it from an impostor. Its agent reports one when it finds an SSH server."))
	}
	signer, err := o.signer(ctx)
	if err != nil {
		return nil, OrFinal(err, wire.NotFound, wire.Forbidden, wire.Invalid)
	}
	check := &hostKeys{pinned: o.HostKeys}
	config := &ssh.ClientConfig{
		User:              o.Login,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback:   check.callback,
		HostKeyAlgorithms: check.algorithms(),
		ClientVersion:     "SSH-2.0-Adit",
	}
	c, channels, requests, err := ssh.NewClientConn(conn, o.Device, config)
	switch {
	case check.refused != nil:
		return nil, Final(check.refused)
	case err != nil && check.passed && !Lost(err):
		return nil, wire.Wrap(err, wire.Unauthenticated, "The device's SSH server did not let the hub in as %q. Is there "+
			"such an account, and is trust in this hub set up? Its page shows both.", o.Login)
	case err != nil:
		return nil, wire.Wrap(err, wire.Offline, "The device's SSH server did not complete the handshake.")
	}
	return ssh.NewClient(c, channels, requests), nil
}

func (o Options) signer(ctx context.Context) (ssh.Signer, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("ssh key: %w", err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, fmt.Errorf("ssh key: %w", err)
	}
	cert, err := o.Certify(ctx, o.User, o.Device, o.Login, signer.PublicKey())
	if err != nil {
		return nil, err
	}
	return ssh.NewCertSigner(cert, signer)
}

// Lost tells a connection that broke from an answer that was no.
func Lost(err error) bool {
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
