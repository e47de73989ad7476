// Package header has what both ways of webhooks know of HTTP's header fields.
package header

import (
	"slices"
	"strings"

	"github.com/aditdev/adit/internal/wire"
)

// Hops is a field of requests, and a user property of MQTT messages, that counts how often something has left a hub as a webhook: hooks that
// feed each other come to an end.
const Hops = "adit-hops"

// Masked stands in the place of a value that is not shown.
const Masked = "***"

// secretWords are in lower case. "passw" is in password, passwd and passwort.
var secretWords = []string{"auth", "token", "key", "secret", "cookie", "passw", "credential", "session", "jwt"}

// Secret reports whether a field's name says that its value is a secret.
func Secret(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc(secretWords, func(word string) bool { return strings.Contains(name, word) })
}

const maxName = 100

// ValidName reports whether a text is a field name (RFC 9110 §5.1) of at most 100 bytes.
func ValidName(name string) bool {
	return name != "" && len(name) <= maxName && wire.IsWord(name, "!#$%&'*+-.^_`|~")
}

// ValidValue reports whether a text is a field value (RFC 9110 §5.5).
func ValidValue(value string) bool {
	return strings.TrimSpace(value) == value && !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}
