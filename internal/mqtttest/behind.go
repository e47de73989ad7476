package mqtttest

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Behind runs a Mosquitto that stands behind a hub, configured as docs/mqtt.md tells people to: what they paste is what is
// tried. root is the way to the root of the tree.
func Behind(t testing.TB, root string) *Broker {
	t.Helper()
	dir := t.TempDir()
	acl := filepath.Join(dir, "adit.acl")
	if err := os.WriteFile(acl, []byte(documented(t, root, "acl")), 0o600); err != nil {
		t.Fatal(err)
	}
	conf := strings.NewReplacer("listener 1884 127.0.0.1\nallow_anonymous true\n", "", // as Start has them
		"/etc/mosquitto/adit.acl", acl, "/var/lib/mosquitto/", dir+"/").Replace(documented(t, root, "conf"))
	if strings.Contains(conf, "listener") {
		t.Fatalf("docs/mqtt.md has another listener:\n%s", conf)
	}
	return Start(t, conf)
}

// documented is a block of the section on external brokers.
func documented(t testing.TB, root, language string) string {
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
