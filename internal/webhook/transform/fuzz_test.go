package transform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/wire"
)

// Whatever is written as a template either compiles, into pieces that make it up again and whose text is in its outline, or is refused with a message.
func FuzzTemplate(f *testing.F) {
	for _, text := range []string{"a", "{{.}}", `x{{ "}}" }}y`, "{{ {a:{b:1}}}}", "{{", "}}", "{{ # }}", `{{ "\(1 + "}}") }}`, "{{}}", "{{ (} }}", "{{ \"\\", "{{{{}}}}", "a/{{ .x # \"\n}}//b",
		`a/{{.body}}/b{{"\({a: "}}"})"}}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		outline := Outline(text) // of whatever there is
		all, err := compile(Transform{Template, text})
		if err != nil {
			if wire.CodeOf(err) != wire.Invalid || wire.MessageOf(err) == "" {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		at, own := 0, ""
		for _, s := range all {
			if s.code == nil {
				own += s.literal
				if s.literal == "" || !strings.HasPrefix(text[at:], s.literal) {
					t.Fatalf("%q: text %q at %d", text, s.literal, at)
				}
				at += len(s.literal)
				continue
			}
			own += "x"
			if !strings.HasPrefix(text[at:], "{{") {
				t.Fatalf("%q: a program at %d", text, at)
			}
			end := programEnd(text, at+2)
			if end < 0 || strings.TrimSpace(text[at+2:end]) != s.source {
				t.Fatalf("%q: the program %q at %d ends at %d", text, s.source, at, end)
			}
			at = end + 2
		}
		if at != len(text) {
			t.Errorf("%q: the pieces end at %d", text, at)
		}
		if outline != own {
			t.Errorf("%q: the outline is %q, its author wrote %q", text, outline, own)
		}
	})
}

// Text without {{ is what comes out, byte by byte.
func FuzzPlainTemplate(f *testing.F) {
	f.Add("devices/kitchen")
	f.Add("}} { {")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := compile(Transform{Template, text})
		if err != nil || strings.Contains(text, "{{") {
			return
		}
		if out, err := c.apply(context.Background(), nil); err != nil || string(out) != text {
			t.Errorf("%q becomes %q %v", text, out, err)
		}
	})
}

// What a worker or a hub gone mad sends is refused without much memory; what is written is read again.
func FuzzFrames(f *testing.F) {
	var frame bytes.Buffer
	kind, parts := request(Transform{Template, "{{.a}}"}, []byte(`{"a":1}`))
	if err := writeFrame(&frame, kind, parts...); err != nil {
		f.Fatal(err)
	}
	f.Add(frame.Bytes())
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 'j'})
	f.Add([]byte{0, 0, 0, 3, 'j', 0, 9})
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		kind, rest, err := readFrame(r)
		if err != nil {
			if len(data) > 0 && errors.Is(err, io.EOF) {
				t.Errorf("%x ends like no frame at all", data)
			}
			return
		}
		transform, input, err := parseRequest(kind, rest)
		if err != nil {
			return
		}
		var again bytes.Buffer
		kind, parts := request(transform, input)
		if err := writeFrame(&again, kind, parts...); err != nil || !bytes.HasPrefix(data, again.Bytes()) {
			t.Errorf("%x became %x %v", data, again.Bytes(), err)
		}
	})
}

// BenchmarkApply is what an incoming hook costs: a topic and a payload, each by its transform.
func BenchmarkApply(b *testing.B) {
	p := running(b, Options{})
	input := map[string]any{"body": json.RawMessage(`{"door":"open","temperature":21.5,"list":[` + strings.Repeat(`{"k":"value"},`, 50) + `1]}`),
		"headers": map[string]string{"content-type": "application/json", "user-agent": "curl/8"}, "path": "/garage", "id": "req_1"}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := p.Apply(b.Context(), Transform{Template, "devices/{{ .body.door }}/cmd"}, input); err != nil {
				b.Error(err)
			}
			if _, err := p.Apply(b.Context(), Transform{JQ, `{door: .body.door, t: .body.temperature, n: (.body.list | length)}`}, input); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}
