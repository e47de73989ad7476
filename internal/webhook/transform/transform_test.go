package transform

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/leaktest"
	"github.com/aditdev/adit/internal/wire"
)

// TestMain lets the test binary be the worker that a Pool starts.
func TestMain(m *testing.M) {
	WorkIfAsked()
	leaktest.Main(m)
}

// running is a pool with its loop, both until the test ends.
func running(t testing.TB, o Options) *Pool {
	t.Helper()
	p := NewPool(o)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return p
}

func TestApply(t *testing.T) {
	t.Parallel()
	p := running(t, Options{})
	input := map[string]any{"body": json.RawMessage(`{"door":"open","n":1.50,"big":123456789012345678901,"list":[1,2],"none":null,"ü":"}}"}`), "path": "/a"}
	for _, test := range []struct {
		kind       Kind
		text, want string
	}{
		{JQ, `.`, `{"body":{"big":123456789012345678901,"door":"open","list":[1,2],"n":1.50,"none":null,"ü":"}}"},"path":"/a"}`},
		{JQ, `.body.door`, `open`},
		{JQ, `.body.n`, `1.50`},
		{JQ, `.body.door | tojson`, `"open"`},
		{JQ, `.body.none | tojson`, `null`},
		{JQ, `false`, `false`},
		{JQ, `{a: {b: {c: .path}}}`, `{"a":{"b":{"c":"/a"}}}`},
		{JQ, `"<&>\u2028"`, "<&>\u2028"},
		{JQ, `["<&>"]`, `["<&>"]`},
		{JQ, `$ENV, env | length`, ``}, // two results: see below
		{JQ, `[$ENV, env, $ENV.PATH]`, `[{},{},null]`},
		{JQ, `now | type`, `number`},
		{JQ, `0 | localtime | mktime`, `0`},
		{JQ, `"2015-03-05T23:51:47Z" | fromdate`, `1425599507`},
		{Template, `plain`, `plain`},
		{Template, `devices/{{ .body.door }}/x`, `devices/open/x`},
		{Template, `{{ .body.n }}{{.body.list}}`, `1.50[1,2]`},
		{Template, `{{ "}}" }}`, `}}`},
		{Template, `{{ .body["ü"] }}|`, `}}|`},
		{Template, `{{ "\(.body | {a:{b:.door}} | .a.b) }}\"" }}`, `open }}"`},
		{Template, `{{ {a:{b:1}}}}`, `{"a":{"b":1}}`},
		{Template, `{{ {a:{b:1}} | .a.b }}}}`, `1}}`},
		{Template, "{{ .path # a comment }}!", `/a!`},
		{Template, "{{ .path # \" it's\n }}!", `/a!`},
		{Template, `{{ "{{" }}x}}`, `{{x}}`},
		{Template, `a } b } { c`, `a } b } { c`},
		{Template, `{"temp": {{ .body.n }}, "s": {{ .body.door | tojson }}}`, `{"temp": 1.50, "s": "open"}`},
	} {
		out, err := applyInTime(t, p, Transform{test.kind, test.text}, input)
		if test.want == "" {
			if wire.CodeOf(err) != wire.Invalid {
				t.Errorf("%s: %s %v", test.text, out, err)
			}
		} else if err != nil || string(out) != test.want {
			t.Errorf("%s: %s %v, want %s", test.text, out, err, test.want)
		}
		if err := Check(Transform{test.kind, test.text}); err != nil {
			t.Errorf("Check %s: %v", test.text, err)
		}
	}
}

