package wire

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"encoding/base64"
	"strings"
	"testing"
)

// What is sealed here opens by the standard library's HPKE, under the same info and by the same key only.
func TestSealedOpensAsHPKE(t *testing.T) {
	t.Parallel()
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	open := func(key *ecdh.PrivateKey, info string, sealed []byte) ([]byte, error) {
		private, err := hpke.NewDHKEMPrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return hpke.Open(private, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(info), sealed)
	}
	for _, plain := range []string{"", "x", strings.Repeat("a secret ", 500)} {
		for _, info := range []string{"", "adit test v1 dev_1 id"} {
			text, err := SealFor(SealingKey(key), info, []byte(plain))
			if err != nil {
				t.Fatal(err)
			}
			again, err := SealFor(SealingKey(key), info, []byte(plain))
			if err != nil || again == text {
				t.Errorf("the same text was sealed the same way twice: %v", err)
			}
			sealed, err := base64.RawURLEncoding.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := open(key, info, sealed); err != nil || string(got) != plain {
				t.Errorf("%q: %v", got, err)
			}
			changed := bytes.Clone(sealed)
			changed[len(changed)-1] ^= 1
			for name, open := range map[string]func() ([]byte, error){
				"another info":   func() ([]byte, error) { return open(key, info+"x", sealed) },
				"another key":    func() ([]byte, error) { return open(other, info, sealed) },
				"a changed text": func() ([]byte, error) { return open(key, info, changed) },
			} {
				if got, err := open(); err == nil {
					t.Errorf("it opens by %s: %q", name, got)
				}
			}
		}
	}
}

func TestSealForRefusesWhatIsNoKey(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]string{"nothing": "", "no base64": "!", "too short": "AAAA", "the point of order one": strings.Repeat("A", 43)} {
		if sealed, err := SealFor(key, "info", []byte("secret")); CodeOf(err) != Invalid {
			t.Errorf("%s: %q, %v", name, sealed, err)
		}
	}
}
