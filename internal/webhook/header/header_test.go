package header

import (
	"strings"
	"testing"
)

func TestSecret(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"Authorization": true, "X-Auth": true, "X-Gitlab-Token": true, "X-API-KEY": true, "Client-Secret": true, "Cookie": true, "X-Password": true, "x-passwd": true,
		"X-Amz-Credential": true, "X-Session-Id": true, "X-Jwt": true, "Content-Type": false, "X-Tenant": false, "Stripe-Signature": false, Hops: false,
	} {
		if got := Secret(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestValid(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{"X-Api_Key.2": true, "!#$%&'*+-.^_`|~": true, strings.Repeat("a", 100): true,
		"": false, "a b": false, "a:": false, "a\n": false, "ä": false, strings.Repeat("a", 101): false} {
		if got := ValidName(name); got != want {
			t.Errorf("name %q: %v", name, got)
		}
	}
	for value, want := range map[string]bool{"": true, "a b\tc": true, "ä": true, " a": false, "a ": false, "a\r\nb: c": false, "a\x00": false, "a\x7f": false} {
		if got := ValidValue(value); got != want {
			t.Errorf("value %q: %v", value, got)
		}
	}
}
