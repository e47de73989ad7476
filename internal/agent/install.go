package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/aditdev/adit/internal/agent/carrier"
	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/wire"
)

const installUsage = `Usage: adit agent install-service [--no-sshd] [--wait DURATION] [--fetch URL --sha256 HEX] [--dir DIR]

Keeps the agent up by this machine's service manager (systemd, OpenRC, procd, System V init, launchd, a systemd of the
user's own, or a supervisor of the agent's where none runs) and starts it. As root it also lets the hub's certificates
in through the machine's own sshd: one file in its settings, tried by a login and taken back if anything is wrong.
Run it again after moving or renewing the program.

  --no-sshd        leave sshd as it is
  --fetch URL      this program lies in RAM: the service fetches it from URL after each boot (OpenWrt)
  --sha256 HEX     and runs nothing but what has this hash, compressed as it is there
  --wait DURATION  wait that long for the hub to be reached, 15s if not given
`

func installCommand(ctx context.Context, args []string, stdio command.Stdio) error {
	flags := command.NewFlags("adit agent install-service", installUsage)
	dir := flags.String("dir", "", "")
	noSSHD := flags.Bool("no-sshd", false, "")
	wait := flags.Duration("wait", 15*time.Second, "")
	var fetched source
	flags.StringVar(&fetched.url, "fetch", "", "")
	flags.StringVar(&fetched.hash, "sha256", "", "")
	if err := flags.Parse(args, 0, 0, stdio); err != nil {
		return err
	}
	signal.Ignore(syscall.SIGHUP) // whoever runs this through the tunnel loses it for a moment
	p := PathsIn(*dir)
	c, err := loadEnrolled(p)
	if err != nil {
		return err
	}
	if !*noSSHD {
		if err := installTrust(ctx, p, c, stdio.Err); err != nil {
			return err
		}
	}
	if err := settleRAM(p, c, fetched); err != nil {
		return err
	}
	g, err := thisProgram(p)
	if err != nil {
		return err
	}
	home, err := os.UserHomeDir()
	if err != nil && p.User {
		return fmt.Errorf("find the home directory: %w", err)
	}
	m := chooseManager(managers(g, home), managerRuns)
	if err := m.install(ctx, p); err != nil {
		return wire.Wrap(err, wire.Internal, "The service could not be set up with %s", m.name)
	}
	fmt.Fprintf(stdio.Err, "Kept up by %s.\n", m.name)
	if m.manual != "" {
		fmt.Fprintln(stdio.Err, m.manual)
	}
	fmt.Fprint(stdio.Err, arrival(ctx, p, c, *wait))
	return nil
}

// settleRAM records what a program in RAM is fetched from, with the proxy that the enrolment found.
func settleRAM(p Paths, c Config, s source) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the agent's own program: %w", err)
	}
	s.proxy = c.Proxy
	return ramOf(p).settle(self, s)
}

// installTrust sets up sshd and says in a line what came of it.
func installTrust(ctx context.Context, p Paths, c Config, w io.Writer) error {
	r, ok, err := setUpTrust(ctx, p, c)
	switch {
	case err != nil:
		return err
	case !ok:
		fmt.Fprintln(w, "SSH: the agent's own server answers, inside the tunnel only.")
	case r.Trust == api.SSHFactsTrustSshdConfig:
		fmt.Fprintf(w, "SSH: this machine's sshd, which now takes the hub's certificates too (%s).\n", r.DropIn)
	case r.Trust == api.SSHFactsTrustAuthorizedKeys:
		fmt.Fprintf(w, "SSH: this machine's sshd, by one line in %s.\n", r.Keys)
	default:
		fmt.Fprintf(w, "SSH: the agent's own server answers, inside the tunnel only, since sshd stays as it is (%s).\n", r.Note)
	}
	if ok && r.Trust == api.SSHFactsTrustAuthorizedKeys && r.Note != "" && !p.User {
		fmt.Fprintf(w, "  For that account only: %s.\n", r.Note)
	}
	return nil
}

// arrival waits for the hub to be reached and says how it went. Not being there yet is no failure: the service goes on.
func arrival(ctx context.Context, p Paths, c Config, wait time.Duration) string {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var s Status
	for {
		var err error
		if s, err = readStatus(p, c); err == nil && (s.Online || s.Cause == string(carrier.CausePending)) {
			break
		}
		select {
		case <-ctx.Done():
			if !s.Running {
				return "The agent has not answered yet; `adit agent status` shows how it fares.\n"
			}
			return s.text() + "It goes on trying.\n"
		case <-time.After(100 * time.Millisecond):
			continue
		}
	}
	if s.Online {
		return fmt.Sprintf("%s is online.\n", c.Name)
	}
	return fmt.Sprintf("%s comes online as soon as it is approved on the hub's page.\n", c.Name)
}

const uninstallUsage = `Usage: adit agent uninstall [--dir DIR]

Takes the agent off this machine: service, what was added to sshd, key and settings, and the program itself where the
install script put it. The hub keeps the device's entry until somebody removes it there.
`

func uninstallCommand(ctx context.Context, args []string, stdio command.Stdio) error {
	flags := command.NewFlags("adit agent uninstall", uninstallUsage)
	dir := flags.String("dir", "", "")
	if err := flags.Parse(args, 0, 0, stdio); err != nil {
		return err
	}
	signal.Ignore(syscall.SIGHUP)
	p := PathsIn(*dir)
	if _, err := os.Stat(p.Dir); errors.Is(err, fs.ErrNotExist) {
		return wire.Errorf(wire.NotFound, "There is no agent here: %s does not exist.", p.Dir)
	}
	if err := errors.Join(takeBackTrust(ctx, p), removeService(ctx, p), stopSupervisor(ctx, p)); err != nil {
		return wire.Wrap(err, wire.Internal, "Not everything could be taken back, so key and settings stay for another try")
	}
	if r := ramOf(p); exists(r.record) {
		if err := r.forget(); err != nil {
			return fmt.Errorf("remove what fetches the program: %w", err)
		}
	}
	if err := removeDir(p.Dir); err != nil {
		return fmt.Errorf("remove the agent's files: %w", err)
	}
	removed, err := removeProgram()
	if err != nil {
		return err
	}
	fmt.Fprintf(stdio.Err, "The agent is gone from this machine%s. Remove the device on the hub's page too.\n", removed)
	return nil
}

// removeDir removes dir and all in it. A directory that is a mount, as in containers, stays behind empty.
func removeDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	if err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, syscall.EBUSY) {
		return err
	}
	return nil
}

// removeProgram removes adit if it lies where the install script puts it.
func removeProgram() (said string, err error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the agent's own program: %w", err)
	}
	if r := ramOf(Paths{}); path == r.program() {
		return "", r.removeLauncher()
	}
	home, _ := os.UserHomeDir()
	if !slices.Contains([]string{"/usr/local/bin/adit", "/usr/bin/adit", filepath.Join(home, ".local/bin/adit")}, path) {
		return "; the program " + path + " stays", nil
	}
	if err := os.Remove((trial{Program: path}).old()); err != nil && !errors.Is(err, fs.ErrNotExist) { // an update's
		return "", err
	}
	return "", os.Remove(path)
}
