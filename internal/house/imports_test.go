package house

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/aditdev/adit/"

// A rule forbids arrows. Paths are the module's own without its name, or a foreign import path; a trailing /... means
// everything below too.
type rule struct {
	from   []string
	not    []string
	only   []string // where set, everything else is forbidden; "std" is the standard library
	deep   bool     // dependencies of dependencies count too
	reason string
}

var (
	doors = []string{"handlers/...", "internal/sshgate/...", "internal/broker/..."}
	hub   = []string{"handlers/...", "internal/sshgate/...", "internal/broker/...", "tunnelhub/...", "internal/store/...",
		"internal/auth/...", "internal/devices/...", "internal/seal/...", "internal/sshca/...", "internal/sshlogin/...", "internal/shell/...",
		"internal/webhook/...", "internal/events/...", "internal/access/...", "internal/config/...", "internal/dist/...", "internal/ports/...",
		"internal/messaging/...", "static/...", "sql/..."}
	heavy = []string{"github.com/labstack/echo/...", "modernc.org/sqlite/...", "database/sql",
		"github.com/alecthomas/kong/...", "text/template/...", "html/template/..."}
)

var rules = []rule{
	{from: []string{"internal/wire/..."}, only: []string{"std", "internal/wire/..."}, deep: true,
		reason: "what both ends agree on depends on nothing"},
	{from: []string{"internal/access/...", "internal/config/..."}, only: []string{"std", "internal/wire/..."}, deep: true,
		reason: "who may do what, and the settings, are plain rules: standard library, and the words of wire"},
	{from: []string{"static/...", "sql/..."}, only: []string{"std"}, deep: true,
		reason: "they are files with an embed"},
	{from: []string{"internal/stream/..."}, not: append(hub, heavy...), deep: true,
		reason: "both ends of the tunnel stand on it"},
	{from: []string{"tunnelhub/..."}, not: []string{"net/http", "github.com/labstack/echo/...", "database/sql",
		"internal/store/...", "internal/auth/...", "internal/shell/..."},
		reason: "live links know net.Conn and ids; no HTTP, no SQL"},
	{from: []string{"internal/store/...", "internal/auth/...", "internal/devices/...", "internal/shell/...",
		"internal/webhook/...", "internal/seal/...", "internal/sshca/...", "internal/sshlogin/...", "internal/events/...", "internal/access/...", "internal/ports/...",
		"internal/messaging/...", "tunnelhub/..."},
		not: doors, deep: true, reason: "doors call the rest, never the other way round"},
	{from: []string{"handlers/..."}, not: []string{"internal/sshgate/...", "internal/broker/..."},
		reason: "doors never import each other"},
	{from: []string{"internal/sshgate/..."}, not: []string{"handlers/...", "internal/broker/..."},
		reason: "doors never import each other"},
	{from: []string{"internal/broker/..."}, not: []string{"handlers/...", "internal/sshgate/..."},
		reason: "doors never import each other"},
	{from: append([]string{"github.com/aditdev/adit"}, hub...), not: []string{"github.com/mochi-mqtt/..."}, deep: true,
		reason: "the library is what the broker is measured beside, no part of it"},
	{from: []string{"cmd/adit", "internal/agent/...", "internal/cli/...", "internal/api"}, not: append(hub, heavy...), deep: true,
		reason: "the small binary on devices and laptops holds nothing of the hub, and nothing that keeps every method alive"},
	{from: []string{"internal/agent/..."}, not: []string{"internal/cli/..."}, deep: true,
		reason: "the device's side does not need the people's"},
}

type listed struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Deps       []string
}

func TestImportsPointOneWay(t *testing.T) {
	packages := list(t, "./...")
	standard := map[string]bool{}
	for _, p := range list(t, "-deps", "./...") {
		if p.Standard {
			standard[p.ImportPath] = true
		}
	}
	for _, p := range packages {
		name := own(p.ImportPath)
		for _, r := range rules {
			if !matches(r.from, name) {
				continue
			}
			arrows := p.Imports
			if r.deep {
				arrows = p.Deps
			}
			for _, to := range arrows {
				if r.forbids(own(to), standard[to]) {
					t.Errorf("%s must not import %s: %s", name, own(to), r.reason)
				}
			}
		}
	}
}

// The rules themselves: a test that cannot fail proves nothing.
func TestRulesForbid(t *testing.T) {
	for _, arrow := range [][2]string{
		{"internal/wire", "github.com/coder/websocket"},
		{"internal/access", "internal/store"},
		{"tunnelhub", "net/http"},
		{"internal/store", "handlers"},
		{"internal/devices", "handlers"},
		{"handlers", "internal/broker"},
		{"internal/broker", "github.com/mochi-mqtt/server/v2"},
		{"github.com/aditdev/adit", "github.com/mochi-mqtt/server/v2"},
		{"cmd/adit", "text/template"},
		{"cmd/adit", "tunnelhub"},
		{"internal/cli", "internal/devices"},
		{"internal/agent/sshserver", "internal/cli"},
	} {
		if !slices.ContainsFunc(rules, func(r rule) bool {
			return matches(r.from, arrow[0]) && r.forbids(arrow[1], strings.HasPrefix(arrow[1], "net/") || arrow[1] == "text/template")
		}) {
			t.Errorf("nothing forbids %s → %s", arrow[0], arrow[1])
		}
	}
}

func (r rule) forbids(to string, standard bool) bool {
	if matches(r.not, to) {
		return true
	}
	if r.only == nil || matches(r.only, to) {
		return false
	}
	return !standard || !slices.Contains(r.only, "std")
}

func matches(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		below, tree := strings.CutSuffix(p, "/...")
		return path == below || tree && strings.HasPrefix(path, below+"/")
	})
}

func own(path string) string { return strings.TrimPrefix(path, module) }

func list(t *testing.T, args ...string) []listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-e", "-json=ImportPath,Standard,Imports,Deps"}, args...)...)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var p listed
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}
