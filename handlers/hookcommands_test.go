package handlers

import (
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/store"
)

// A command that a device is known not to have is refused with those that it has; before it has told any, it is taken with a word about that. What
// is not changed is not refused, whatever became of its device.
func TestHookSourceOfCommand(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	tells := func(facts string) {
		r.must(r.Store.Write(t.Context(), func(q *store.Queries) error {
			return q.SetFacts(t.Context(), store.SetFactsParams{ID: r.device["kitchen"].ID, Facts: facts})
		}))
	}
	create := func(device, command string) reply {
		return r.do("admin", "POST", "/api/v1/hooks/sources", object{"verify": object{"kind": "bearer"}, "action": object{"kind": "command", "device": device, "command": command}})
	}
	refused := func(got reply, why string) {
		t.Helper()
		if got.status != 400 || !strings.Contains(got.body, why) || !strings.Contains(got.body, `"action":`) {
			t.Errorf("%d %s, want %q", got.status, got.body, why)
		}
	}
	path := func(got reply, note string) string {
		t.Helper()
		made := decodeAs[NewHookSource](r, []byte(got.body))
		if got.status != 201 || !strings.Contains(value(made.Source.Note), note) || (note == "") != (made.Source.Note == nil) {
			t.Fatalf("%d %s, want a note of %q", got.status, got.body, note)
		}
		return "/api/v1/hooks/sources/" + made.Source.ID
	}
	early := path(create("kitchen", "door"), "not told its commands yet")
	tells(`{"hostname":"kitchen","policy":{"run":true}}`)
	refused(create("kitchen", "door"), "it names none")
	tells(`{"policy":{"run":true},"commands":[{"name":"door","parameters":[]},{"name":"lamp","parameters":[]}]}`)
	refused(create("kitchen", "nope"), "It has: door, lamp.")
	refused(create("nowhere", "door"), "no device nowhere")
	path(create(r.device["kitchen"].ID, "lamp"), "")
	if got := r.do("admin", "GET", early, nil); strings.Contains(got.body, `"note"`) {
		t.Errorf("%s", got.body)
	}
	refused(r.do("admin", "PATCH", early, object{"action": object{"kind": "command", "device": "kitchen", "command": "nope"}}), "no command nope")
	tells(`{"policy":{"run":false},"commands":[{"name":"lamp","parameters":[]}]}`)
	path(create("kitchen", "lamp"), "run = true")
	if got := r.do("admin", "PATCH", early, object{"name": "old"}); got.status != 200 || !strings.Contains(got.body, "no command door any more") {
		t.Errorf("what is not changed: %d %s", got.status, got.body)
	}
}

// Arguments that the command does not take, or that it lacks, fail each request: so they are refused, as far as the device has told its parameters.
func TestHookSourceOfArguments(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	tells := func(facts string) {
		r.must(r.Store.Write(t.Context(), func(q *store.Queries) error {
			return q.SetFacts(t.Context(), store.SetFactsParams{ID: r.device["kitchen"].ID, Facts: facts})
		}))
	}
	create := func(command string, arguments object) reply {
		return r.do("admin", "POST", "/api/v1/hooks/sources",
			object{"verify": object{"kind": "bearer"}, "action": object{"kind": "command", "device": "kitchen", "command": command, "arguments": arguments}})
	}
	tells(`{"policy":{"run":true},"commands":[{"name":"door","parameters":[{"name":"door","pattern":"[a-z]+"},{"name":"speed","pattern":"[0-9]+"}]},{"name":"old"}]}`)
	for want, arguments := range map[string]object{
		"door needs door=… speed=….":                          {},
		"door needs door=… speed=…; it has no parameter dor.": {"dor": "x"},
		"door has no parameter lamp.":                         {"door": "a", "speed": "1", "lamp": "x"},
	} {
		if got := create("door", arguments); got.status != 400 || !strings.Contains(got.body, `"action":"`+want+`"`) {
			t.Errorf("%d %s, want %q", got.status, got.body, want)
		}
	}
	if got := create("old", object{"any": "x"}); got.status != 201 {
		t.Errorf("a command that tells no parameters: %d %s", got.status, got.body)
	}
	got := create("door", object{"door": "{{ .body.door }}", "speed": "50"})
	made := decodeAs[NewHookSource](r, []byte(got.body))
	if got.status != 201 || made.Source.Note != nil {
		t.Fatalf("%d %s", got.status, got.body)
	}
	sent := r.do("", "POST", "/hook/"+made.Source.Slug, object{"lamp": 1}, "Authorization", "Bearer "+*made.Secret)
	if sent.status != 400 || !strings.Contains(sent.body, `"arguments":"The argument door: The program's result is null.`) {
		t.Errorf("%d %s", sent.status, sent.body)
	}
	tells(`{"policy":{"run":true},"commands":[{"name":"door","parameters":[{"name":"door","pattern":"[a-z]+"}]}]}`)
	if got := r.do("admin", "PATCH", "/api/v1/hooks/sources/"+made.Source.ID, object{"name": "same"}); got.status != 200 ||
		!strings.Contains(got.body, "Each request fails: door has no parameter speed.") {
		t.Errorf("what is not changed: %d %s", got.status, got.body)
	}
}

// The command of a source is its device's, also after that is renamed and another machine has taken the name.
func TestSourceOfRenamedDevice(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	path, made := r.openSource(object{"kind": "command", "device": "kitchen", "command": "open"})
	r.call("admin", "PATCH", v1("devices/kitchen"), object{"name": "old-kitchen"}, 200, nil)
	r.enrol("kitchen")
	a := r.accepted(r.do("", "POST", path, object{"a": 1}))
	if q := r.hookRequest(a.ID); value(q.Request.DeviceID) != r.device["kitchen"].ID {
		t.Errorf("it is for %s, want %s", value(q.Request.DeviceID), r.device["kitchen"].ID)
	}
	var s HookSource
	r.call("admin", "GET", v1("hooks/sources/%s", made.Source.ID), nil, 200, &s)
	if value(s.DeviceName) != "old-kitchen" || value(s.Action.Device) != r.device["kitchen"].ID {
		t.Errorf("%s, %s", value(s.DeviceName), value(s.Action.Device))
	}
}
