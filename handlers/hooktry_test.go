package handlers

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A transform can be tried before anything is sent by it; what is wrong stands beside its field.
func TestTryHookTransform(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	try := func(kind, text string, input any) object {
		return object{"transform": object{"kind": kind, "text": text}, "input": input}
	}
	for _, test := range []struct {
		body object
		want string
	}{
		{try("jq", ".body | {door}", object{"body": object{"door": "open", "x": 1}}), `{"door":"open"}`},
		{try("template", "devices/{{ .device }}/cmd", object{"device": "kitchen"}), "devices/kitchen/cmd"},
		{try("jq", ". | tojson", nil), "null"},
		{try("jq", "1 + 1", object{}), "2"},
	} {
		var tried struct{ Output string }
		r.call("admin", "POST", "/api/v1/hooks/try", test.body, 200, &tried)
		if tried.Output != test.want {
			t.Errorf("%v: %q", test.body, tried.Output)
		}
	}
	// A number keeps the digits in which it was written.
	raw := r.do("admin", "POST", "/api/v1/hooks/try", `{"transform":{"kind":"jq","text":".n"},"input":{"n":12345678901234567890.10}}`)
	if raw.status != 200 || !strings.Contains(string(raw.body), `"12345678901234567890.10"`) {
		t.Errorf("%d %s", raw.status, raw.body)
	}
	for _, test := range []struct {
		body object
		says string
	}{
		{try("jq", ".a b", nil), `Line 1, column 4: unexpected token \"b\"`},
		{try("jq", "def f: f; f", nil), "longer than 100ms"},
		{try("jq", `"x" * 1000000000`, nil), "more memory than 256 MiB"},
		{try("template", "{{ .none }}", object{}), "result is null"},
		{try("lua", "x", nil), "jq or template"},
	} {
		got := r.do("admin", "POST", "/api/v1/hooks/try", test.body)
		if got.status != 400 || !strings.Contains(string(got.body), test.says) || !strings.Contains(string(got.body), `"transform":`) {
			t.Errorf("%v: %d %s", test.body, got.status, got.body)
		}
	}
}

func TestTriesOfTransformsAreLimited(t *testing.T) {
	t.Parallel()
	at := time.Now() // no try comes back by time
	r := newRig(t, func(o *Options) { o.Now = func() time.Time { return at } })
	body := object{"transform": object{"kind": "jq", "text": "("}, "input": nil}
	for range 20 {
		r.call("admin", "POST", "/api/v1/hooks/try", body, 400, nil)
	}
	if got := r.do("admin", "POST", "/api/v1/hooks/try", body); got.status != 429 {
		t.Errorf("21 tries at once: %d", got.status)
	}
	r.call("owner", "POST", "/api/v1/hooks/try", body, 400, nil)
}

// The topic that docs/webhooks.md gives for GitHub is made of a push, and of the ping of an organization, which is of no repository.
func TestDocumentedTopicOfGitHub(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	text, err := os.ReadFile("../docs/webhooks.md")
	r.must(err)
	found := regexp.MustCompile(`"topic": ("github/(?:[^"\\]|\\.)*")`).FindSubmatch(text)
	if found == nil {
		t.Fatal("docs/webhooks.md has no such topic")
	}
	topic := decodeAs[string](r, found[1])
	for want, body := range map[string]object{
		"github/you/app/push": {"repository": object{"full_name": "you/app"}},
		"github/you/ping":     {"zen": "Keep it logically awesome.", "organization": object{"login": "you"}},
	} {
		var tried struct{ Output string }
		r.call("admin", "POST", v1("hooks/try"), object{"transform": object{"kind": "template", "text": topic},
			"input": object{"body": body, "headers": object{"x-github-event": want[strings.LastIndex(want, "/")+1:]}}}, 200, &tried)
		if tried.Output != want {
			t.Errorf("%q, want %q", tried.Output, want)
		}
	}
}
