package conformance

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// words are what the tokens of one run stand for.
type words struct {
	version    string // 4 or 5
	unique     string // for ~
	user, pass string
	seen       map[string][]byte // @x
}

// bytesOf are the bytes that tokens stand for, where they are sent.
func (w *words) bytesOf(tokens []string) ([]byte, error) {
	var out, head []byte
	open := false // behind a .
	end := func() {
		if open {
			head = binary.AppendUvarint(head, uint64(len(out))) // MQTT's Variable Byte Integer is the same
		}
		head, out, open = append(head, out...), nil, false
	}
	for _, token := range tokens {
		switch token {
		case ".":
			end()
			open = true
		case ";":
			end()
		default:
			b, err := w.literal(token)
			if err != nil {
				return nil, err
			}
			out = append(out, b...)
		}
	}
	end()
	return head, nil
}

// literal is one token that stands for known bytes.
func (w *words) literal(token string) ([]byte, error) {
	switch {
	case token == "HEAD":
		return []byte("\x00\x04MQTT" + map[string]string{"4": "\x04", "5": "\x05"}[w.version]), nil
	case token == "USER":
		return prefixed(w.user), nil
	case token == "PASS":
		return prefixed(w.pass), nil
	case token[0] == '"':
		text, err := strconv.Unquote(token)
		return prefixed(strings.ReplaceAll(text, "~", w.unique)), err
	case token[0] == '\'':
		text, err := strconv.Unquote(`"` + strings.Trim(token, "'") + `"`)
		return []byte(strings.ReplaceAll(text, "~", w.unique)), err
	case token[0] == '[':
		return w.properties(token)
	case token[0] == '@':
		if w.seen[token] == nil {
			return nil, fmt.Errorf("nothing has come for %s", token)
		}
		return w.seen[token], nil
	case strings.Contains(token, "*"):
		count, what, _ := strings.Cut(token, "*")
		n, err := strconv.Atoi(count)
		b, err2 := hex.DecodeString(what)
		return bytes.Repeat(b, n), errors.Join(err, err2)
	}
	return hex.DecodeString(token)
}

func prefixed(text string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(text))), text...)
}

// properties are those of a bracket token, with their length.
func (w *words) properties(token string) ([]byte, error) {
	if w.version == "4" {
		return nil, nil
	}
	var all []byte
	for _, item := range w.items(token) {
		b, err := w.item(item)
		if err != nil {
			return nil, err
		}
		all = append(all, b...)
	}
	return append(binary.AppendUvarint(nil, uint64(len(all))), all...), nil
}

// items parts a bracket token at its commas.
func (w *words) items(token string) []string {
	inner := strings.TrimSpace(token[1 : len(token)-1])
	var out []string
	var quote rune
	from := 0
	for i, c := range inner {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == ',':
			out = append(out, strings.TrimSpace(inner[from:i]))
			from = i + 1
		}
	}
	return slices.DeleteFunc(append(out, strings.TrimSpace(inner[from:])), func(s string) bool { return s == "" })
}

func (w *words) item(text string) ([]byte, error) {
	tokens, err := tokenize(text)
	if err != nil {
		return nil, err
	}
	return w.bytesOf(tokens)
}

// match holds a packet against what is expected of it.
func (w *words) match(tokens []string, packet []byte) error {
	rest := packet
	for _, token := range tokens {
		var err error
		switch {
		case token == "..":
			return nil
		case token == ".":
			_, n := binary.Uvarint(rest)
			rest = rest[n:]
			continue
		case token[0] == '[':
			rest, err = w.matchProperties(token, rest)
		default:
			rest, err = w.matchBytes(token, rest)
		}
		if err != nil {
			return err
		}
	}
	if len(rest) > 0 {
		return fmt.Errorf("more comes: % x", rest)
	}
	return nil
}

func (w *words) matchBytes(token string, rest []byte) ([]byte, error) {
	if codes, ok := strings.CutPrefix(token, "?"); ok && codes != "?" {
		return w.matchCode(codes, rest)
	}
	if token == "??" && len(rest) > 0 {
		return rest[1:], nil
	}
	if token[0] == '@' && w.seen[token] == nil {
		if len(rest) < 2 || rest[0] == 0 && rest[1] == 0 || w.taken(token, rest[:2]) {
			return nil, fmt.Errorf("%s: no fresh Packet Identifier in % x", token, rest)
		}
		w.seen[token] = bytes.Clone(rest[:2])
		return rest[2:], nil
	}
	choices := []string{token}
	if token[0] != '"' && token[0] != '\'' {
		if first, last, ok := strings.Cut(token, ".."); ok {
			return matchRange(first, last, rest)
		}
		choices = strings.Split(token, "|")
	}
	for _, choice := range choices {
		want, err := w.literal(choice)
		if err != nil {
			return nil, err
		}
		if bytes.HasPrefix(rest, want) {
			return rest[len(want):], nil
		}
	}
	return nil, fmt.Errorf("want %s, got % x (%q)", token, rest, rest)
}

