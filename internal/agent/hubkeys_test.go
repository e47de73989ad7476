package agent

import (
	"crypto/ed25519"
	"encoding/json"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/wire"
)

// A device never lets go of every key that it pins, keeps its owner's words in agent.toml, and goes by what is on its disk.
func TestPinHubKeys(t *testing.T) {
	t.Parallel()
	p, c, _ := installed(t)
	first := c.HubKeys[0]
	other := func() string { public, _, _ := ed25519.GenerateKey(nil); return wire.EncodeKey(public) }
	second, stranger := other(), other()
	var pinned []ed25519.PublicKey
	d := &device{log: slog.New(slog.DiscardHandler), paths: p, config: c, pin: func(keys []ed25519.PublicKey) { pinned = keys }}
	text, err := os.ReadFile(p.Config())
	if err != nil {
		t.Fatal(err)
	}
	words := "# mine\n" + strings.Replace(string(text), "hub_keys = [", "hub_keys = [ # the hub's\n  ", 1) + "# [policy] is above\n"
	if err := os.WriteFile(p.Config(), []byte(words), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		keys []string
		code wire.Code // "" where they are taken
	}{
		{[]string{second}, wire.Forbidden}, {nil, wire.Invalid}, {[]string{first, second, stranger}, wire.Invalid}, {[]string{first, "x"}, wire.Invalid},
		{[]string{first, second}, ""}, {[]string{first, second}, ""}, {[]string{second}, ""}, {[]string{first}, wire.Forbidden}, {[]string{second}, ""},
	} {
		before, err := LoadConfig(p.Config())
		if err != nil {
			t.Fatal(err)
		}
		params, _ := json.Marshal(wire.HubKeys{Keys: step.keys})
		_, err = d.Call(t.Context(), wire.MethodHubKeys, params)
		after, errRead := LoadConfig(p.Config())
		want := step.keys
		if step.code != "" {
			want = before.HubKeys
		}
		if errRead != nil || !slices.Equal(after.HubKeys, want) || (step.code == "") != (err == nil) || err != nil && wire.CodeOf(err) != step.code {
			t.Errorf("%v: %v; pins %v, %v", step.keys, err, after.HubKeys, errRead)
		}
		if step.code == "" && (len(pinned) != len(want) || wire.EncodeKey(pinned[0]) != want[0]) {
			t.Errorf("%v: the tunnel goes by %v", step.keys, pinned)
		}
	}
	if text, err = os.ReadFile(p.Config()); err != nil || !strings.HasPrefix(string(text), "# mine\n") || !strings.HasSuffix(string(text), "# [policy] is above\n") {
		t.Errorf("%s %v", text, err)
	}
	if info, err := os.Stat(p.Config()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}
