//go:build linux

package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"database/sql"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/crypto/ssh"
)

// These measure the programs as they run; `make bench` prints them beside the tunnel's figures.

// figure prints one row: what, the value, and the bound or baseline that it stands beside.
func figure(what, value, beside string, good bool) {
	verdict := "ok"
	if !good {
		verdict = "NOT MET"
	}
	fmt.Printf("%-52s %14s   %-34s %s\n", what, value, beside, verdict)
}

// The agent's program for every platform that has been built.
func BenchmarkSize(b *testing.B) {
	files, _ := filepath.Glob("../internal/dist/files/adit-*.gz")
	for range b.N {
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				b.Fatal(err)
			}
			z, err := gzip.NewReader(bytes.NewReader(data))
			if err != nil {
				b.Fatal(err)
			}
			size, err := io.Copy(io.Discard, z)
			if err != nil {
				b.Fatal(err)
			}
			name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "adit-"), ".gz")
			limit, bound := int64(9_000_000), "≤ 9.0 MB, ≤ 3.60 MB gzip"
			if strings.Contains(name, "mips") {
				limit, bound = 10_000_000, "≤ 10.0 MB, ≤ 3.60 MB gzip"
			}
			figure("adit for "+name, fmt.Sprintf("%.2f, %.2f MB", float64(size)/1e6, float64(len(data))/1e6), bound,
				size <= limit && len(data) <= 3_600_000 || !strings.HasPrefix(name, "linux"))
		}
	}
}

// From exec to the first 200 of /readyz: an empty hub, and one with ten thousand devices.
func BenchmarkHubStart(b *testing.B) {
	for range b.N {
		dir := b.TempDir()
		hubStartsOnce(b, dir) // makes the database
		empty := median(5, func() time.Duration { return hubStartsOnce(b, dir) })
		addDevices(b, filepath.Join(dir, "adit.db"), 10_000)
		full := median(5, func() time.Duration { return hubStartsOnce(b, dir) })
		figure("hub start to serving, empty", ms(empty), "≤ 300 ms", empty <= 300*time.Millisecond)
		figure("hub start to serving, 10,000 devices", ms(full), "≤ 300 ms", full <= 300*time.Millisecond)
	}
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func hubStartsOnce(b *testing.B, dir string) time.Duration {
	b.Helper()
	port := freePort(b)
	cmd := exec.Command(built("adit-hub"), "serve")
	cmd.Env = []string{"PORT=" + port, "ADIT_URL=https://hub.adit.test", "ADIT_SECRET=for-this-test-only-0123456789abcdef", "ADIT_DATA=" + dir}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for time.Since(start) < 20*time.Second {
		res, err := http.Get("http://127.0.0.1:" + port + "/readyz")
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return time.Since(start)
			}
		}
		<-tick.C
	}
	b.Fatal("the hub did not start")
	return 0
}

func addDevices(b *testing.B, path string, n int) {
	b.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		b.Fatal(err)
	}
	for i := range n {
		id := fmt.Sprintf("dev_%026d", i)
		if _, err = tx.Exec(`INSERT INTO devices (id, name, public_key, status, via, facts, created_at) VALUES (?, ?, ?, 'active', 'agent',
			'{"hostname":"bench","os":"Debian GNU/Linux 12 (bookworm)","arch":"arm64"}', 1700000000000)`,
			id, fmt.Sprint("bench-", i), fmt.Sprintf("%043d", i)); err != nil {
			b.Fatal(err)
		}
		if _, err = tx.Exec(`INSERT INTO device_tags (device_id, tag) VALUES (?, ?)`, id, fmt.Sprint("room-", i%50)); err != nil {
			b.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		b.Fatal(err)
	}
}

