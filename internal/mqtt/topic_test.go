package mqtt

import (
	"strings"
	"testing"
)

func TestValidNamesAndFilters(t *testing.T) {
	long := strings.Repeat("a", 65535)
	for s, want := range map[string]struct{ name, filter bool }{
		"a": {true, true}, "/": {true, true}, "a//b": {true, true}, "$SYS/x": {true, true}, "a b": {true, true}, long: {true, true},
		"": {}, "a\x00": {}, "\xff": {}, "\xed\xa0\x80": {}, long + "a": {},
		"#": {false, true}, "+": {false, true}, "a/#": {false, true}, "+/+/#": {false, true}, "/#": {false, true}, "a/+/b": {false, true},
		"a#": {}, "a/#/b": {}, "#/a": {}, "a+": {}, "a/+b": {}, "++": {}, "##": {},
		"$share/g/a": {true, true}, "$share/g/#": {false, true}, "$share/g/": {true, false}, "$share/g": {true, false},
		"$share//a": {true, false}, "$share/g+/a": {}, "$share/#/a": {}, "$share/g/a#": {},
	} {
		if got := ValidName(s); got != want.name {
			t.Errorf("ValidName(%.30q) = %v", s, got)
		}
		if got := ValidFilter(s); got != want.filter {
			t.Errorf("ValidFilter(%.30q) = %v", s, got)
		}
	}
}

func TestMatch(t *testing.T) {
	for filter, names := range map[string][2]string{ // matched, not matched; between spaces
		"sport/tennis/player1/#": {"sport/tennis/player1 sport/tennis/player1/ranking sport/tennis/player1/score/wimbledon", "sport/tennis/player11"},
		"sport/#":                {"sport sport/ sport//", "sports"},
		"#":                      {"a / a/b /a", "$SYS $SYS/a"},
		"sport/tennis/+":         {"sport/tennis/player1 sport/tennis/", "sport/tennis/player1/ranking sport/tennis"},
		"sport/+":                {"sport/", "sport"},
		"+/+":                    {"/finance a/b", "a a/b/c $SYS/a"},
		"/+":                     {"/finance", "finance"},
		"+":                      {"finance", "/finance"},
		"+/#":                    {"a a/b /", "$SYS/a"},
		"+/monitor/Clients":      {"x/monitor/Clients", "$SYS/monitor/Clients"},
		"$SYS/#":                 {"$SYS $SYS/a", "SYS/a"},
		"a/+/c":                  {"a/b/c a//c", "a/b/d a/c"},
		"a//b":                   {"a//b", "a/b a/x/b"},
		"Accounts":               {"Accounts", "accounts Accounts/"},
	} {
		for i, want := range []bool{true, false} {
			for _, name := range strings.Fields(names[i]) {
				if got := Match(filter, name); got != want {
					t.Errorf("Match(%q, %q) = %v", filter, name, got)
				}
			}
		}
	}
}

// filters and names over a small alphabet: Contains and Overlap must say what trying every name says.
func TestContainsAndOverlapAreWhatMatchMakesThem(t *testing.T) {
	levels := []string{"", "a", "$b", "+", "#"}
	all := levels[1:]
	for range 2 {
		var longer []string
		for _, s := range append([]string{""}, all...) {
			for _, l := range levels {
				longer = append(longer, s+"/"+l)
			}
		}
		all = append(all, longer...)
	}
	var filters, names []string
	for _, s := range all {
		if ValidName(s) {
			names = append(names, s, s+"/z", "z/"+s, s+"/z/z/z")
		}
		if ValidFilter(s) && strings.Count(s, "/") < 3 {
			filters = append(filters, s)
		}
	}
	names = append(names, "", "z", "z/z/z", "z/z/z/z")
	for _, f := range filters {
		for _, g := range filters {
			contains, overlap := true, false
			for _, n := range names {
				contains = contains && (!Match(g, n) || Match(f, n))
				overlap = overlap || Match(f, n) && Match(g, n)
			}
			if got := Contains(f, g); got != contains {
				t.Errorf("Contains(%q, %q) = %v", f, g, got)
			}
			if got := Overlap(f, g); got != overlap {
				t.Errorf("Overlap(%q, %q) = %v", f, g, got)
			}
		}
	}
	t.Logf("%d filters, %d names", len(filters), len(names))
}

func TestCutShare(t *testing.T) {
	for filter, want := range map[string]struct {
		name, rest string
		ok         bool
	}{"$share/g/a/#": {"g", "a/#", true}, "a/b": {"", "a/b", false}, "$share/g": {"", "$share/g", false}, "$share/g/": {"g", "", true}} {
		if name, rest, ok := CutShare(filter); name != want.name || rest != want.rest || ok != want.ok {
			t.Errorf("CutShare(%q) = %q, %q, %v", filter, name, rest, ok)
		}
	}
}

func TestReasonNames(t *testing.T) {
	for c, want := range map[ReasonCode]string{0x80: "Unspecified error", 0x87: "Not authorized", 0x95: "Packet too large",
		0xA2: "Wildcard Subscriptions not supported", 0xA3: "reason code 0xa3", 0: "reason code 0x00"} {
		if got := c.String(); got != want {
			t.Errorf("0x%02x is %q, want %q", byte(c), got, want)
		}
	}
}
