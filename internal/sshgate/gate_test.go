package sshgate_test

import (
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/auth"
)

// The way of ssh -J, -L, -D and -W: to the device's SSH server, with half-close kept.
func TestForwardReachesTheDevice(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.station("broker", 1883)
	c := r.come("dan", r.danKey)
	for _, to := range []string{"broker.adit:22", "BROKER.adit:1883", "broker:22", r.ids["broker"] + ".adit:22"} {
		conn, err := c.Dial("tcp", to)
		if err != nil {
			t.Errorf("%s: %v", to, err)
			continue
		}
		_, _ = io.WriteString(conn, "hello ")
		_ = conn.(interface{ CloseWrite() error }).CloseWrite()
		if got, err := io.ReadAll(conn); string(got) != "hello bye" || err != nil {
			t.Errorf("%s: %q, %v", to, got, err)
		}
	}
	eventually(t, 2*time.Second, "no stream is left", func() bool { return len(r.tunnel.Streams()) == 0 })
}

// Rules 2 and 3: each channel open is checked against the live policy, and refused with the reason of the table.
func TestForwardsAreChecked(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.station("broker", 1883, 80)
	all := r.come("dan", r.danKey)
	limited, none := newSigner(t), newSigner(t)
	r.addKey(`restrict,port-forwarding,permitopen="broker.adit:1883"`, limited)
	r.addKey(`restrict`, none)
	owner := r.come("owner", r.gateCert(r.owner.User.ID, newSigner(t)))
	for _, c := range []struct {
		name   string
		client *ssh.Client
		to     string
		reason ssh.RejectionReason
		says   string
	}{
		{"unknown device", all, "nowhere.adit:22", ssh.ConnectionFailed, "not_found"},
		{"hidden device", all, "shed.adit:22", ssh.ConnectionFailed, "not_found"},
		{"offline device", owner, "shed.adit:22", ssh.ConnectionFailed, "offline"},
		{"forbidden target", all, "broker.adit:80", ssh.Prohibited, "forbidden"},
		{"the hub itself", all, "127.0.0.1:22", ssh.Prohibited, "devices only"},
		{"the hub by name", all, "localhost:22", ssh.ConnectionFailed, "not_found"},
		{"the world", all, "www.example.com:443", ssh.Prohibited, "devices only"},
		{"not forwarded by the device", owner, "broker.adit:8080", ssh.Prohibited, "does not forward"},
		{"beyond permitopen", r.come("dan", limited), "broker.adit:22", ssh.Prohibited, "this key"},
		{"a restricted key", r.come("dan", none), "broker.adit:1883", ssh.Prohibited, "this key"},
	} {
		_, err := c.client.Dial("tcp", c.to)
		refused, ok := errors.AsType[*ssh.OpenChannelError](err)
		if !ok || refused.Reason != c.reason || !strings.Contains(refused.Message, c.says) {
			t.Errorf("%s: %v, want %v and %q", c.name, err, c.reason, c.says)
		}
	}
	conn, err := r.come("dan", limited).Dial("tcp", "broker.adit:1883")
	if err != nil {
		t.Fatalf("what permitopen names: %v", err)
	}
	_ = conn.Close()
}

// Rule 17: what a removed grant, key or user let run ends within two seconds.
func TestRevocationEndsConnections(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.station("broker")
	key := newSigner(t)
	row := r.addKey("", key)
	byKey, stays := r.come("dan", key), r.come("dan", r.danKey)
	conn, err := stays.Dial("tcp", "broker.adit:22")
	must(t, err)

	_, err = r.accounts.RemoveSSHKey(t.Context(), r.dan, row.ID)
	must(t, err)
	ends(t, "the connection of a removed key", func() { _ = byKey.Wait() })

	token, err := r.accounts.CreateToken(t.Context(), r.dan.User.ID, auth.TokenRequest{Name: "for the gate"})
	must(t, err)
	byCert := r.come("dan", r.gateCertBy(r.dan.User.ID, token.ID, newSigner(t)))
	must(t, r.accounts.RevokeToken(t.Context(), r.dan, token.ID))
	ends(t, "the connection of a certificate whose token was revoked", func() { _ = byCert.Wait() })

	must(t, r.devices.RemoveGrant(t.Context(), "test", r.danGrant))
	ends(t, "the stream of a removed grant", func() { _, _ = io.Copy(io.Discard, conn) })

	must(t, r.accounts.RemoveUser(t.Context(), "owner", r.dan.User))
	ends(t, "the connection of a removed user", func() { _ = stays.Wait() })
}

func ends(t *testing.T, what string, wait func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(2 * time.Second):
		t.Errorf("%s goes on after two seconds", what)
	}
}