// An idle agent behind the proxy: its memory, and what its cable carries in an hour with all headers of TCP and IP.
// ADIT_IDLE says for how long it is watched, four minutes where absent: one ping more or less is then a sixteenth.
func BenchmarkIdleAgent(b *testing.B) {
	watch := 4 * time.Minute
	if s := os.Getenv("ADIT_IDLE"); s != "" {
		var err error
		if watch, err = time.ParseDuration(s); err != nil {
			b.Fatal(err)
		}
	}
	for range b.N {
		r := newRig(b, "nginx")
		r.startSSHD()
		r.install()
		passes(20 * time.Second) // until it has settled
		before := r.wire()
		start := time.Now()
		passes(watch)
		hour := float64(r.wire()-before) / time.Since(start).Hours()
		figure("agent idle, bytes on the wire in an hour", fmt.Sprintf("%.1f KB", hour/1e3), "≤ 60 KB, with TCP and IP headers", hour <= 60e3)
		rss := r.agentMemory()
		figure("agent idle, memory (RSS)", fmt.Sprintf("%.1f MB", float64(rss)/1e3), "≤ 14 MB", rss <= 14_000)
	}
}

// wire is how many bytes of IP the device's cable has carried; 14 bytes of Ethernet on each packet do not count.
func (r *rig) wire() int64 {
	r.t.Helper()
	var total int64
	out := r.device.sh("grep eth0 /proc/net/dev")
	fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(out), "eth0:"))
	if len(fields) < 10 {
		r.t.Fatalf("/proc/net/dev: %q", out)
	}
	for _, at := range [][2]int{{0, 1}, {8, 9}} {
		bytes, _ := strconv.ParseInt(fields[at[0]], 10, 64)
		packets, _ := strconv.ParseInt(fields[at[1]], 10, 64)
		total += bytes - 14*packets
	}
	return total
}

// agentMemory is the RSS of the running agent in kB.
func (r *rig) agentMemory() int {
	r.t.Helper()
	out := r.device.sh(`for p in /proc/[0-9]*; do if tr '\0' ' ' <$p/cmdline | grep -q '[a]dit agent run'; then awk '/VmRSS/{print $2}' $p/status; fi; done 2>/dev/null | sort -n | tail -n 1`)
	kb, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		r.t.Fatalf("memory of the agent: %q", out)
	}
	return kb
}

// A key pressed in a browser's shell until its echo comes back, beside the same over an SSH connection straight to the
// device's sshd. Without the proxy, on one machine: what hub and agent add.
func BenchmarkShellKey(b *testing.B) {
	for range b.N {
		r := newRig(b, "nginx")
		r.startSSHD()
		r.install()
		hub, straight := r.attachShell(b), r.straightShell(b)
		awaitCat(b, hub)
		awaitCat(b, straight)
		var with, without []time.Duration
		for range 500 {
			without = append(without, echo(b, straight))
			with = append(with, echo(b, hub))
		}
		w95, wo95 := percentile(with, 95), percentile(without, 95)
		w50, wo50 := percentile(with, 50), percentile(without, 50)
		added := w95 - wo95
		figure("shell, key to echo, p50", ms(w50), "sshd directly "+ms(wo50), true)
		figure("shell, key to echo, p95", ms(w95), "sshd directly "+ms(wo95)+", ≤ 2 ms more", added <= 2*time.Millisecond)
	}
}

// key is one that no prompt has.
const key = '~'

// echo sends one key to a terminal that runs cat, and waits until it comes back.
func echo(b *testing.B, terminal io.ReadWriter) time.Duration {
	b.Helper()
	start := time.Now()
	if _, err := terminal.Write([]byte{key}); err != nil {
		b.Fatal(err)
	}
	buffer := make([]byte, 4096)
	for {
		n, err := terminal.Read(buffer)
		if err != nil {
			b.Fatal(err)
		}
		if bytes.IndexByte(buffer[:n], key) >= 0 {
			return time.Since(start)
		}
	}
}

