package transform

import (
	"strings"

	"github.com/aditdev/adit/internal/wire"
)

// compileTemplate splits text at {{ and the }} that belongs to it.
func compileTemplate(text string) (all compiled, err error) {
	for at, programs := 0, 0; at < len(text); programs++ {
		begin := strings.Index(text[at:], "{{")
		if begin < 0 {
			return append(all, segment{literal: text[at:]}), nil
		}
		if begin > 0 {
			all = append(all, segment{literal: text[at : at+begin]})
		}
		begin += at
		from, to := begin+2, programEnd(text, begin+2)
		if to < 0 {
			return nil, wire.Errorf(wire.Invalid, "%s: this {{ has no }}. A plain {{ is written as {{ \"{{\" }}.", position(text, begin))
		}
		if programs == maxPrograms {
			return nil, wire.Errorf(wire.Invalid, "%s: a template has at most %d programs.", position(text, begin), maxPrograms)
		}
		code, err := compileProgram(text, from, to)
		if err != nil {
			return nil, err
		}
		all = append(all, segment{source: strings.TrimSpace(text[from:to]), code: code})
		at = to + 2
	}
	return all, nil
}

// Outline is a template with one byte in the place of each program: what of its result its author wrote. What opens and does not end,
// which Check refuses, counts as a program.
func Outline(text string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "{{")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		b.WriteByte('x')
		end := programEnd(rest, 0)
		if end < 0 {
			return b.String()
		}
		text = rest[end+len("}}"):]
	}
}

// programEnd finds the }} behind the jq program that begins at from, or gives -1. Those inside strings, and those that close the
// program's own braces, are the program's. Where braces do not match, the next }} ends it, so that the parser says what is wrong.
func programEnd(text string, from int) int {
	var open []byte // what is open: ( [ { and " for a string
	top := func() byte {
		if len(open) == 0 {
			return 0
		}
		return open[len(open)-1]
	}
	comment := false
	for i := from; i < len(text); i++ {
		c := text[i]
		switch {
		case top() == '"':
			switch {
			case c == '"':
				open = open[:len(open)-1]
			case c == '\\' && i+1 < len(text):
				i++
				if text[i] == '(' { // jq's interpolation: a program in a string
					open = append(open, '(')
				}
			}
		case c == '}' && top() != '{' && strings.HasPrefix(text[i:], "}}"):
			return i
		case comment:
			comment = c != '\n'
		case c == '#':
			comment = true
		case c == '"' || c == '(' || c == '[' || c == '{':
			open = append(open, c)
		case c == ')' && top() == '(' || c == ']' && top() == '[' || c == '}' && top() == '{':
			open = open[:len(open)-1]
		}
	}
	return -1
}
