package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/porttest"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
)

// asHub tells the test binary to stand in for adit-hub: limits of a process cannot be tried on the tests' own.
const asHub = "ADIT_TEST_AS_HUB=yes"

// standIn runs `adit-hub serve` where a test asks for it, and reports its status.
func standIn() (status int, asked bool) {
	name, value, _ := strings.Cut(asHub, "=")
	if os.Getenv(name) != value {
		return 0, false
	}
	var environ []string
	for _, e := range os.Environ() {
		if e != asHub {
			environ = append(environ, e)
		}
	}
	return run(context.Background(), program{args: []string{"serve"}, environ: environ, stdin: os.Stdin, stdout: os.Stdout,
		stderr: os.Stderr}), true
}

// fewFiles starts a hub that may open few files, and gives what it says and the address of its site.
func fewFiles(t *testing.T, environ ...string) (stderr *out, address string) {
	t.Helper()
	stderr = &out{}
	cmd := exec.Command("sh", "-c", `ulimit -n "$1" && exec "$2"`, "sh", strconv.Itoa(fileLimit), os.Args[0])
	cmd.Env = append(environ, "PORT=0", "ADIT_LOG=debug", asHub)
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return stderr, "127.0.0.1:" + says(t, stderr, `msg=serving address=\S*:(\d+)`)
}

const fileLimit = 64

// exhaust connects so often that the hub has no file descriptor left; release closes it all.
func exhaust(t *testing.T, stderr *out, address string) (release func()) {
	t.Helper()
	conns := make([]net.Conn, 4*fileLimit) // the hub drops who says nothing, some at a time
	for i := range conns {
		conns[i] = dial(t, address)
	}
	says(t, stderr, `(too many open files)`)
	return func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// Rule 31: a hub that has run out of file descriptors takes connections again as soon as it can.
func TestOutOfFileDescriptors(t *testing.T) {
	t.Parallel()
	stderr, address := fewFiles(t, production(storetest.Dir(t))...)
	exhaust(t, stderr, address)()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	for _, path := range []string{"/healthz", "/readyz"} {
		res, err := client.Get("http://" + address + path)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v, %v", path, res, err)
		}
		_ = res.Body.Close()
	}
}

// The same for a dedicated port: it goes on to listen.
func TestPortOutOfFileDescriptors(t *testing.T) {
	t.Parallel()
	dir, port := t.TempDir(), porttest.Free(t)
	reservePort(t, dir, port)
	stderr, address := fewFiles(t, append(production(dir), fmt.Sprintf("ADIT_TCP_PORTS=%d-%d", port, port))...)
	says(t, stderr, `(port listens)`)
	release := exhaust(t, stderr, address)
	conn := dial(t, fmt.Sprintf("127.0.0.1:%d", port))
	says(t, stderr, `(port accepts nothing for a moment).*too many open files`)
	release()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) { // whoever reserved it may open nothing
		t.Errorf("the connection that waited: %v", err)
	}
}

// reservePort puts a port of a viewer's into a database.
func reservePort(t *testing.T, dir string, port int) {
	t.Helper()
	st, err := store.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	err = st.WriteAccess(t.Context(), func(q *store.Queries) error {
		u, err := q.CreateUser(t.Context(), store.CreateUserParams{ID: store.NewID("usr"), Email: "v@example.com", Handle: "v", Role: "viewer", CreatedAt: 1})
		if err != nil {
			return err
		}
		d, err := q.CreateDevice(t.Context(), store.CreateDeviceParams{ID: store.NewID("dev"), Name: "kitchen", PublicKey: "x",
			Status: "active", Via: "agent", Facts: "{}", CreatedAt: 1})
		if err != nil {
			return err
		}
		_, err = q.AddTCPPort(t.Context(), store.AddTCPPortParams{Port: int64(port), DeviceID: d.ID, Target: "ssh", UserID: u.ID, CreatedAt: 1})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// says waits until a program has said something, and gives its first group.
func says(t *testing.T, o *out, pattern string) string {
	t.Helper()
	wanted := regexp.MustCompile(pattern)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-tick.C {
		if found := wanted.FindStringSubmatch(o.String()); found != nil {
			return found[1]
		}
	}
	t.Fatalf("it never said %s:\n%s", pattern, o)
	return ""
}
