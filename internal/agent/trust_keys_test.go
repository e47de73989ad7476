package agent

import (
	"os"
	"path/filepath"
	"testing"
)

// Only lines that we wrote are taken back from a file that belongs to its owner.
func TestOtherKeysStay(t *testing.T) {
	key, err := newThrowAway()
	if err != nil {
		t.Fatal(err)
	}
	tr := truster{config: Config{Device: testDevice}}
	theirs := "ssh-ed25519 AAAA laptop, for adit: ada\n" +
		"cert-authority,principals=\"ops\" ssh-ed25519 AAAA site CA, not adit: ours\n" +
		"# adit: a note\n"
	path := filepath.Join(t.TempDir(), "authorized_keys")
	ours := tr.keyLine(key.PublicKey(), "pi", keyMark+testDevice) + "\n" + tr.keyLine(key.PublicKey(), "pi", throwAway) + "\n"
	if err := os.WriteFile(path, []byte(theirs+ours), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, comment := range []string{throwAway, keyMark} {
		if err := removeKeyLines(path, isKeyLine(comment)); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := os.ReadFile(path); err != nil || string(left) != theirs {
		t.Errorf("%v, left are:\n%s", err, left)
	}
}
