package agent

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/wire"
)

func TestOlder(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"v1.2.3", "v1.2.4", true}, {"v1.2.3", "v1.10.0", true}, {"v1.9.9", "v2.0.0", true}, {"v1.2.3", "v1.2.3", false},
		{"v2.0.0", "v1.9.9", false}, {"devel", "v1.2.3", false}, {"v1.2.3", "devel", false}, {"v1.2", "v1.2.3", false}, {"", "", false},
		// as git describe names what is built between releases, and before them
		{"v1.2.3", "v1.2.3-12-gdeadbee", true}, {"v1.0.0", "v1.2.3-12-gdeadbee-dirty", true}, {"v1.2.3-12-gdeadbee", "v1.2.4", true},
		{"v1.2.3-9-gdeadbee", "v1.2.3-12-gdeadbee", true}, {"v1.2.3-12-gdeadbee", "v1.2.3", false}, {"v1.2.3-rc.1", "v1.2.3", true},
		{"v1.2.3", "v1.2.3-rc.1", false}, {"v1.2.2", "v1.2.3-rc.1", true},
	} {
		if got := older(test.a, test.b); got != test.want {
			t.Errorf("%q before %q: %v", test.a, test.b, got)
		}
	}
}

func gzipped(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Rule 29: what is not exactly what the hub's signed call says is never run, and nothing of it is left.
func TestFetchProgram(t *testing.T) {
	t.Parallel()
	program := gzipped(t, "#!/bin/sh\necho it runs\n")
	sum := sha256.Sum256(program)
	good := wire.Program{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(program))}
	for name, test := range map[string]struct {
		serve []byte
		want  wire.Program
		says  string // "" where it is taken
	}{
		"the program":          {program, good, ""},
		"another one":          {gzipped(t, "#!/bin/sh\necho mallory\n"), good, "is not what the hub has"},
		"bytes behind it":      {append(bytes.Clone(program), 'x'), good, "is not what the hub has"},
		"cut short":            {program[:len(program)-9], good, "is not what the hub has"},
		"nothing":              {nil, good, "is not what the hub has"},
		"longer than promised": {program, wire.Program{SHA256: good.SHA256, Size: good.Size - 5}, "is not what the hub has"},
		"no gzip":              {[]byte("plain"), wire.Program{SHA256: hex.EncodeToString(sha256Of("plain")), Size: 5}, "cannot unpack"},
	} {
		hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/dl/adit-"+command.Target()+".gz" {
				w.WriteHeader(http.StatusNotFound)
			}
			_, _ = w.Write(test.serve)
		}))
		path := filepath.Join(t.TempDir(), "new")
		d := &device{log: slog.New(slog.DiscardHandler), paths: Paths{Dir: t.TempDir()}, config: Config{Hub: hub.URL}}
		err := d.fetchProgram(t.Context(), test.want, path)
		hub.Close()
		if (test.says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
		if exists(path) != (test.says == "") {
			t.Errorf("%s: the file is there: %v", name, exists(path))
		}
	}
}

func sha256Of(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

// What the owner does not allow, what is there already or is not for this machine changes nothing.
func TestUpdateIsRefused(t *testing.T) {
	t.Parallel()
	here := map[string]wire.Program{command.Target(): {SHA256: strings.Repeat("0", 64), Size: 1}}
	for name, test := range map[string]struct {
		change func(*device)
		ask    wire.Update
		code   wire.Code
		says   string
	}{
		"not allowed":      {func(d *device) { d.config.Policy.Update = false }, wire.Update{Version: "v9.0.0", Programs: here}, wire.Forbidden, "policy.update"},
		"another platform": {nil, wire.Update{Version: "v9.0.0", Programs: map[string]wire.Program{"plan9-arm": here[command.Target()]}}, wire.NotFound, command.Target()},
		"too large": {nil, wire.Update{Version: "v9.0.0", Programs: map[string]wire.Program{command.Target(): {Size: programLimit + 1}}},
			wire.NotFound, command.Target()},
		"one on trial": {func(d *device) { _ = os.WriteFile(d.paths.Update(), []byte("{}"), 0o600) }, wire.Update{Version: "v9.0.0", Programs: here}, wire.Conflict, "yet to prove"},
		"under way":    {func(d *device) { d.updating.Store(true) }, wire.Update{Version: "v9.0.0", Programs: here}, wire.Conflict, "already"},
		"no hub":       {nil, wire.Update{Version: "v9.0.0", Programs: here}, wire.Conflict, "cannot download"},
	} {
		d := &device{log: slog.New(slog.DiscardHandler), paths: Paths{Dir: t.TempDir()}, config: Config{Hub: "http://127.0.0.1:1", Policy: DefaultPolicy()}}
		d.restart = func() { t.Errorf("%s: it starts anew", name) }
		if test.change != nil {
			test.change(d)
		}
		params, err := json.Marshal(test.ask)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Call(t.Context(), wire.MethodUpdate, params); wire.CodeOf(err) != test.code || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A machine that lost power before the new program was in its place goes on with the old one, and says so once.
func TestUpdateThatWasCutOff(t *testing.T) {
	t.Parallel()
	p := Paths{Dir: t.TempDir()}
	d := &device{log: slog.New(slog.DiscardHandler), paths: p}
	cut := trial{Version: "v9.0.0", From: command.Version(), Program: filepath.Join(p.Dir, "adit"), WithinSeconds: 60}
	data, err := json.Marshal(cut)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.Update(), data, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // it never gets online
	d.settleUpdate(ctx, nil, newBoard(Config{}, p, d.log))
	if exists(p.Update()) {
		t.Error("the update is still on trial")
	}
	var r wire.UpdateResult
	if data, err = os.ReadFile(p.UpdateResult()); err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil || r.OK || r.Version != "v9.0.0" || !strings.Contains(r.Message, "goes on with "+command.Version()) {
		t.Errorf("%+v %v", r, err)
	}
}

// keepProgram never leaves a name without a program, whatever was there before.
func TestKeepProgram(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	from, to := filepath.Join(dir, "adit"), filepath.Join(dir, "adit.old")
	if err := os.WriteFile(from, []byte("one"), 0o755); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time both are one file already
		if err := keepProgram(from, to); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "new"), []byte("two"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "new"), from); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{from: "two", to: "one"} {
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s has %q, %v", path, got, err)
		}
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 2 {
		t.Errorf("left: %v %v", names, err)
	}
}
