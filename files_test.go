package main

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
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

// Rule 31: a hub that has run out of file descriptors takes connections again as soon as it can.
func TestOutOfFileDescriptors(t *testing.T) {
	t.Parallel()
	const limit = 64
	var stderr out
	cmd := exec.Command("sh", "-c", `ulimit -n "$1" && exec "$2"`, "sh", strconv.Itoa(limit), os.Args[0])
	cmd.Env = append(production(t.TempDir()), "PORT=0", "ADIT_LOG=debug", asHub)
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	address := "127.0.0.1:" + says(t, &stderr, `msg=serving address=\S*:(\d+)`)
	conns := make([]net.Conn, 2*limit)
	for i := range conns {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = conn
	}
	says(t, &stderr, `(too many open files)`)
	for _, conn := range conns {
		_ = conn.Close()
	}
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for _, path := range []string{"/healthz", "/readyz"} {
		res, err := client.Get("http://" + address + path)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v, %v", path, res, err)
		}
		_ = res.Body.Close()
	}
}

// says waits until a program has said something, and gives its first group.
func says(t *testing.T, o *out, pattern string) string {
	t.Helper()
	wanted := regexp.MustCompile(pattern)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-tick.C {
		if found := wanted.FindStringSubmatch(o.String()); found != nil {
			return found[1]
		}
	}
	t.Fatalf("it never said %s:\n%s", pattern, o)
	return ""
}
