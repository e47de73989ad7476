package transform

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// MaxLevels is how deep JSON from outside is nested that is carried as JSON: within another value most receivers still read it, whose
// own bounds begin at 512.
const MaxLevels = 500

// IsJSON reports whether a text can stand as a value within other JSON, for whoever reads that: it is JSON in UTF-8 (RFC 8259 §8.1), which encoding/json
// does not ask for within strings, and not nested deeper than MaxLevels.
func IsJSON(text []byte) bool {
	return json.Valid(text) && utf8.Valid(text) && !tooDeep(text)
}

// tooDeep looks at text that is JSON.
func tooDeep(text []byte) bool {
	if bytes.Count(text, []byte("["))+bytes.Count(text, []byte("{")) <= MaxLevels {
		return false
	}
	levels, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			if levels++; levels > MaxLevels {
				return true
			}
		case c == ']' || c == '}':
			levels--
		}
	}
	return false
}
