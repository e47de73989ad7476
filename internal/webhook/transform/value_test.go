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
		nested("[", "]", MaxLevels): true, nested("[", "]", MaxLevels+1): false,
		nested(`{"a":[`, "]}", MaxLevels/2)[:6*MaxLevels/2] + "1" + strings.Repeat("]}", MaxLevels/2):         true,
		nested(`{"a":[`, "]}", MaxLevels/2+1)[:6*(MaxLevels/2+1)] + "1" + strings.Repeat("]}", MaxLevels/2+1): false,
		"[" + strings.Repeat("[],", MaxLevels) + "{}]":                                                        true, // wide, not deep
		`"` + strings.Repeat(`\"[{`, MaxLevels) + `"`:                                                         true,
		`["` + strings.Repeat("]", 10) + `",` + nested("[", "]", MaxLevels) + "]":                             false,
	} {
		if IsJSON([]byte(text)) != want {
			t.Errorf("%.60q: not %v", text, want)
		}
	}
}
