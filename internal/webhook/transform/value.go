package transform

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// maxLevels is how deeply JSON from outside may be nested to go on as JSON; many receivers stop at 512.
const maxLevels = 500

// IsJSON reports whether a text can stand as a value within other JSON, for whoever reads that: it is JSON in UTF-8 (RFC 8259 §8.1), which encoding/json
// does not ask for within strings, and not nested deeper than maxLevels.
func IsJSON(text []byte) bool {
	return json.Valid(text) && utf8.Valid(text) && !tooDeep(text)
}

// tooDeep looks at text that is JSON.
func tooDeep(text []byte) bool {
	if bytes.Count(text, []byte("["))+bytes.Count(text, []byte("{")) <= maxLevels {
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
			if levels++; levels > maxLevels {
				return true
			}
		case c == ']' || c == '}':
			levels--
		}
	}
	return false
}
