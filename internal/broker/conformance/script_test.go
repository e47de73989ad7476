package conformance

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"testing"
)

//go:embed rows hostile
var rowFiles embed.FS

// row is one of rows/; see the package's documentation.
type row struct {
	name       string              // file/name
	statements map[string][]string // by version, 4 and 5
	words      string
	steps      []step
}

// step is one line of a row.
type step struct {
	line    string // as written
	only    string // version, or empty
	peer    string
	verb    string
	tokens  []string
	counted int // line number
}

var (
	rowHead  = regexp.MustCompile(`^== ([a-z0-9-]+)((?: [45]:[0-9.,-]+)+)$`)
	stepHead = regexp.MustCompile(`^(?:([45])\| )?(?:(connect|sub|pub|get|quiet) ([A-Za-z]\w*)|([A-Za-z]\w*)([><&!?=~-]))(?: (.*))?$`)
)

// rows reads those of a folder.
func rows(t testing.TB, folder string) []row {
	t.Helper()
	files, err := fs.Glob(rowFiles, folder+"/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []row
	for _, file := range files {
		text, err := rowFiles.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		more, err := parse(strings.TrimSuffix(path.Base(file), ".txt"), string(text))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, more...)
	}
	return all
}

func parse(group, text string) ([]row, error) {
	var all []row
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if m := rowHead.FindStringSubmatch(line); m != nil {
			all = append(all, row{name: group + "/" + m[1], statements: statements(m[2])})
			continue
		}
		if len(all) == 0 {
			return nil, fmt.Errorf("line %d: no row has begun", number)
		}
		if err := all[len(all)-1].add(line, number); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	return all, nil
}

// statements reads " 4:3.1.0-2 5:3.1.0-2,3.1.4-1".
func statements(text string) map[string][]string {
	out := map[string][]string{}
	for _, field := range strings.Fields(text) {
		version, list, _ := strings.Cut(field, ":")
		out[version] = strings.Split(list, ",")
	}
	return out
}

func (r *row) add(line string, number int) error {
	m := stepHead.FindStringSubmatch(line)
	if m == nil {
		if len(r.steps) > 0 {
			return fmt.Errorf("no step: %s", line)
		}
		r.words = strings.TrimSpace(r.words + " " + line)
		return nil
	}
	tokens, err := tokenize(m[6])
	if err != nil {
		return err
	}
	r.steps = append(r.steps, step{line: line, only: m[1], peer: m[3] + m[4], verb: m[2] + m[5], tokens: tokens, counted: number})
	return nil
}

// tokenize parts at spaces that are not within quotes or brackets.
func tokenize(text string) ([]string, error) {
	var out []string
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		n, err := tokenEnd(text)
		if err != nil {
			return nil, err
		}
		out = append(out, text[:n])
		text = text[n:]
	}
	return out, nil
}

func tokenEnd(text string) (int, error) {
	depth := 0
	var quote byte
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '[':
			depth++
		case c == ']':
			depth--
		case c == ' ' && depth == 0:
			return i, nil
		}
	}
	if quote != 0 || depth != 0 {
		return 0, fmt.Errorf("a quote or bracket stays open: %s", text)
	}
	return len(text), nil
}

// expand puts the long form in place of a short one.
func (s step) expand() []step {
	args := s.tokens
	props := "[]"
	for i, a := range args {
		if strings.HasPrefix(a, "[") {
			props = a
			args = append(append([]string{}, args[:i]...), args[i+1:]...)
			break
		}
	}
	switch s.verb {
	case "connect":
		return s.lines(expandConnect(s.peer, strings.Join(args, " "), props)...)
	case "sub":
		return s.lines(expandSub(s.peer, args[0], args[1:])...)
	case "pub":
		retain := "0"
		if args[1] == "retain" {
			retain, args = "1", append(args[:1:1], args[2:]...)
		}
		return s.lines(expandPub(s.peer, args[0], retain, args[1], props, args[2])...)
	case "get":
		return s.lines(expandGet(s.peer, args[0], args[1], props, args[2])...)
	case "quiet": // twice: the first answer may overtake what waits to be sent
		return s.lines("> c000", "< d000", "> c000", "< d000")
	}
	return []step{s}
}

// lines makes steps of the same peer from "VERB BYTES".
func (s step) lines(lines ...string) []step {
	var out []step
	for _, line := range lines {
		if line == "" {
			continue
		}
		verb, rest, _ := strings.Cut(line, " ")
		tokens, err := tokenize(rest)
		if err != nil {
			panic(err) // our own text
		}
		out = append(out, step{line: s.line, only: s.only, peer: s.peer, verb: verb, tokens: tokens, counted: s.counted})
	}
	return out
}

func expandConnect(peer, how, props string) []string {
	flags, present := "c2", "00"
	if how != "" {
		flags = "c0"
		inner := strings.TrimSuffix(strings.TrimPrefix(props, "["), "]")
		props = "[" + strings.TrimSuffix("11 00000e10, "+inner, ", ") + "]"
	}
	if how == "again" {
		present = "01"
	}
	return []string{fmt.Sprintf(`> 10 . HEAD %s 003c %s "~%s" USER PASS`, flags, props, peer), "< 20 . " + present + " 00 [*]"}
}

func expandSub(_, qos string, filters []string) []string {
	send, expect := "> 82 . 0001 []", "< 90 . 0001 []"
	for _, f := range filters {
		send += " " + f + " 0" + qos
		expect += " 0" + qos
	}
	return []string{send, expect}
}

func expandPub(_, qos, retain, topic, props, payload string) []string {
	first := map[string]string{"00": "30", "01": "31", "10": "32", "11": "33", "20": "34", "21": "35"}[qos+retain]
	id := map[string]string{"0": "", "1": "0009", "2": "0009"}[qos]
	send := fmt.Sprintf("> %s . %s %s %s %s", first, topic, id, props, payload)
	switch qos {
	case "1":
		return []string{send, "< 40 . 0009 .."}
	case "2":
		return []string{send, "< 50 . 0009 ..", "> 6202 0009", "< 70 . 0009 .."}
	}
	return []string{send, "> c000", "< d000"} // it has been taken when the answer comes
}

func expandGet(_, qos, topic, props, payload string) []string {
	first := map[string]string{"0": "30", "1": "32", "2": "34"}[qos]
	fresh := fmt.Sprintf("@%s", "got")
	if qos == "0" {
		fresh = ""
	}
	expect := fmt.Sprintf("< %s . %s %s %s %s", first, topic, fresh, props, payload)
	switch qos {
	case "1":
		return []string{"forget got", expect, "> 4002 @got"}
	case "2":
		return []string{"forget got", expect, "> 5002 @got", "< 6202 @got", "> 7002 @got"}
	}
	return []string{expect}
}