func TestCheckSaysWhere(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		kind       Kind
		text, says string
	}{
		{JQ, ``, `empty`},
		{JQ, " \n", `empty`},
		{JQ, `.a b`, `Line 1, column 4: unexpected token "b"`},
		{JQ, `.a |`, `Line 1, column 5: unexpected end of the program`},
		{JQ, "\n\n  \"ü\" ]", `Line 3, column 7: unexpected token "]"`},
		{JQ, `"abc`, `unterminated string`},
		{JQ, `"a\qb"`, `Line 1, column 3: invalid escape`},
		{JQ, `  foo(1)`, `Line 1, column 3: function not defined: foo/1`},
		{JQ, `$x`, `variable not defined: $x`},
		{JQ, `# nothing`, `missing query`},
		{JQ, `import "a" as a; .`, `cannot load module`},
		{JQ, `include "/etc/passwd"; .`, `cannot load module`},
		{JQ, `input`, `not allowed`},
		{JQ, `[inputs]`, `not allowed`},
		{JQ, `input_filename`, `not defined`},
		{JQ, `debug`, `not defined`},
		{JQ, `get_search_list`, `not defined`},
		{JQ, strings.Repeat("a", MaxText+1), `at most 8192 bytes`},
		{JQ, "\xff", `UTF-8`},
		{"text/template", `.`, `jq or template`},
		{"", `.`, `jq or template`},
		{Template, "a\n {{ .b", "Line 2, column 2: this {{ has no }}"},
		{Template, "a\n {{ .b c }}", `Line 2, column 8: unexpected token "c"`},
		{Template, "{{ }}", `missing query`},
		{Template, "{{ (.a }} and more", `Line 1, column 8: unexpected end of the program`},
		{Template, `{{ "a }}`, `has no }}`},
		{Template, strings.Repeat("{{.}}", 65), `at most 64 programs`},
	} {
		err := Check(Transform{test.kind, test.text})
		if wire.CodeOf(err) != wire.Invalid || !strings.Contains(wire.MessageOf(err), test.says) {
			t.Errorf("%.40q: %v", test.text, err)
		}
	}
}

// Programs that fail, that never end and that grow: each gets its answer, in bounded time, and the next one works.
func TestHostilePrograms(t *testing.T) {
	t.Parallel()
	p := running(t, Options{Workers: 1})
	for _, test := range []struct {
		kind       Kind
		text, says string
	}{
		{JQ, `.none`, `result is null`},
		{JQ, `empty`, `no result`},
		{JQ, `1, 2`, `more than one result`},
		{JQ, `1, error("no")`, `no`},
		{JQ, `error("why")`, `why`},
		{JQ, `error(null)`, `failed`},
		{JQ, `halt`, `halt`},
		{JQ, `halt_error`, `halt`},
		{JQ, `.a.b.c`, `expected an object`},
		{Template, `a/{{ .path }}/{{ .none }}`, `In {{ .none }}: The program's result is null`},
		{JQ, `def f: f; f`, `longer than 100ms`},
		{JQ, `[range(1e12)]`, `The program`},
		{JQ, `last(repeat(1))`, `longer than`},
		{JQ, `1, repeat(empty)`, `longer than`},
		{JQ, `def f: 1 + f; f`, `The program`},
		{JQ, `def f: [f]; f`, `The program`},
		{JQ, `reduce range(60) as $i ("x"; . + .)`, `The program`},
		{JQ, `reduce range(60) as $i ([]; [., .]) | tojson`, `The program`},
		{JQ, `reduce range(60) as $i ([]; [., .])`, `larger than 1 MiB`},
		{JQ, `reduce range(60) as $i ("x"; gsub("x"; "xx"))`, `The program`},
		{JQ, `[limit(1e9; repeat("abcdefgh"))] | add`, `The program`},
		{JQ, `"x" * 1e9`, `The program`},
		{JQ, `[.[1e8] = 1]`, `The program`},
		{JQ, `reduce range(1e6) as $i (0; [.]) | tojson`, `The program`},
		{JQ, `"x" * 1048577`, `larger than 1 MiB`},
		{JQ, `[range(1e6)]`, `The program`},
		{JQ, `[range(3)] | map("x" * 400000)`, `larger than 1 MiB`},
		{Template, strings.Repeat(`{{ "x" * 100000 }}`, 11), `larger than 1 MiB`},
		{JQ, `[range(3e5)] | map(tostring) | combinations(4)`, `The program`},
		{JQ, `"` + strings.Repeat("a", 4000) + `" | [match("` + strings.Repeat("(a?)", 500) + `"; "g")] | length`, `The program`},
	} {
		begun := time.Now()
		what, input := Transform{test.kind, test.text}, json.RawMessage(`{"path":"/a","a":"x"}`)
		out, err := p.Apply(t.Context(), what, input)
		if !strings.Contains(slow(), test.says) && wire.MessageOf(err) == slow() {
			out, err = applyInTime(t, p, what, input)
		}
		if wire.CodeOf(err) != wire.Invalid || !strings.Contains(wire.MessageOf(err), test.says) {
			t.Errorf("%.60q: %.60q %v", test.text, out, err)
		}
		t.Logf("%6.1f ms %.60q: %s", time.Since(begun).Seconds()*1000, test.text, wire.MessageOf(err))
		if out, err := applyInTime(t, p, Transform{JQ, `.path`}, json.RawMessage(`{"path":"/a"}`)); err != nil || string(out) != "/a" {
			t.Fatalf("behind %.60q the next program gives %q %v", test.text, out, err)
		}
	}
}
