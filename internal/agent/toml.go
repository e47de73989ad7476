package agent

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// What agent.toml needs of TOML 1.0: comments, [tables], [[arrays of tables]], dotted bare keys, and as values strings of one line ("basic" and
// 'literal'), decimal integers, booleans, and arrays of strings. Anything else is refused with its line. A whole library
// makes `adit` larger by 0.17 MB; a test compares this parser with one.

// setting is one key with its table, as policy.root, and its value: a string, int, bool or []string. Where an element of
// an array of tables begins, key is the array's and value an element.
type setting struct {
	key   string
	value any
	line  int
}

// element is the place of a table in its array, from 0.
type element int

// tomlParser is where in a text a parser stands.
type tomlParser struct {
	rest string
	line int
}

// parseTOML gives the settings in their order. Its error names the line and what is wrong there.
func parseTOML(text string) ([]setting, error) {
	p := &tomlParser{rest: strings.ReplaceAll(text, "\r\n", "\n"), line: 1}
	if !utf8.ValidString(text) {
		return nil, p.fail("the file is not UTF-8")
	}
	if hasControls(strings.ReplaceAll(p.rest, "\n", "")) {
		return nil, p.fail("the file has control characters")
	}
	var out []setting
	var in tomlTable
	seen := map[string]bool{}
	arrays := map[string]element{}
	for p.skip(true); p.rest != ""; p.skip(true) {
		if p.take("[") {
			array := p.take("[")
			name, err := p.header(array)
			if err != nil {
				return nil, err
			}
			if in, err = p.enter(name, array, seen, arrays); err != nil {
				return nil, err
			}
			if array {
				out = append(out, setting{name, arrays[name] - 1, p.line})
			}
			continue
		}
		s, err := p.pair(in.prefix)
		if err != nil {
			return nil, err
		}
		if seen[in.scope+s.key] {
			return nil, p.fail("%s is set twice", s.key)
		}
		seen[in.scope+s.key] = true
		out = append(out, s)
	}
	return out, nil
}

// tomlTable is the table that keys stand in. scope tells the elements of an array apart.
type tomlTable struct{ prefix, scope string }

// enter begins a table, or the next element of an array of them.
func (p *tomlParser) enter(name string, array bool, seen map[string]bool, arrays map[string]element) (tomlTable, error) {
	in := tomlTable{prefix: name + "."}
	if _, known := arrays[name]; known != array && (known || seen["["+name]) {
		return in, p.fail("%s is both a table and an array of tables", name)
	}
	for outer := range arrays {
		if strings.HasPrefix(name, outer+".") {
			return in, p.fail("[%s] stands below an array of tables", name)
		}
	}
	if !array && seen["["+name] {
		return in, p.fail("the table [%s] comes twice", name)
	}
	seen["["+name] = true
	if array {
		in.scope = strconv.Itoa(int(arrays[name])) + " "
		arrays[name]++
	}
	return in, nil
}

func (p *tomlParser) fail(format string, args ...any) error {
	return fmt.Errorf("line %d: %s", p.line, fmt.Sprintf(format, args...))
}

// skip passes over blanks and comments, and over line ends too where lines is true.
func (p *tomlParser) skip(lines bool) {
	for p.rest != "" {
		switch c := p.rest[0]; {
		case c == ' ' || c == '\t':
			p.rest = p.rest[1:]
		case c == '\n' && lines:
			p.rest, p.line = p.rest[1:], p.line+1
		case c == '#':
			end := strings.IndexByte(p.rest+"\n", '\n')
			p.rest = p.rest[min(end, len(p.rest)):]
		default:
			return
		}
	}
}

func (p *tomlParser) take(word string) bool {
	rest, ok := strings.CutPrefix(p.rest, word)
	if ok {
		p.rest = rest
	}
	return ok
}

// header is what stands behind the [ of a table.
func (p *tomlParser) header(array bool) (string, error) {
	name, err := p.key()
	if err != nil {
		return "", err
	}
	end := "]"
	if array {
		end = "]]"
	}
	if p.skip(false); !p.take(end) {
		return "", p.fail("a table's name ends in %s", end)
	}
	return name, p.endOfLine()
}

func (p *tomlParser) pair(table string) (setting, error) {
	key, err := p.key()
	if err != nil {
		return setting{}, err
	}
	s := setting{key: table + key, line: p.line}
	if p.skip(false); !p.take("=") {
		return s, p.fail("%s needs a = and a value", key)
	}
	p.skip(false)
	if s.value, err = p.value(); err != nil {
		return s, err
	}
	return s, p.endOfLine()
}