// matchRange takes a number that is first, last, or between them.
func matchRange(first, last string, rest []byte) ([]byte, error) {
	from, err := hex.DecodeString(first)
	to, err2 := hex.DecodeString(last)
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	if len(from) != len(to) || len(rest) < len(from) || bytes.Compare(rest[:len(from)], from) < 0 || bytes.Compare(rest[:len(to)], to) > 0 {
		return nil, fmt.Errorf("want %s to %s, got % x", first, last, rest)
	}
	return rest[len(from):], nil
}

// taken reports whether another that is called the same but for its digit has these bytes.
func (w *words) taken(token string, id []byte) bool {
	for other, has := range w.seen {
		if strings.TrimRight(other, "0123456789") == strings.TrimRight(token, "0123456789") && bytes.Equal(has, id) {
			return true
		}
	}
	return false
}

// matchCode takes a Reason Code at a packet's end, with or without properties, or its absence, which means 00.
func (w *words) matchCode(codes string, rest []byte) ([]byte, error) {
	if len(rest) == 0 && strings.Contains(codes, "00") {
		return nil, nil
	}
	rest, err := w.matchBytes(codes, rest)
	if err != nil || len(rest) == 0 {
		return nil, err
	}
	return w.matchProperties("[*]", rest)
}

func (w *words) matchProperties(token string, rest []byte) ([]byte, error) {
	if w.version == "4" {
		return rest, nil
	}
	size, n := binary.Uvarint(rest)
	if n <= 0 || len(rest) < n+int(size) {
		return nil, fmt.Errorf("no properties in % x", rest)
	}
	got, err := split(rest[n : n+int(size)])
	if err == nil {
		err = w.holds(token, got)
	}
	return rest[n+int(size):], err
}

// holds reports whether the properties that came are those of a bracket token.
func (w *words) holds(token string, got [][]byte) error {
	others := false
	for _, item := range w.items(token) {
		if item == "*" {
			others = true
			continue
		}
		if id, forbidden := strings.CutPrefix(item, "-"); forbidden {
			b, err := hex.DecodeString(id)
			if err != nil || slices.ContainsFunc(got, func(p []byte) bool { return p[0] == b[0] }) {
				return errors.Join(err, fmt.Errorf("property %s came: % x", id, got))
			}
			continue
		}
		at, err := w.find(item, got)
		if err != nil {
			return err
		}
		got = slices.Delete(slices.Clone(got), at, at+1)
	}
	if len(got) > 0 && !others {
		return fmt.Errorf("properties came that are not expected: % x", got)
	}
	return nil
}

// find is where the property that is expected came. User Properties keep their order: only the first that is left counts.
func (w *words) find(item string, got [][]byte) (int, error) {
	tokens, err := tokenize(item)
	if err != nil {
		return 0, err
	}
	for i, p := range got {
		if w.match(tokens, p) == nil {
			return i, nil
		}
		if p[0] == 0x26 && strings.HasPrefix(item, "26") {
			break
		}
	}
	return 0, fmt.Errorf("want property %s, got % x", item, got)
}

// split parts properties (MQTT 5.0 §2.2.2.2).
func split(all []byte) ([][]byte, error) {
	var out [][]byte
	for len(all) > 0 {
		n := 1
		switch all[0] {
		case 0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2a:
			n += 1
		case 0x13, 0x21, 0x22, 0x23:
			n += 2
		case 0x02, 0x11, 0x18, 0x27:
			n += 4
		case 0x0b:
			_, size := binary.Uvarint(all[1:])
			n += size
		case 0x26:
			n += textSize(all, 1)
			n += textSize(all, n)
		case 0x03, 0x08, 0x09, 0x12, 0x15, 0x16, 0x1a, 0x1c, 0x1f:
			n += textSize(all, 1)
		default:
			return nil, fmt.Errorf("no property is called %02x", all[0])
		}
		if n > len(all) {
			return nil, fmt.Errorf("a property is cut short: % x", all)
		}
		out = append(out, all[:n])
		all = all[n:]
	}
	return out, nil
}

func textSize(b []byte, at int) int {
	if at+2 > len(b) {
		return len(b)
	}
	return 2 + int(binary.BigEndian.Uint16(b[at:]))
}
