package sshgate_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/sshca"
	"github.com/aditdev/adit/internal/sshgate"
	"github.com/aditdev/adit/internal/wire"
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

// gateCert is a signer with a certificate that opens the gate for a user.
func (r *rig) gateCert(user string, key ssh.Signer) ssh.Signer {
	r.t.Helper()
	token, err := r.accounts.CreateToken(r.t.Context(), user, auth.TokenRequest{Name: "for the gate"})
	must(r.t, err)
	return r.gateCertBy(user, token.ID, key)
}

func (r *rig) gateCertBy(user, credential string, key ssh.Signer) ssh.Signer {
	r.t.Helper()
	cert, err := r.ca.SignGate(key.PublicKey(), user, credential, time.Now())
	must(r.t, err)
	signer, err := ssh.NewCertSigner(cert, key)
	must(r.t, err)
	return signer
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

// Rules 1 and 4.
func TestCertificatesAtTheGate(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	token, err := r.accounts.CreateToken(t.Context(), r.dan.User.ID, auth.TokenRequest{Name: "for the gate"})
	must(t, err)
	good := func() *ssh.Certificate {
		now := uint64(time.Now().Unix())
		return &ssh.Certificate{Key: newSigner(t).PublicKey(), Serial: 7, CertType: ssh.UserCert, KeyId: r.dan.User.ID,
			ValidPrincipals: []string{r.dan.User.ID}, ValidAfter: now - 60, ValidBefore: now + 60,
			Permissions: ssh.Permissions{Extensions: map[string]string{sshca.CredentialExtension: token.ID}}}
	}
	for name, change := range map[string]func(*ssh.Certificate){
		"good":                    func(*ssh.Certificate) {},
		"expired":                 func(c *ssh.Certificate) { c.ValidAfter -= 1000; c.ValidBefore -= 1000 },
		"not yet valid":           func(c *ssh.Certificate) { c.ValidAfter += 1000; c.ValidBefore += 1000 },
		"wrong principal":         func(c *ssh.Certificate) { c.ValidPrincipals = []string{r.ids["broker"] + "/dan"} },
		"no principal":            func(c *ssh.Certificate) { c.ValidPrincipals = nil },
		"host certificate":        func(c *ssh.Certificate) { c.CertType = ssh.HostCert },
		"lives for years":         func(c *ssh.Certificate) { c.ValidBefore += 1 << 28 },
		"lives for ever":          func(c *ssh.Certificate) { c.ValidBefore = ssh.CertTimeInfinity },
		"unknown critical option": func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"force-command": "/bin/true"} },
		"no sign-in":              func(c *ssh.Certificate) { c.Extensions = nil },
		"somebody else":           func(c *ssh.Certificate) { c.KeyId, c.ValidPrincipals = r.owner.User.ID, []string{r.owner.User.ID} },
		"nobody":                  func(c *ssh.Certificate) { c.KeyId, c.ValidPrincipals = "usr_none", []string{"usr_none"} },
	} {
		key, cert := newSigner(t), good()
		cert.Key = key.PublicKey()
		change(cert)
		must(t, cert.SignCert(rand.Reader, r.caKey))
		signer, err := ssh.NewCertSigner(cert, key)
		must(t, err)
		client, err := r.login("dan", signer)
		if (err == nil) != (name == "good") {
			t.Errorf("%s: %v", name, err)
		}
		if client != nil {
			_ = client.Close()
		}
	}
	stranger, key := newSigner(t), newSigner(t)
	cert := good()
	cert.Key = key.PublicKey()
	must(t, cert.SignCert(rand.Reader, stranger))
	signer, err := ssh.NewCertSigner(cert, key)
	must(t, err)
	if _, err := r.login("dan", signer); err == nil {
		t.Error("a certificate of another CA is taken")
	}
}

