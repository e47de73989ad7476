package wire

import (
	"strings"
	"unicode"
)

// ValidDeviceName reports whether name may stand in a URL, an ssh command line and a config file as a device's name:
// [a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?
func ValidDeviceName(name string) bool {
	return len(name) >= 1 && len(name) <= 63 && IsWord(name, "-") && strings.ToLower(name) == name &&
		name[0] != '-' && name[len(name)-1] != '-'
}

// ValidLogin reports whether login may stand on an ssh command line as a Unix account:
// [A-Za-z0-9_][A-Za-z0-9_.-]{0,31}
func ValidLogin(login string) bool {
	return len(login) >= 1 && len(login) <= 32 && IsWord(login, "_.-") && login[0] != '.' && login[0] != '-'
}

// IsWord reports whether s has nothing but ASCII letters, digits and the characters of extra. Package regexp would do
// the same, and make `adit` larger by 0.3 MB.
func IsWord(s, extra string) bool {
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(extra, r) {
			return false
		}
	}
	return true
}

// DeviceNameFrom makes a device name of what a machine calls itself, or "device" where nothing usable is left.
func DeviceNameFrom(hostname string) string {
	host, _, _ := strings.Cut(strings.ToLower(hostname), ".")
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r == '-', r == '_', r == ' ':
			return '-'
		}
		return -1
	}, host)
	name = strings.Trim(name[:min(len(name), 63)], "-")
	if name == "" {
		return "device"
	}
	return name
}

// Printable is s without control, format and bidirectional characters, cut to at most max runes: what a stranger said,
// made fit to stand in a line of text.
func Printable(s string, max int) string {
	var b strings.Builder
	for _, r := range s {
		if max == 0 {
			break
		}
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			continue
		}
		b.WriteRune(r)
		max--
	}
	return b.String()
}
