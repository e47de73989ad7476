package seal

import (
	"errors"
	"strings"
	"testing"
)

func TestSealOpens(t *testing.T) {
	t.Parallel()
	s, err := New(NewSecret())
	if err != nil {
		t.Fatal(err)
	}
	sealed := s.Seal("name", []byte("secret"))
	if sealed == s.Seal("name", []byte("secret")) {
		t.Error("the same text was sealed the same way twice")
	}
	if plain, err := s.Open("name", sealed); err != nil || string(plain) != "secret" {
		t.Fatalf("%q, %v", plain, err)
	}
	flipped := []byte(sealed)
	flipped[len(flipped)-3] ^= 1
	for what, try := range map[string]func() ([]byte, error){
		"another name":   func() ([]byte, error) { return s.Open("other", sealed) },
		"a changed text": func() ([]byte, error) { return s.Open("name", string(flipped)) },
		"a cut text":     func() ([]byte, error) { return s.Open("name", sealed[:10]) },
		"nothing":        func() ([]byte, error) { return s.Open("name", "") },
		"no version":     func() ([]byte, error) { return s.Open("name", sealed[3:]) },
	} {
		if plain, err := try(); !errors.Is(err, ErrOpen) {
			t.Errorf("%s: %q, %v", what, plain, err)
		}
	}
}

// A code is the same each time, and another one for another text, name or ADIT_SECRET.
func TestMAC(t *testing.T) {
	t.Parallel()
	secret := NewSecret()
	codes := map[string]bool{}
	for _, one := range []string{secret, secret, NewSecret()} {
		s, err := New(one)
		if err != nil {
			t.Fatal(err)
		}
		for _, of := range [][2]string{{"a", "b c"}, {"a b", "c"}, {"a", "b"}} {
			code := s.MAC(of[0], of[1])
			if len(code) != 32 {
				t.Fatalf("%d bytes", len(code))
			}
			codes[string(code)] = true
		}
	}
	if len(codes) != 6 {
		t.Errorf("%d codes, want 6", len(codes))
	}
}

func TestShortSecretIsRefused(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"", "short", strings.Repeat("x", MinSecret-1)} {
		if _, err := New(secret); err == nil {
			t.Errorf("%d bytes were taken", len(secret))
		}
	}
}