func TestKeysAtTheGate(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	elsewhere, late := newSigner(t), newSigner(t)
	r.addKey(`from="192.0.2.0/24"`, elsewhere)
	soon := time.Now().UTC().Add(2 * time.Second)
	r.addKey(fmt.Sprintf("expiry-time=%q", soon.Format("20060102150405Z")), late)
	last := r.come("dan", late)
	wrong := []ssh.Signer{newSigner(t), newSigner(t), newSigner(t), newSigner(t), newSigner(t), newSigner(t)}
	for name, try := range map[string]func() (*ssh.Client, error){
		"a key of nobody":              func() (*ssh.Client, error) { return r.login("dan", newSigner(t)) },
		"another handle":               func() (*ssh.Client, error) { return r.login("owner", r.danKey) },
		"from elsewhere":               func() (*ssh.Client, error) { return r.login("dan", elsewhere) },
		"six wrong keys, then its own": func() (*ssh.Client, error) { return r.login("dan", append(wrong, r.danKey)...) },
		"a person's key for a device":  func() (*ssh.Client, error) { return r.login(r.ids["broker"], r.danKey) },
		"another device's key":         func() (*ssh.Client, error) { return r.login(r.ids["broker"], r.keys["shed"]) },
		"a device's key for a person":  func() (*ssh.Client, error) { return r.login("dan", r.keys["broker"]) },
	} {
		if c, err := try(); err == nil {
			_ = c.Close()
			t.Errorf("%s opens the gate", name)
		}
	}
	if c, err := r.login("dan", append(wrong[:2:2], r.danKey)...); err != nil {
		t.Errorf("the third key: %v", err)
	} else {
		_ = c.Close()
	}
	ends := make(chan struct{})
	go func() { _ = last.Wait(); close(ends) }()
	select {
	case <-ends:
	case <-time.After(5 * time.Second):
		t.Error("a connection outlives its key's expiry-time")
	}
	if _, err := r.login("dan", late); err == nil {
		t.Error("an expired key opens the gate")
	}
	if log := r.log.String(); !strings.Contains(log, "from=") || !strings.Contains(log, "No profile has this key") {
		t.Error("the log does not say why a key was refused")
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

// Rule 8: a device that comes back is usable at once, and its old connection is over.
func TestNewestLoginOfADeviceWins(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	old := r.station("broker")
	dan := r.come("dan", r.danKey)
	conn, err := dan.Dial("tcp", "broker.adit:22")
	must(t, err)
	r.station("broker")
	ends(t, "the old connection of the device", func() { _ = old.Wait() })
	ends(t, "a stream of the old connection", func() { _, _ = io.Copy(io.Discard, conn) })
	again, err := dan.Dial("tcp", "broker.adit:22")
	must(t, err)
	_ = again.Close()
	if !r.tunnel.Online(r.ids["broker"]) {
		t.Error("the device is offline")
	}
}

func TestRemovedDeviceIsOut(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.station("broker")
	d, err := r.store.Read().GetDevice(t.Context(), r.ids["broker"])
	must(t, err)
	must(t, r.devices.Remove(t.Context(), r.owner, d))
	ends(t, "the connection of a removed device", func() { _ = c.Wait() })
	if _, err := r.login(r.ids["broker"], r.keys["broker"]); err == nil {
		t.Error("a removed device comes back")
	}
	if r.tunnel.Online(r.ids["broker"]) {
		t.Error("a removed device is online")
	}
}

// What a device forwards are its targets, and cancelling takes one away.
func TestOffers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.station("broker", 1883)
	neighbour := ssh.Marshal(struct {
		Address string
		Port    uint32
	}{"mailserver", 110})
	if ok, _, err := c.SendRequest("tcpip-forward", true, neighbour); !ok || err != nil {
		t.Fatalf("a neighbour: %v, %v", ok, err)
	}
	want := "[tcp:127.0.0.1:1883 tcp:127.0.0.1:22 tcp:mailserver:110]"
	if got := fmt.Sprint(r.tunnel.Presence(r.ids["broker"]).Offers); got != want {
		t.Errorf("offers %s, want %s", got, want)
	}
	for _, target := range []wire.Target{"ssh", "mqtt", "tcp:127.0.0.1:22", "tcp:localhost:1883", "tcp:[::1]:1883", "tcp:mailserver:110"} {
		conn, err := r.dial(target)
		if err != nil {
			t.Errorf("%s: %v", target, err)
			continue
		}
		_ = conn.Close()
	}
	if ok, _, err := c.SendRequest("cancel-tcpip-forward", true, neighbour); !ok || err != nil {
		t.Errorf("cancel: %v, %v", ok, err)
	}
	if _, err := r.dial("tcp:mailserver:110"); wire.CodeOf(err) != wire.Forbidden {
		t.Errorf("a cancelled forward: %v", err)
	}
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

// Rule 5: refused channels leave nothing behind.
func TestRefusedChannelsLeaveNothing(t *testing.T) {
	t.Parallel()
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

// Rule 5: whoever stalls in the handshake is gone after ten seconds.
func TestStallsAreCutOff(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]string{
		"silent":        "",
		"half a line":   "SSH-2.0-",
		"version only":  "SSH-2.0-OpenSSH_9.2\r\n",
		"half a packet": "SSH-2.0-OpenSSH_9.2\r\n\x00\x00\x01\x00\x0a\x14",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hostKey := newSigner(t)
			synctest.Test(t, func(t *testing.T) {
				g := sshgate.New(sshgate.Options{Log: slog.New(slog.DiscardHandler), Now: time.Now, HostKey: hostKey, URL: "https://" + host})
				ours, theirs := net.Pipe()
				began := time.Now()
				go func() { _, _ = ours.Write([]byte(begin)) }()
				go func() { g.Serve(theirs, "192.0.2.1") }()
				_, _ = io.Copy(io.Discard, ours)
				if took := time.Since(began); took != 10*time.Second {
					t.Errorf("cut off after %v", took)
				}
			})
		})
	}
}

