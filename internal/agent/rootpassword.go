package agent

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

const (
	passwordAlphabet = "abcdefghjkmnpqrstuvwxyz23456789" // nothing that looks like something else
	passwordGroups   = 4                                 // of five: 20 characters, 99 bits
	passwordGroup    = 5
	preparedFor      = 10 * time.Minute
	chpasswdWithin   = 20 * time.Second
)

// rootPassword makes and sets passwords of root. One that is not set yet is in memory only: it is told nobody but sealed.
type rootPassword struct {
	mu       sync.Mutex
	id       string // of the prepared one; "" for none
	password string
	at       time.Time
}

// rootPasswordCall answers the call wire.MethodRootPassword, if this device's owner switched it on.
func (d *device) rootPasswordCall(ctx context.Context, params json.RawMessage) (any, error) {
	var ask wire.RootPassword
	if err := json.Unmarshal(params, &ask); err != nil {
		return nil, wire.Wrap(err, wire.Invalid, "The call is not of the protocol's form.")
	}
	if !d.config.Policy.RootPassword {
		return nil, wire.Errorf(wire.Forbidden, "The device does not let its hub set root's password (policy.root_password in its agent.toml).")
	}
	if os.Geteuid() != 0 {
		return nil, wire.Errorf(wire.Forbidden, "The agent does not run as root there, so it cannot set root's password.")
	}
	chpasswd := systemProgram("chpasswd")
	if chpasswd == "" {
		return nil, wire.Errorf(wire.Forbidden, "The device has no chpasswd, by which root's password is set.")
	}
	switch ask.Step {
	case wire.RootPrepare:
		return d.rootPassword.prepare(d.config.Device, ask.Key)
	case wire.RootSet:
		return struct{}{}, d.rootPassword.set(ctx, chpasswd, ask.ID)
	}
	return nil, wire.Errorf(wire.Invalid, "The agent does not know the step %q.", wire.Printable(ask.Step, 20))
}

// systemProgram finds a program of the system's administrator, whose directory a service's PATH may lack.
func systemProgram(name string) string {
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/bin", "/bin"} {
		if path := filepath.Join(dir, name); exists(path) {
			return path
		}
	}
	return ""
}

// prepare makes a password and tells it, sealed. It takes the place of one that was not set.
func (r *rootPassword) prepare(device, key string) (wire.RootPrepared, error) {
	id, password := wire.NewID(), newPassword()
	sealed, err := wire.SealFor(key, wire.RootPasswordInfo(device, id), []byte(password))
	if err != nil {
		return wire.RootPrepared{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.id, r.password, r.at = id, password, time.Now()
	return wire.RootPrepared{ID: id, Sealed: sealed}, nil
}

// newPassword has 99 bits, in groups that can be read out.
func newPassword() string {
	var b strings.Builder
	raw := make([]byte, 1)
	for n := 0; n < passwordGroups*passwordGroup; {
		_, _ = rand.Read(raw) // never fails
		i := int(raw[0]) & 31
		if i >= len(passwordAlphabet) {
			continue // one in 32: every character is as likely as another
		}
		if n > 0 && n%passwordGroup == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(passwordAlphabet[i])
		n++
	}
	return b.String()
}

// set gives root the prepared password, once.
func (r *rootPassword) set(ctx context.Context, chpasswd, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.id == "" || r.id != id || time.Since(r.at) > preparedFor {
		return wire.Errorf(wire.NotFound, "The device has no such password prepared; its agent may have been restarted meanwhile.")
	}
	password := r.password
	r.id, r.password = "", ""
	err := runWith(ctx, "root:"+password+"\n", chpasswd)
	exit, said := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
		return authenticates(ctx, password)
	case !said || !exit.Exited(): // cut off: it may have renamed its file or not
		return wire.Wrap(err, wire.Internal, "The device's chpasswd was cut off; root's password is the old one or the new one")
	case systemProgram("unix_chkpwd") != "" && authenticates(ctx, password) == nil: // it failed at something else, after that
		return nil
	}
	return wire.Wrap(err, wire.Conflict, "The device's chpasswd did not take the password, and nothing was changed there")
}

// authenticates logs in as root by the password, as a program of the system does (unix_chkpwd(8) of PAM). Where there is
// none, chpasswd's word must do.
func authenticates(ctx context.Context, password string) error {
	check := systemProgram("unix_chkpwd")
	if check == "" {
		return nil
	}
	if err := runWith(ctx, password+"\x00", check, "root", "nullok"); err != nil {
		return wire.Wrap(err, wire.Internal, "The device's chpasswd took the password, but it does not open root's account")
	}
	return nil
}

// runWith runs a program without a shell, with its input from us, and gives the last line that it said on a failure.
func runWith(ctx context.Context, input, path string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, chpasswdWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin, cmd.Dir, cmd.Env = strings.NewReader(input), "/", []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	if err != nil {
		return errors.Join(err, errors.New(wire.Printable(lastLine(said.String()), 200)))
	}
	return nil
}
