// Package mosquittotest runs a real Mosquitto behind a hub in tests, configured as docs/mqtt.md tells people to: what they
// paste is what is tried.
package mosquittotest

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/sshdtest"
)

// Mosquitto is one that runs until Stop or the test's end.
type Mosquitto struct {
	Address string
	Stop    func() // at once, as if killed
	t       *testing.T
	conf    string
}

// Start runs one. root is the way to the root of the tree.
func Start(t *testing.T, root string) *Mosquitto {
	t.Helper()
	sshdtest.NeedTools(t, "mosquitto", "mosquitto_pub", "mosquitto_sub")
	dir := t.TempDir()
	m := &Mosquitto{Address: freeAddress(t), t: t, conf: filepath.Join(dir, "mosquitto.conf")}
	acl := filepath.Join(dir, "adit.acl")
	_, port, _ := net.SplitHostPort(m.Address)
	conf := strings.NewReplacer("1884", port, "/etc/mosquitto/adit.acl", acl, "/var/lib/mosquitto/", dir+"/").Replace(documented(t, root, "conf"))
	write(t, m.conf, conf+"user root\n")
	write(t, acl, documented(t, root, "acl"))
	m.Again()
	return m
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// documented is a block of the section on external brokers.
func documented(t *testing.T, root, language string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs", "mqtt.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := bytes.Cut(text, []byte("## An external broker"))
	block := regexp.MustCompile("(?s)```" + language + "\n(.*?)```").FindSubmatch(section)
	if block == nil {
		t.Fatalf("docs/mqtt.md has no block of %s", language)
	}
	return string(block[1])
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Again starts it where it was stopped.
func (m *Mosquitto) Again() {
	m.t.Helper()
	cmd := exec.Command("mosquitto", "-c", m.conf)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.Stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if m.t.Failed() {
			m.t.Logf("mosquitto said:\n%s", &said)
		}
	})
	m.t.Cleanup(m.Stop)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); ; <-tick.C {
		if conn, err := net.Dial("tcp", m.Address); err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatal("mosquitto does not listen")
		}
	}
}