// straightShell is a terminal on the device over an SSH connection that nothing of ours touches.
func (r *rig) straightShell(b *testing.B) io.ReadWriter {
	b.Helper()
	signer, err := ssh.NewSignerFromKey(newKey(b))
	if err != nil {
		b.Fatal(err)
	}
	r.device.write("/home/ada/.ssh/authorized_keys", string(ssh.MarshalAuthorizedKey(signer.PublicKey())), 0o644)
	hostKey, _, _, _, err := ssh.ParseAuthorizedKey([]byte(r.device.sh("cat /etc/ssh/ssh_host_ed25519_key.pub")))
	if err != nil {
		b.Fatal(err)
	}
	conn, err := r.device.dial(context.Background(), "tcp", "127.0.0.1:22")
	if err != nil {
		b.Fatal(err)
	}
	c, channels, requests, err := ssh.NewClientConn(conn, "device", &ssh.ClientConfig{User: login, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: ssh.FixedHostKey(hostKey), HostKeyAlgorithms: []string{ssh.KeyAlgoED25519}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	session, err := ssh.NewClient(c, channels, requests).NewSession()
	if err != nil {
		b.Fatal(err)
	}
	in, _ := session.StdinPipe()
	out, _ := session.StdoutPipe()
	if err := session.RequestPty("xterm-256color", 24, 80, ssh.TerminalModes{}); err != nil {
		b.Fatal(err)
	}
	if err := session.Start("cat"); err != nil {
		b.Fatal(err)
	}
	return struct {
		io.Reader
		io.Writer
	}{out, in}
}

// attachShell is a shell of the hub's, attached as a browser does it but without the proxy's TLS.
func (r *rig) attachShell(b *testing.B) io.ReadWriter {
	b.Helper()
	var shell struct{ ID string }
	if err := r.call("POST", "/api/v1/shells", ask{"device": "kitchen", "login": login, "cols": 80, "rows": 24}, &shell); err != nil {
		b.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: r.ca.pool, ServerName: hubName},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return r.host.dial(ctx, "tcp", "127.0.0.1:8080")
		},
	}}
	socket, _, err := websocket.Dial(context.Background(), "ws://"+hubName+"/api/v1/shells/"+shell.ID+"/attach", &websocket.DialOptions{
		HTTPClient: client, Subprotocols: []string{"adit.shell.v1"},
		HTTPHeader: http.Header{"Authorization": {"Bearer " + r.token}, "X-Forwarded-Proto": {"https"}},
	})
	if err != nil {
		b.Fatal(err)
	}
	socket.SetReadLimit(1 << 20)
	b.Cleanup(func() { socket.CloseNow() })
	a := &attachment{socket: socket}
	if _, err := a.Write([]byte("exec sh -c 'echo re''ady; exec cat'\n")); err != nil {
		b.Fatal(err)
	}
	await(b, a, "ready\r\n")
	return a
}

// An attachment speaks adit.shell.v1 as a browser does.
type attachment struct {
	socket *websocket.Conn
}

func (a *attachment) Write(p []byte) (int, error) {
	return len(p), a.socket.Write(context.Background(), websocket.MessageBinary, append([]byte{0}, p...))
}

func (a *attachment) Read(p []byte) (int, error) {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		_, message, err := a.socket.Read(ctx)
		cancel()
		if err != nil {
			return 0, err
		}
		if len(message) > 9 && message[0] == 0 {
			return copy(p, message[9:]), nil
		}
	}
}

// awaitCat sends a line and waits until the terminal and then cat have repeated it.
func awaitCat(b *testing.B, terminal io.ReadWriter) {
	b.Helper()
	if _, err := terminal.Write([]byte("@\n")); err != nil {
		b.Fatal(err)
	}
	await(b, terminal, "@\r\n@\r\n")
}

// await reads until text has come.
func await(b *testing.B, terminal io.Reader, text string) {
	b.Helper()
	buffer := make([]byte, 32<<10)
	var seen []byte
	for !bytes.Contains(seen, []byte(text)) {
		n, err := terminal.Read(buffer)
		if err != nil {
			b.Fatalf("%v, after %q", err, seen)
		}
		seen = append(seen, buffer[:n]...)
	}
}

func percentile(values []time.Duration, percent int) time.Duration {
	slices.Sort(values)
	return values[(len(values)-1)*percent/100]
}

func median(n int, measure func() time.Duration) time.Duration {
	var all []time.Duration
	for range n {
		all = append(all, measure())
	}
	return percentile(all, 50)
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d.Microseconds())/1e3) }
