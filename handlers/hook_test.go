package handlers

import (
	"net/http"
	"strings"
	"testing"
)

// source makes a source of that body, as an admin.
func (r *rig) source(body object) NewHookSource {
	r.t.Helper()
	var made NewHookSource
	r.call("admin", "POST", v1("hooks/sources"), body, 201, &made)
	return made
}

func TestHookStoreIsKeptAndListed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	made := r.source(object{"verify": object{"kind": "none"}, "action": object{"kind": "store"}})
	if len(made.Source.Slug) < 26 || made.Secret != nil || !strings.HasSuffix(made.Source.URL, "/hook/"+made.Source.Slug) {
		t.Fatalf("made %+v", made)
	}
	got := r.do("", "POST", "/hook/"+made.Source.Slug+"/a/b?x=1", "hello", "Content-Type", "text/plain", "X-Api-Key", "hush")
	if got.status != 202 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	var page HookRequestPage
	r.call("admin", "GET", v1("hooks/requests"), nil, 200, &page)
	if len(page.Requests) != 1 || page.Requests[0].Path != "/a/b?x=1" || page.Requests[0].State != "done" {
		t.Fatalf("page %+v", page)
	}
	var d HookRequestDetail
	r.call("admin", "GET", v1("hooks/requests/%s", page.Requests[0].ID), nil, 200, &d)
	if string(d.Body) != "hello" {
		t.Errorf("body %q", d.Body)
	}
	for _, h := range d.Headers {
		if h.Name == "X-Api-Key" && h.Value != "***" {
			t.Errorf("a secret header is shown: %+v", h)
		}
	}
	if got := r.do("", "DELETE", "/hook/"+made.Source.Slug, nil); got.status != 405 || got.header.Get("Allow") != "OPTIONS, POST" {
		t.Errorf("DELETE: %d, Allow %q", got.status, got.header.Get("Allow"))
	}
	_ = http.MethodPost
}
