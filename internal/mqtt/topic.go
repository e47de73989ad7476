package mqtt

import (
	"strings"
	"unicode/utf8"
)

const sharePrefix = "$share/"

// maxText is what an encoded string or binary value may hold, in bytes (5.0 §1.5.4).
const maxText = 65535

// ValidText reports a UTF-8 string as MQTT wants it (5.0 §1.5.4): well-formed, so without surrogates, without U+0000, at
// most 65,535 bytes.
func ValidText(s string) bool {
	return len(s) <= maxText && utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}

// ValidName reports a TopicName that may be published to (5.0 §4.7): at least one character, no wildcard.
func ValidName(name string) bool {
	return name != "" && ValidText(name) && !strings.ContainsAny(name, "+#")
}

// ValidFilter reports a TopicFilter (5.0 §4.7.1): + and # stand for whole levels, # only for the last. $share/NAME/FILTER is
// one too where both parts are good (§4.8.2).
func ValidFilter(filter string) bool {
	if strings.HasPrefix(filter, sharePrefix) {
		name, rest, ok := CutShare(filter)
		return ok && name != "" && !strings.ContainsAny(name, "+#") && rest != "" && validLevels(rest)
	}
	return filter != "" && validLevels(filter)
}

func validLevels(filter string) bool {
	if !ValidText(filter) {
		return false
	}
	for level, more := "", true; more; {
		level, filter, more = strings.Cut(filter, "/")
		if len(level) > 1 && strings.ContainsAny(level, "+#") || level == "#" && more {
			return false
		}
	}
	return true
}

// CutShare parts $share/NAME/FILTER. Where filter is no such thing, ok is false and rest is filter itself.
func CutShare(filter string) (name, rest string, ok bool) {
	s, found := strings.CutPrefix(filter, sharePrefix)
	if !found {
		return "", filter, false
	}
	name, rest, ok = strings.Cut(s, "/")
	if !ok {
		return "", filter, false
	}
	return name, rest, true
}

// Match reports whether a valid TopicFilter matches a valid TopicName. A wildcard first does not match names that begin with
// $ (5.0 §4.7.2). Of a shared one, give what CutShare leaves.
func Match(filter, name string) bool { return Contains(filter, name) }

// Contains reports whether every TopicName that inner matches is matched by outer; both are valid TopicFilters. It counts the
// empty name too, which nobody can publish to: /# reaches further than +/+/#.
func Contains(outer, inner string) bool {
	if hidden(outer, inner) {
		return false
	}
	if outer == "+/#" {
		outer = "#" // the same names: each has a first level
	}
	for moreOuter, moreInner := true, true; ; {
		var a, b string
		a, outer, moreOuter = strings.Cut(outer, "/")
		if a == "#" {
			return true
		}
		b, inner, moreInner = strings.Cut(inner, "/")
		if b == "#" || a != "+" && a != b {
			return false
		}
		if !moreInner {
			return !moreOuter || outer == "#" // a/# matches a itself
		}
		if !moreOuter {
			return false
		}
	}
}

// Overlap reports whether some TopicName is matched by both valid TopicFilters.
func Overlap(a, b string) bool {
	if hidden(a, b) || hidden(b, a) {
		return false
	}
	for moreA, moreB := true, true; ; {
		var x, y string
		x, a, moreA = strings.Cut(a, "/")
		y, b, moreB = strings.Cut(b, "/")
		if x == "#" || y == "#" {
			return true
		}
		if x != y && x != "+" && y != "+" {
			return false
		}
		if !moreA || !moreB {
			return moreA == moreB || a == "#" && !moreB || b == "#" && !moreA
		}
	}
}

// hidden reports that b names topics of the $ kind, and a begins with a wildcard, which does not match them.
func hidden(a, b string) bool {
	return strings.HasPrefix(b, "$") && (strings.HasPrefix(a, "+") || strings.HasPrefix(a, "#"))
}
