package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/agent"
)

// keyState is what `adit-hub keys` prints.
type keyState struct {
	Keys    []struct{ Fingerprint, Role string }
	Waiting []struct{ Name string }
}

func (s *site) keys(args ...string) (k keyState) {
	s.t.Helper()
	if err := json.Unmarshal([]byte(must(s.t, s.environ, "", append(append([]string{"keys"}, args...), "--json")...)), &k); err != nil {
		s.t.Fatal(err)
	}
	return k
}

// pinned are the hub's keys in an agent.toml.
func pinned(t *testing.T, p agent.Paths) []string {
	t.Helper()
	c, err := agent.LoadConfig(p.Config())
	if err != nil {
		t.Fatal(err)
	}
	return c.HubKeys
}

// The hub's key is replaced while it runs. A device that is there follows without losing a stream, one that was away all
// the time is let in by the key that it knows and follows then, and a line that was made before still works.
func TestHubKeyIsReplaced(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	kitchen, stopKitchen := s.machine(map[string]any{"name": "kitchen"})
	shed, stopShed := s.machine(map[string]any{"name": "shed"})
	within(t, patience, "online", func() bool { return s.online("kitchen") && s.online("shed") })
	stopShed()
	within(t, patience, "offline", func() bool { return !s.online("shed") })
	comment := "# the owner's own words\n"
	text, err := os.ReadFile(kitchen.Config())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(kitchen.Config(), append([]byte(comment), text...), 0o600); err != nil {
		t.Fatal(err)
	}
	first := pinned(t, kitchen)[0]
	conn := s.open(s.owner)
	earlier := s.code(map[string]any{"name": "late"})

	if k := s.keys("rotate"); len(k.Keys) != 2 || k.Keys[1].Role != "next" || len(k.Waiting) != 2 {
		t.Fatalf("%+v", k)
	}
	within(t, patience, "kitchen pins both", func() bool { return len(pinned(t, kitchen)) == 2 })
	within(t, patience, "the hub knows", func() bool { return len(s.keys("list").Waiting) == 1 })
	if status, out, says := adithub(t, s.environ, "", "keys", "rotate", "--finish"); status != 6 || !strings.Contains(says, "shed") {
		t.Errorf("finished with a device away: %d %s %s", status, out, says)
	}
	if k := s.keys("rotate", "--finish", "--force"); k.Keys[1].Role != "previous" || k.Keys[1].Fingerprint == k.Keys[0].Fingerprint {
		t.Errorf("%+v", k)
	}
	within(t, patience, "kitchen pins the new one alone", func() bool { p := pinned(t, kitchen); return len(p) == 1 && p[0] != first })
	s.echoes(conn)
	if text, err := os.ReadFile(kitchen.Config()); err != nil || !strings.HasPrefix(string(text), comment) {
		t.Errorf("agent.toml lost its owner's words: %s %v", text, err)
	}
	stopKitchen()
	s.runAgent(kitchen)
	within(t, patience, "kitchen online by the new key", func() bool { return s.online("kitchen") })

	if got := pinned(t, shed); len(got) != 1 || got[0] != first {
		t.Fatalf("shed pins %v", got)
	}
	s.runAgent(shed)
	within(t, patience, "shed pins the new one alone", func() bool { p := pinned(t, shed); return len(p) == 1 && p[0] != first })
	if status, _, says := adithub(t, s.environ, "", "keys", "rotate", "--drop"); status != 6 || !strings.Contains(says, "1 install codes") {
		t.Errorf("dropped while a line carries the key: %d %s", status, says)
	}
	late := s.enroll(earlier.code, earlier.fingerprint)
	s.runAgent(late)
	within(t, patience, "the late one", func() bool { p := pinned(t, late); return len(p) == 1 && p[0] != first })
	within(t, patience, "nobody is waited for", func() bool { return len(s.keys("list").Waiting) == 0 })
	if k := s.keys("rotate", "--drop"); len(k.Keys) != 1 || k.Keys[0].Role != "current" {
		t.Errorf("%+v", k)
	}
	within(t, patience, "all online", func() bool { return s.online("kitchen") && s.online("shed") && s.online("late") })
}

var lineKey = regexp.MustCompile(`ADIT_HUB_KEY=(SHA256:\S+)`)

// line is an install code, and its line with the fingerprint in it.
type line struct{ code, fingerprint, command string }

func (s *site) code(members map[string]any) line {
	s.t.Helper()
	var made struct{ Code, Command string }
	if status := s.call(s.owner, "POST", "/api/v1/install-codes", members, &made); status != 201 {
		s.t.Fatal(status)
	}
	return line{made.Code, lineKey.FindStringSubmatch(made.Command)[1], made.Command}
}

// enroll makes a machine a device as its line says.
func (s *site) enroll(code, fingerprint string) agent.Paths {
	s.t.Helper()
	paths := agent.PathsIn(filepath.Join(s.t.TempDir(), "adit"))
	if _, _, err := agent.Enroll(s.t.Context(), paths, agent.Enrolment{Hub: s.localhost(), Code: code, HubKey: fingerprint}); err != nil {
		s.t.Fatal(err)
	}
	return paths
}
