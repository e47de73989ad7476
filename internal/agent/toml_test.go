package agent

import (
	"reflect"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
)

const exampleTOML = "# comment\r\nhub = \"https://h\" # why\nempty = \"\"\n" +
	`odd = "tab\t quote\" back\\ \u00e9 \U0001F600"` + "\nliteral = 'C:\\dir'\n" +
	"list = [ \"a\", # first\n  'b',\n]\nnone = []\nn = -5\nplus = +7\n\n[policy]\n  root = true\n\tdeep.er = false\n[a.b]\nc-d_e = 0\n[[m.user]] # first\nname = \"a\"\n[[m.user]]\nname = \"b\"\n[m]\nx = 1"

func TestParseTOML(t *testing.T) {
	t.Parallel()
	got, err := parseTOML(exampleTOML)
	if err != nil {
		t.Fatal(err)
	}
	want := []setting{
		{"hub", "https://h", 2}, {"empty", "", 3}, {"odd", "tab\t quote\" back\\ é 😀", 4}, {"literal", `C:\dir`, 5},
		{"list", []string{"a", "b"}, 6}, {"none", []string{}, 9}, {"n", -5, 10}, {"plus", 7, 11},
		{"policy.root", true, 14}, {"policy.deep.er", false, 15}, {"a.b.c-d_e", 0, 17},
		{"m.user", element(0), 18}, {"m.user.name", "a", 19}, {"m.user", element(1), 20}, {"m.user.name", "b", 21}, {"m.x", 1, 23},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(setting{})); diff != "" {
		t.Error(diff)
	}
}

func TestParseTOMLSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"a = 1\nb":           "line 2: b needs a = and a value",
		"a =":                "line 1: the value is missing",
		"a = auto":           `line 1: "auto" is no value: text stands in quotes`,
		"a = \"x":            `line 1: the text has no closing "`,
		"a = \"x\ny\"":       `line 1: the text has no closing "`,
		"a = 'x":             "line 1: the text has no closing '",
		`a = "\x"`:           `line 1: \x means nothing`,
		`a = "\uD800"`:       `line 1: \uD800 is no character`,
		"a = \"\"\"x\"\"\"":  "line 1: text here has one line",
		"a = [1]":            "line 1: here stands text in quotes",
		"a = [\n\"x\" \"y\"": "line 2: between the elements",
		"a = 1 b = 2":        "line 1: this line goes on",
		"[a\nb = 1":          "line 1: a table's name ends in ]",
		"[a]\n[a]":           "line 2: the table [a] comes twice",
		"a = 1\n\na = 2":     "line 3: a is set twice",
		"[[a]]\nb=1\nb=2":    "line 3: a.b is set twice",
		"[[a]\n":             "line 1: a table's name ends in ]]",
		"[[a]]\n[a]":         "line 2: a is both a table and an array",
		"[a]\n[[a]]":         "line 2: a is both a table and an array",
		"[[a]]\n[a.b]":       "line 2: [a.b] stands below an array",
		"a = 012":            `line 1: "012" is no value`,
		"= 1":                "line 1: here stands a key",
		"a = \"\xff\"":       "line 1: the file is not UTF-8",
	} {
		if _, err := parseTOML(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
}

// Whatever this parser takes, a whole TOML library takes too, and reads the same.
func FuzzParseTOML(f *testing.F) {
	f.Add(exampleTOML)
	f.Add("a = [\"x\"]\n[b]\nc = '\t'\n")
	f.Add("[a]\nb.c = 1\n[a.b]\nd = 2")
	f.Fuzz(func(t *testing.T, text string) {
		settings, err := parseTOML(text)
		if err != nil {
			return
		}
		var tree map[string]any
		if _, err := toml.Decode(text, &tree); err != nil {
			// A key may not be both a value and a table; here nobody looks for either.
			if s := err.Error(); strings.Contains(s, "already been defined") || strings.Contains(s, "already defined") || strings.Contains(s, "duplicated") || strings.Contains(s, "already created as a hash") {
				return
			}
			t.Fatalf("%q: taken, but %v", text, err)
		}
		at := map[string]int{}
		for _, s := range settings {
			if e, ok := s.value.(element); ok {
				at[s.key] = int(e)
				continue
			}
			if got := lookUp(tree, s.key, at); !reflect.DeepEqual(got, s.value) {
				t.Errorf("%q: %s is %#v here, %#v there", text, s.key, s.value, got)
			}
		}
	})
}

// lookUp is the value of a dotted key in a decoded file, in this package's types; at says in which element of an array.
func lookUp(tree any, key string, at map[string]int) any {
	path := ""
	for part := range strings.SplitSeq(key, ".") {
		path = strings.TrimPrefix(path+"."+part, ".")
		table, ok := tree.(map[string]any)
		if !ok {
			return nil
		}
		tree = table[part]
		if array, ok := tree.([]map[string]any); ok {
			tree = array[at[path]]
		}
	}
	switch v := tree.(type) {
	case int64:
		return int(v)
	case []any:
		out := []string{}
		for _, e := range v {
			s, _ := e.(string)
			out = append(out, s)
		}
		return out
	}
	return tree
}
