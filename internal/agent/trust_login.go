package agent

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

// proveLogin logs in at sshd with a throw-away certificate. The hub's CA key is at the hub, so a CA is made for the
// purpose: its line stands beside the hub's in file for as long as the test takes, and its key only ever in this
// process's memory. Should the process be killed before the line is removed, nobody has the key to it, and the agent
// removes the line when it starts.
func (t truster) proveLogin(ctx context.Context, file string, line func(ssh.PublicKey) string, logins []string) (err error) {
	if len(logins) == 0 {
		return errors.New("there is no account to try a login with")
	}
	ca, err := newThrowAway()
	if err != nil {
		return err
	}
	text := line(ca.PublicKey())
	if err := addKeyLine(file, text); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, removeKeyLines(file, func(l string) bool { return strings.TrimSpace(l) == text }))
	}()
	known := t.sshd.hostKeys(ctx)
	for _, login := range logins {
		if err = t.tryLogin(ctx, ca, login, known); err == nil {
			return nil
		}
	}
	return fmt.Errorf("a login with a certificate did not work: %w", err)
}

func newThrowAway() (ssh.Signer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a throw-away key: %w", err)
	}
	return ssh.NewSignerFromKey(key)
}

const loginTries = 3 // a server that has just been told to read its settings may answer once more by the old ones

func (t truster) tryLogin(ctx context.Context, ca ssh.Signer, login string, known []string) error {
	key, err := newThrowAway()
	if err != nil {
		return err
	}
	now := time.Now()
	cert := &ssh.Certificate{
		Key: key.PublicKey(), CertType: ssh.UserCert, KeyId: "adit: trying the settings",
		ValidPrincipals: []string{principal(t.config.Device, login)},
		ValidAfter:      uint64(now.Add(-time.Minute).Unix()), ValidBefore: uint64(now.Add(time.Minute).Unix()),
	}
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		return err
	}
	signer, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		return err
	}
	for try := range loginTries {
		if err = t.login(ctx, signer, login, known); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(try+1) * 300 * time.Millisecond):
		}
	}
	return err
}

// login makes one SSH connection, up to an open session, and checks the host key against sshd's own files.
func (t truster) login(ctx context.Context, signer ssh.Signer, login string, known []string) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	conn, err := dialTCP(ctx, "adit: trying the settings", t.sshd.address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(stepTimeout))
	c, channels, requests, err := ssh.NewClientConn(conn, t.sshd.address, &ssh.ClientConfig{
		User: login, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyAlgorithms: keyAlgorithms(known),
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			if slices.Contains(known, authorizedLine(key)) {
				return nil
			}
			return errors.New("sshd shows a host key that is not in its files")
		},
	})
	if err != nil {
		return fmt.Errorf("as %s: %w", login, err)
	}
	client := ssh.NewClient(c, channels, requests)
	defer func() { _ = client.Close() }()
	session, err := client.NewSession()
	if err != nil {
		return fmt.Errorf("as %s: %w", login, err)
	}
	return session.Close()
}

// keyAlgorithms are those of the host keys in known; an RSA key signs with SHA-2.
func keyAlgorithms(known []string) []string {
	var out []string
	for _, line := range known {
		kind, _, _ := strings.Cut(line, " ")
		if kind == ssh.KeyAlgoRSA {
			out = append(out, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
			continue
		}
		out = append(out, kind)
	}
	return out
}

const maxCandidates = 5

// candidates are accounts to try a login with: who is installing this, root, then people.
func (t truster) candidates(ctx context.Context) []string {
	logins := []string{os.Getenv("SUDO_USER")}
	if t.sshd.settings(ctx).first("permitrootlogin") != "no" {
		logins = append(logins, "root")
	}
	data, _ := os.ReadFile("/etc/passwd")
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 7 || strings.HasSuffix(f[6], "nologin") || strings.HasSuffix(f[6], "false") {
			continue
		}
		if uid, err := strconv.Atoi(f[2]); err == nil && uid >= 1000 && uid < 60000 {
			logins = append(logins, f[0])
		}
	}
	logins = slices.DeleteFunc(logins, func(l string) bool { return l == "" || !t.config.Policy.AllowsLogin(l) })
	return logins[:min(len(logins), maxCandidates)]
}

// reload lets sshd read its settings again and waits until it listens. SIGHUP is what every service manager sends for
// that; a socket's service manager starts sshd anew for each connection or is asked.
func (s sshd) reload(ctx context.Context) error {
	if s.pid != 0 {
		if err := syscall.Kill(s.pid, syscall.SIGHUP); err != nil {
			return fmt.Errorf("sshd cannot be told to read its settings: %w", err)
		}
	} else if runsSystemd() {
		for _, unit := range []string{"ssh.service", "sshd.service"} {
			_ = exec.CommandContext(ctx, "systemctl", "try-reload-or-restart", unit).Run()
		}
	}
	select { // until then the old socket may still answer
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(settle):
	}
	if err := s.awaitListening(ctx); err != nil {
		return errors.Join(err, s.revive(ctx))
	}
	return nil
}

// settle is what sshd has to act on the signal.
const settle = 300 * time.Millisecond

// revive starts an sshd anew that did not survive reading its settings: where nothing restarts it by itself, it may have
// been the only way in. It may then run outside of its service manager, which is better than not at all.
func (s sshd) revive(ctx context.Context) error {
	if runsSystemd() {
		for _, unit := range []string{"ssh.service", "sshd.service"} {
			_ = exec.CommandContext(ctx, "systemctl", "restart", unit).Run()
		}
	}
	if s.answers(ctx) {
		return nil
	}
	out, err := exec.CommandContext(ctx, s.program, append([]string{"-f", s.config}, s.args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("sshd does not start again: %s: %w", lastLine(string(out)), err)
	}
	return s.awaitListening(ctx)
}

func (s sshd) answers(ctx context.Context) bool {
	conn, err := dialTCP(ctx, "", s.address)
	return err == nil && conn.Close() == nil
}

func (s sshd) awaitListening(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	for {
		conn, err := dialTCP(ctx, "adit: trying the settings", s.address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("sshd does not listen at %s any more: %w", s.address, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func runsSystemd() bool {
	info, err := os.Stat("/run/systemd/system")
	return err == nil && info.IsDir()
}
