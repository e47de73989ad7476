package handlers

import (
	"net/http"
	"strings"
	"testing"
)

// Rule 13: no header takes the bound off a body. One that says it upgrades made the hub keep as much as was sent.
func TestBodyIsBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	long := `{"email":"` + strings.Repeat("a", maxBody) + `","password":"x"}`
	for name, headers := range map[string][]string{
		"plain":     nil,
		"upgrading": {"Connection", "upgrade"},
		"a socket":  {"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13"},
	} {
		if got := r.do("", "POST", v1("login"), long, headers...); got.status != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: %d\n%s", name, got.status, got.body)
		}
	}
}