func TestStrangersAreTold(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	conn, err := net.Dial("tcp", r.address)
	must(t, err)
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: hub\r\n\r\n")
	said, _ := io.ReadAll(conn)
	if !strings.Contains(string(said), "This is the SSH gate of https://"+host) {
		t.Errorf("a browser is told %q", said)
	}
}

func (r *rig) dial(target wire.Target) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return r.tunnel.Dial(ctx, tunnelRequest(r.ids["broker"], target))
}

// silentStation is a device whose services say nothing and take no notice of an end.
func (r *rig) silentStation(name string) {
	r.t.Helper()
	c := r.come(r.ids[name], r.keys[name])
	incoming := c.HandleChannelOpen("forwarded-tcpip")
	go func() {
		for n := range incoming {
			if _, requests, err := n.Accept(); err == nil {
				go ssh.DiscardRequests(requests)
			}
		}
	}()
	ok, _, err := c.SendRequest("tcpip-forward", true, ssh.Marshal(struct {
		Address string
		Port    uint32
	}{"localhost", 1883}))
	if err != nil || !ok {
		r.t.Fatalf("forward: %v, %v", ok, err)
	}
}

// Rule 5: a stream that is closed leaves nothing behind, also where the device's service is silent.
func TestClosedStreamsLeaveNothing(t *testing.T) {
	r := newRig(t)
	r.silentStation("broker")
	before := runtime.NumGoroutine()
	for range 100 {
		conn, err := r.dial("tcp:127.0.0.1:1883")
		must(t, err)
		_ = conn.Close()
	}
	eventually(t, 5*time.Second, "the goroutines of closed streams are gone", func() bool { return runtime.NumGoroutine() < before+20 })

	dan := r.come("dan", r.danKey)
	for n := range 100 { // more than may be open at once
		eventually(t, 5*time.Second, fmt.Sprintf("channel %d is open", n), func() bool {
			conn, err := dan.Dial("tcp", "broker.adit:1883")
			if err == nil {
				_ = conn.Close()
			}
			return err == nil
		})
	}
	eventually(t, 5*time.Second, "no stream is left", func() bool { return len(r.tunnel.Streams()) == 0 })
}

// What was written before a close arrives, both ways.
func TestLastBytesArrive(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.station("broker")
	heard := make(chan string, 1)
	c := r.come(r.ids["shed"], r.keys["shed"])
	incoming := c.HandleChannelOpen("forwarded-tcpip")
	go func() {
		for n := range incoming {
			channel, requests, err := n.Accept()
			if err != nil {
				continue
			}
			go ssh.DiscardRequests(requests)
			text, _ := io.ReadAll(channel)
			heard <- string(text)
			_ = channel.Close()
		}
	}()
	_, _, err := c.SendRequest("tcpip-forward", true, ssh.Marshal(struct {
		Address string
		Port    uint32
	}{"localhost", 22}))
	must(t, err)
	long := strings.Repeat("last words ", 100_000)
	conn, err := r.tunnel.Dial(t.Context(), tunnelRequest(r.ids["shed"], "ssh"))
	must(t, err)
	_, err = io.WriteString(conn, long)
	must(t, err)
	must(t, conn.Close())
	if got := <-heard; got != long {
		t.Errorf("%d of %d bytes arrived before the close", len(got), len(long))
	}
}

// A lost device is no regular end of its streams.
func TestLostDeviceIsNoEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for range 30 {
		c := r.station("broker")
		conn, err := r.dial("ssh")
		must(t, err)
		go func() { _ = c.Close() }()
		if _, err := io.ReadAll(conn); wire.CodeOf(err) != wire.Offline || err == nil {
			t.Fatalf("a stream whose device was lost ends with %v", err)
		}
		_ = conn.Close()
		eventually(t, 2*time.Second, "the device offline", func() bool { return !r.tunnel.Online(r.ids["broker"]) })
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