func (p *tomlParser) endOfLine() error {
	if p.skip(false); p.rest != "" && p.rest[0] != '\n' {
		return p.fail("this line goes on where it should end, at %.20q", p.rest)
	}
	return nil
}

// key is one or several bare keys, joined by dots.
func (p *tomlParser) key() (string, error) {
	var parts []string
	for {
		p.skip(false)
		n := 0
		for n < len(p.rest) && isBare(p.rest[n]) {
			n++
		}
		if n == 0 {
			return "", p.fail("here stands a key of letters, digits, _ and -, not %.20q", p.rest)
		}
		parts = append(parts, p.rest[:n])
		p.rest = p.rest[n:]
		if p.skip(false); !p.take(".") {
			return strings.Join(parts, "."), nil
		}
	}
}

func isBare(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

func (p *tomlParser) value() (any, error) {
	if p.rest == "" {
		return nil, p.fail("the value is missing")
	}
	switch p.rest[0] {
	case '"', '\'':
		return p.text()
	case '[':
		return p.list()
	}
	n := 0
	for n < len(p.rest) && (isBare(p.rest[n]) || p.rest[n] == '+') {
		n++
	}
	word := p.rest[:n]
	p.rest = p.rest[n:]
	if word == "true" || word == "false" {
		return word == "true", nil
	}
	digits := strings.TrimLeft(word, "+-")
	if number, err := strconv.Atoi(word); err == nil && (digits == "0" || digits[0] != '0') {
		return number, nil
	}
	return nil, p.fail("%q is no value: text stands in quotes, as \"auto\"", word)
}

// list is an array of strings. It may go over several lines and end in a comma.
func (p *tomlParser) list() ([]string, error) {
	out := []string{}
	p.take("[")
	for {
		p.skip(true)
		if p.take("]") {
			return out, nil
		}
		s, err := p.text()
		if err != nil {
			return nil, err
		}
		out = append(out, s)
		p.skip(true)
		if !p.take(",") && !strings.HasPrefix(p.rest, "]") {
			return nil, p.fail("between the elements of a list stand commas, and behind the last a ]")
		}
	}
}

func (p *tomlParser) text() (string, error) {
	switch {
	case strings.HasPrefix(p.rest, `"""`), strings.HasPrefix(p.rest, "'''"):
		return "", p.fail("text here has one line")
	case p.take("'"):
		s, rest, ok := strings.Cut(p.rest, "'")
		if !ok || hasControls(s) {
			return "", p.fail("the text has no closing '")
		}
		p.rest = rest
		return s, nil
	case p.take(`"`):
		return p.basicText()
	}
	return "", p.fail("here stands text in quotes, not %.20q", p.rest)
}

// hasControls reports characters that TOML wants written as escapes; a line's end is one of them.
func hasControls(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 && r != '\t' || r == 0x7f })
}

var tomlEscapes = map[byte]string{'b': "\b", 't': "\t", 'n': "\n", 'f': "\f", 'r': "\r", '"': `"`, '\\': `\`}

func (p *tomlParser) basicText() (string, error) {
	var b strings.Builder
	for {
		i := strings.IndexAny(p.rest, `"\`)
		if i < 0 || hasControls(p.rest[:i]) {
			return "", p.fail(`the text has no closing "`)
		}
		b.WriteString(p.rest[:i])
		p.rest = p.rest[i:]
		if p.take(`"`) {
			return b.String(), nil
		}
		p.take(`\`)
		s, err := p.escape()
		if err != nil {
			return "", err
		}
		b.WriteString(s)
	}
}

// escape is what a backslash and what follows it stand for.
func (p *tomlParser) escape() (string, error) {
	if p.rest == "" {
		return "", p.fail(`the text has no closing "`)
	}
	c := p.rest[0]
	p.rest = p.rest[1:]
	if s, ok := tomlEscapes[c]; ok {
		return s, nil
	}
	digits := map[byte]int{'u': 4, 'U': 8}[c]
	if digits == 0 || len(p.rest) < digits {
		return "", p.fail(`\%c means nothing in text; a backslash is written \\`, c)
	}
	code, err := strconv.ParseUint(p.rest[:digits], 16, 32)
	if err != nil || code > utf8.MaxRune || !utf8.ValidRune(rune(code)) {
		return "", p.fail(`\%c%s is no character`, c, p.rest[:digits])
	}
	p.rest = p.rest[digits:]
	return string(rune(code)), nil
}
