package transform

import (
	"strings"
	"testing"
)

// JSON that goes into another value is UTF-8, and not so deep that its receivers refuse it.
func TestIsJSON(t *testing.T) {
	t.Parallel()
	nested := func(open, close string, n int) string { return strings.Repeat(open, n) + strings.Repeat(close, n) }
	for text, want := range map[string]bool{
		`{"a":[1,"x"]}`: true, "1": true, `"ü"`: true, "": false, `{"a":`: false, "on": false, "{} {}": false,
		"\"\xff\"": false, "{\"\xc3\":1}": false,
		nested("[", "]", maxLevels): true, nested("[", "]", maxLevels+1): false,
		nested(`{"a":[`, "]}", maxLevels/2)[:6*maxLevels/2] + "1" + strings.Repeat("]}", maxLevels/2):         true,
		nested(`{"a":[`, "]}", maxLevels/2+1)[:6*(maxLevels/2+1)] + "1" + strings.Repeat("]}", maxLevels/2+1): false,
		"[" + strings.Repeat("[],", maxLevels) + "{}]":                                                        true, // wide, not deep
		`"` + strings.Repeat(`\"[{`, maxLevels) + `"`:                                                         true,
		`["` + strings.Repeat("]", 10) + `",` + nested("[", "]", maxLevels) + "]":                             false,
	} {
		if IsJSON([]byte(text)) != want {
			t.Errorf("%.60q: not %v", text, want)
		}
	}
}