// Rule 2: unknown types are refused and logged; rule 3: -R towards the hub is for no person.
func TestEverythingElseIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	dan, broker := r.come("dan", r.danKey), r.station("broker")
	for _, c := range []struct {
		who     *ssh.Client
		channel string
	}{
		{dan, "x11"}, {dan, "auth-agent@openssh.com"}, {dan, "forwarded-tcpip"}, {dan, "direct-streamlocal@openssh.com"},
		{dan, "tun@openssh.com"}, {dan, "nonsense"},
		{broker, "session"}, {broker, "direct-tcpip"}, {broker, "x11"}, {broker, "direct-streamlocal@openssh.com"}, {broker, "nonsense"},
	} {
		_, _, err := c.who.OpenChannel(c.channel, nil)
		refused, ok := errors.AsType[*ssh.OpenChannelError](err)
		if !ok || refused.Reason != ssh.Prohibited || !strings.Contains(refused.Message, "administratively prohibited") {
			t.Errorf("%s: %v, want administratively prohibited", c.channel, err)
		}
	}
	forward := ssh.Marshal(struct {
		Address string
		Port    uint32
	}{"", 8080})
	for _, request := range []string{"tcpip-forward", "streamlocal-forward@openssh.com", "nonsense"} {
		if ok, _, err := dan.SendRequest(request, true, forward); ok || err != nil {
			t.Errorf("a person's %s: %v, %v", request, ok, err)
		}
	}
	none := ssh.Marshal(struct {
		Address string
		Port    uint32
	}{"", 0})
	if ok, _, err := broker.SendRequest("tcpip-forward", true, none); ok || err != nil {
		t.Errorf("a forward without a port: %v, %v", ok, err)
	}
	eventually(t, time.Second, "the refusals are in the log", func() bool {
		log := r.log.String()
		return strings.Contains(log, "type=tcpip-forward") && strings.Contains(log, "type=x11")
	})
}

// A session is a page of text: no command runs.
func TestPage(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.station("broker")
	c := r.come("dan", r.danKey)
	conn, err := c.Dial("tcp", "broker.adit:22")
	must(t, err)
	defer conn.Close()

	session, err := c.NewSession()
	must(t, err)
	var text strings.Builder
	session.Stdout = &text
	must(t, session.Shell())
	must(t, session.Wait())
	for _, want := range []string{"You are dan", "broker.adit", "online", "as dan", "ssh -J dan@HUB"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the page lacks %q:\n%s", want, &text)
		}
	}
	if strings.Contains(text.String(), "shed") {
		t.Error("the page tells of a device without a grant")
	}

	command, err := c.NewSession()
	must(t, err)
	var errs strings.Builder
	command.Stderr = &errs
	exit, ok := errors.AsType[*ssh.ExitError](command.Run("rm -rf /"))
	if !ok || exit.ExitStatus() != 2 || !strings.Contains(errs.String(), "runs nothing") {
		t.Errorf("a command: %v, %q", exit, &errs)
	}

	terminal, err := c.NewSession()
	must(t, err)
	must(t, terminal.RequestPty("xterm", 24, 80, nil))
	keys, err := terminal.StdinPipe()
	must(t, err)
	must(t, terminal.Shell())
	_, _ = keys.Write([]byte("x"))
	_, _ = keys.Write([]byte("q"))
	must(t, terminal.Wait())

	restricted := newSigner(t)
	r.addKey("restrict", restricted)
	without, err := r.come("dan", restricted).NewSession()
	must(t, err)
	if without.RequestPty("xterm", 24, 80, nil) == nil {
		t.Error("a key with no-pty gets a terminal")
	}
}

// Rule 5: refused channels leave nothing behind. Not parallel: it measures the memory of the whole process.
func TestRefusedChannelsLeaveNothing(t *testing.T) {
	r := newRig(t)
	c := r.come("dan", r.danKey)
	const channels = 100_000
	refuse := func(n int) {
		for range n {
			if _, _, err := c.OpenChannel("nonsense", nil); err == nil {
				t.Fatal("a channel of no kind is open")
			}
		}
	}
	refuse(channels / 10)
	before := heap()
	refuse(channels)
	if grown := heap() - before; grown > 8<<20 {
		t.Errorf("%d refused channels cost %d bytes", channels, grown)
	}
	if _, err := c.Dial("tcp", "nowhere.adit:22"); err == nil {
		t.Error("the flood opened something")
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestChannelsAreCapped(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.station("broker")
	c := r.come("dan", r.danKey)
	refused := 0
	for range 80 {
		if _, err := c.Dial("tcp", "broker.adit:22"); err != nil {
			refused++
			if e, ok := errors.AsType[*ssh.OpenChannelError](err); !ok || e.Reason != ssh.ResourceShortage {
				t.Fatalf("the cap says %v", err)
			}
		}
	}
	if refused != 80-64 {
		t.Errorf("%d of 80 channels were refused, want 16", refused)
	}
}

// A peer fills no log.
func TestNoiseIsBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, c := range []*ssh.Client{r.come("dan", r.danKey), r.station("broker")} {
		for range 2000 {
			_, _, err := c.SendRequest("nonsense", true, nil)
			must(t, err)
		}
	}
	if lines := strings.Count(r.log.String(), "level=WARN"); lines > 300 {
		t.Errorf("%d warnings for 4000 requests", lines)
	}
}
