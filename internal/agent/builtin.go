package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/agent/sshserver"
	"github.com/aditdev/adit/internal/wire"
)

// newSSHServer makes the built-in SSH server of this device.
func newSSHServer(log *slog.Logger, p Paths, c Config) (*sshserver.Server, error) {
	hostKey, err := sshserver.EnsureHostKey(p.HostKey())
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the agent's own program: %w", err)
	}
	return sshserver.New(sshserver.Config{
		Log: log, HostKey: hostKey,
		UserCA: func() (ssh.PublicKey, error) { return readUserCA(p) },
		Principal: func(login string) string {
			if !c.Policy.AllowsLogin(login) {
				return ""
			}
			return principal(c.Device, login)
		},
		Dial: func(ctx context.Context, host string, port int) (net.Conn, error) {
			target := wire.TCPTarget(host, port)
			if err := c.Policy.CheckTarget(target); err != nil {
				return nil, err
			}
			return dialTCP(ctx, "", joinPort(host, port))
		},
		SFTP: []string{self, "agent", "sftp"},
		Now:  time.Now, // certificates are made for the clock that the agent told its hub, also where it says 1970
	}), nil
}

// readUserCA is the hub's user CA, the first line of its file.
func readUserCA(p Paths) (ssh.PublicKey, error) {
	data, err := os.ReadFile(p.UserCA())
	if err != nil {
		return nil, fmt.Errorf("read the user CA: %w", err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(data)
	if err != nil {
		return nil, fmt.Errorf("read the user CA: %w", err)
	}
	return key, nil
}

// refreshTrusted renews what sshd and its helper read: the policy may have been edited, and a test that was killed may
// have left its throw-away CA behind the hub's.
func refreshTrusted(p Paths, c Config) error {
	ca, err := readUserCA(p)
	if err != nil {
		return err
	}
	if r, err := readTrust(p.Trust()); err == nil && r.Keys != "" {
		if err := removeKeyLines(r.Keys, isKeyLine(throwAway)); err != nil {
			return err
		}
		if err := (truster{paths: p, config: c}).renewKeyLine(r.Keys, ca); err != nil {
			return err
		}
	}
	return writeTrusted(p, c, authorizedLine(ca))
}
