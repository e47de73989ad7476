package runner

import (
	"regexp"
	"strings"
	"testing"
)

// patterns of all the syntax, each with values to try.
var patterns = []string{
	"", "a", "abc", "[a-z0-9-]{1,32}", "[0-9]{1,3}", "on|off", "(on|off)+", "a|", "|a", "(?:ab)*c?", "a{0}", "a{2}", "a{2,}", "a{0,2}b",
	"[^/]+", "[]a]", "[^]a]", "[a-]", "[-a]", `[\]\-]`, `[\d_]+`, `\d+`, `\D`, `\w+`, `\W`, `\s`, `\S+`, ".", ".*", `\.`, `\\`, `\-`, `\n`, `[\n\t]`, "é", "[à-ü]+",
	"(a?)*", "(a*)*", "((a|b)*c)*", "((a?){0,3}b)*", "(a|ab)(c|bcd)(d*)", "[a-z]+(-[a-z]+)*", `(?:[a-z0-9]+\.)*[a-z]+`, "-?[0-9]+", "()", "(|a){3}", "x{3,5}y",
	"#|~|@", `\$|\^|\{|\}`, "}", "]", "a-b", ",", "(((((a)))))",
}

var values = []string{
	"", "a", "b", "c", "abc", "ab", "abcd", "aab", "aaa", "on", "off", "onoff", "-", "-5", "42", "1234", "door-1", "a/b", "/", "]", ".", "\\", "\n", "a\n", "\t", " ", "é", "ü",
	"x", "xxxy", "xxxxxxy", "_", "$", "^", "{", "}", "#", "~", "abacabac", "a.b.c", "a-b-c", "aac", "--", "\xff", "\u2028", ",", strings.Repeat("a", 33),
}

// What our matcher takes and says is what package regexp takes and says, anchored at both ends.
func TestPatternIsRE2s(t *testing.T) {
	t.Parallel()
	matched := 0
	for _, text := range patterns {
		p, err := ParsePattern(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		want := regexp.MustCompile(`\A(?:` + text + `)\z`)
		for _, value := range values {
			got := p.Match(value)
			if got != want.MatchString(value) {
				t.Errorf("%q matches %q: %v", text, value, got)
			}
			if got {
				matched++
			}
		}
	}
	if matched < 100 {
		t.Errorf("only %d matches: the values are badly chosen", matched)
	}
}

func TestPatternIsRefused(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"^a":                       "at character 1: the whole value must match already: leave ^ out",
		"a$":                       `at character 2: the whole value must match already: leave $ out, or write \$`,
		"(a":                       "at character 3: a group has no )",
		"a)|(b":                    "at character 2: a ) closes no group",
		"[a":                       "a class has no ]",
		"[]":                       "a class has no ]",
		"[z-a]":                    "a range goes from a character to a later one",
		`[a-\d]`:                   "a range goes from",
		"[a-c-e]":                  "stands first or last in a class",
		"[[:alpha:]]":              "names of classes are not known",
		`[\D]`:                     `in a class stand \d, \w and \s only`,
		"é*?":                      "at character 3: ? stands behind a repetition already",
		"*a":                       "* repeats nothing",
		"a{2":                      "a count is {n}",
		"a{3,2}":                   "a count is {n}",
		"a{1,1001}":                "at most 1000",
		"a{,3}":                    "a count is {n}",
		"(?i)a":                    "flags and names are not known",
		`\b`:                       `\b is not known here`,
		`\pL`:                      `\p is not known here`,
		`\Aa`:                      `\A is not known here`,
		`a\`:                       "a backslash at the end",
		"((a{100}){100}){100}":     "too large",
		"((((){1000}){1000}){99})": "too large",
		strings.Repeat("a", 257):   "at most 256 bytes",
		"\xff":                     "UTF-8",
		strings.Repeat("(", 20) + strings.Repeat(")", 20): "nested too deep",
	} {
		if _, err := ParsePattern(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
}

// A pattern that takes exponential time with a matcher that goes back takes no longer here.
func TestPatternIsLinear(t *testing.T) {
	t.Parallel()
	p, err := ParsePattern("((a|a|aa)*)*([a-a]*)*b")
	if err != nil {
		t.Fatal(err)
	}
	if p.Match(strings.Repeat("a", 1024)) || !p.Match(strings.Repeat("a", 1023)+"b") {
		t.Error("wrong")
	}
}

// A value may begin with "-" only where the pattern begins with that very character.
func TestPatternAsksForDash(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"-[a-z]": true, "-?[0-9]+": true, "(-a|-b)": true, "-v|[a-z]+": true, "(?:-n){0,1}x": true, `\-x`: true,
		"[a-z0-9-]+": false, ".*": false, "[^/]+": false, "[-]a": true, "-v|.*": false, "-v|[a-z-]+": false, "": false, "a-b": false, "[+-]5": false, `\W5`: false, "(|.)-": false,
	} {
		p, err := ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		if p.dash != want {
			t.Errorf("%q: %v", text, p.dash)
		}
	}
}

func FuzzPattern(f *testing.F) {
	for i, text := range patterns {
		f.Add(text, values[i%len(values)])
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		p, err := ParsePattern(text)
		if err != nil || len(value) > 200 {
			return
		}
		want, err := regexp.Compile(`\A(?:` + text + `)\z`)
		if err != nil {
			if strings.Contains(err.Error(), "repeat count") || strings.Contains(err.Error(), "large") {
				return // RE2 counts otherwise what is too large
			}
			t.Fatalf("taken here, but not by regexp: %q: %v", text, err)
		}
		if got := p.Match(value); got != want.MatchString(value) {
			t.Errorf("%q matches %q: %v", text, value, got)
		}
	})
}
