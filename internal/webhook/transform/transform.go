// Package transform makes a new body, or a topic, out of a message, by a jq program or a template of text and jq programs that
// an admin wrote. jq is a whole language: a program can run for ever, or double a string until the machine has no memory, and its
// interpreter bounds neither. So programs run in worker processes, at most two, that are held to a time and a memory, know
// nothing of the hub, and are replaced when they die. They start when they are needed and end when they have been idle.
package transform

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/itchyny/gojq"

	"github.com/aditdev/adit/internal/wire"
)

// What a transform may take.
const (
	MaxText   = 8 << 10                // bytes of a program or template
	MaxInput  = 2 << 20                // bytes of the input, as JSON: the largest takes a worker a second to read
	MaxOutput = 1 << 20                // bytes of what comes out
	MaxTime   = 100 * time.Millisecond // processor time, beside reading the input
	MaxMemory = 256 << 20              // bytes beyond what an idle worker has

	maxPrograms = 64 // in one template
)

// Kind is how a transform is written.
type Kind string

const (
	JQ       Kind = "jq"       // a program, whose one result is what comes out
	Template Kind = "template" // text with jq programs in {{ }}
)

// Transform is a jq program, or a template. A string that a program gives goes out as it is, anything else as JSON. No result, null,
// and more results than one are errors: `tojson` makes null a text.
type Transform struct {
	Kind Kind
	Text string
}

// Check reports what is wrong with a transform before anything is run by it: wire.Invalid, with the line and column (from 1, in
// characters) where the parser knows them.
func Check(t Transform) error {
	_, err := compile(t)
	return err
}

// segment is a piece of a template: text, or a program.
type segment struct {
	literal string
	source  string     // of the program
	code    *gojq.Code // nil for text
}

// compiled is a transform that can be run. A program of kind JQ is a template of nothing else.
type compiled []segment

func compile(t Transform) (compiled, error) {
	switch {
	case len(t.Text) > MaxText:
		return nil, wire.Errorf(wire.Invalid, "A transform has at most %d bytes; this one has %d.", MaxText, len(t.Text))
	case !utf8.ValidString(t.Text):
		return nil, wire.Errorf(wire.Invalid, "A transform is text in UTF-8.")
	case strings.TrimSpace(t.Text) == "":
		return nil, wire.Errorf(wire.Invalid, "The transform is empty. The jq program that changes nothing is a dot.")
	}
	switch t.Kind {
	case JQ:
		code, err := compileProgram(t.Text, 0, len(t.Text))
		return compiled{{source: t.Text, code: code}}, err
	case Template:
		return compileTemplate(t.Text)
	}
	return nil, wire.Errorf(wire.Invalid, "A transform is of kind jq or template, not %q.", wire.Printable(string(t.Kind), 32))
}

// compileProgram compiles text[from:to]. It has no environment, no modules and no further inputs: those are gojq's defaults.
func compileProgram(text string, from, to int) (*gojq.Code, error) {
	query, err := gojq.Parse(text[from:to])
	if parse, ok := errors.AsType[*gojq.ParseError](err); ok {
		// Offset is behind the token, or behind the broken escape.
		at := from + min(parse.Offset, to-from)
		if strings.HasSuffix(text[:at], parse.Token) {
			at -= len(parse.Token)
		}
		what := strings.Replace(err.Error(), "EOF", "end of the program", 1)
		return nil, wire.Errorf(wire.Invalid, "%s: %s.", position(text, at), wire.Printable(what, 200))
	}
	if err == nil {
		var code *gojq.Code
		if code, err = gojq.Compile(query); err == nil {
			return code, nil
		}
	}
	return nil, wire.Errorf(wire.Invalid, "%s: %s.", position(text, from+leading(text[from:to])), wire.Printable(err.Error(), 200))
}

func leading(text string) int { return len(text) - len(strings.TrimLeft(text, " \t\r\n")) }

func position(text string, at int) string {
	line := strings.Count(text[:at], "\n") + 1
	column := utf8.RuneCountInString(text[strings.LastIndexByte(text[:at], '\n')+1:at]) + 1
	return fmt.Sprintf("Line %d, column %d", line, column)
}
