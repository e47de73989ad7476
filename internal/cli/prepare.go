package cli

import (
	"context"
	"net/http"
	"os/user"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/wire"
)

const prepareUsage = `Usage: adit ssh-prepare HOST LOGIN

Fetches the certificate and the host keys that ssh needs for HOST. The configuration that adit ssh-config
writes runs it; there is no need to do so by hand.
`

func prepareCommand() command.Command {
	return command.Command{Name: "ssh-prepare", Usage: prepareUsage, Run: runPrepare}
}

// runPrepare is given the login that ssh will use; where nobody named one, that is the local user's name.
func runPrepare(ctx context.Context, args []string, stdio command.Stdio) error {
	f := command.NewFlags("adit ssh-prepare", prepareUsage)
	if err := f.Parse(args, 2, 2, stdio); err != nil {
		return err
	}
	device, err := deviceOf(f.Arg(0))
	if err != nil {
		return err
	}
	login := f.Arg(1)
	if !wire.ValidLogin(login) {
		return wire.Errorf(wire.Invalid, "%q is no Unix account.", login)
	}
	if login != localUser() {
		return prepare(ctx, device, login, false)
	}
	err = prepare(ctx, device, "", false)
	if own := prepare(ctx, device, login, false); own == nil {
		return nil // perhaps there is no default login, and perhaps this one was named
	}
	return err
}

// localUser is the name under which ssh logs in where nobody names a login.
func localUser() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username[strings.LastIndexByte(u.Username, '\\')+1:] // without the domain of a Windows account
}

// prepare sees to it that ssh finds a certificate for the login, or for the device's default login where it is empty.
// One that is still fresh will do, unless it is to be made anew.
func prepare(ctx context.Context, device, login string, anew bool) error {
	s, err := openSSHFiles()
	if err != nil {
		return err
	}
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	host := hostOf(device)
	key, err := s.publicKey()
	if err != nil {
		return err
	}
	e, known := s.entries()[host]
	if wanted := orDefault(login, e); !anew && known && wanted != "" && s.fresh(host, wanted, time.Now()) {
		return nil
	}
	a, err := readAccount()
	if err != nil {
		return err
	}
	c, err := a.certificate(ctx, device, login, key)
	if err != nil {
		return err
	}
	return s.keep(host, c, login == "")
}

func orDefault(login string, e entry) string {
	if login == "" {
		return e.Login
	}
	return login
}

func (a account) certificate(ctx context.Context, device, login string, key ssh.PublicKey) (*api.Certificate, error) {
	var c api.Certificate
	err := a.call(ctx, http.MethodPost, "devices/"+device+"/ssh-certificate", api.CertificateRequest{
		PublicKey: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))), Login: set(login),
	}, &c)
	if err != nil {
		return nil, err
	}
	if login != "" && c.Login != login {
		return nil, wire.Errorf(wire.Internal, "The hub made a certificate for login %q instead of %q.", c.Login, login)
	}
	return &c, nil
}

// preparePerson is prepare for a login that a person did or did not name. Where neither they nor the device names one,
// it is the local user's, as with ssh. The certificate is a new one: a device whose clock was set refuses those made
// before, and since ssh takes our place nobody is there to see that it failed and throw one away.
func preparePerson(ctx context.Context, device, login string) error {
	err := prepare(ctx, device, login, true)
	if login == "" && wire.CodeOf(err) == wire.Invalid {
		return prepare(ctx, device, localUser(), true)
	}
	return err
}
