package sshsig_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/sshsig"
)

const namespace = "adit-test"

// keys makes one private key of each kind.
func keys(t *testing.T) map[string]any {
	t.Helper()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]any{"ed25519": ed, "ecdsa": ec, "rsa": rs}
}

// Both ways against OpenSSH's own program.
func TestAgainstOpenSSH(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Fatal("ssh-keygen is missing: install openssh-client")
	}
	for name, private := range keys(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			signer, err := ssh.NewSignerFromKey(private)
			must(t, err)
			block, err := ssh.MarshalPrivateKey(private, "")
			must(t, err)
			keyFile := filepath.Join(dir, "key")
			must(t, os.WriteFile(keyFile, pem.EncodeToMemory(block), 0o600))
			message := "the text\nof two lines"

			theirs := keygen(t, message, "-Y", "sign", "-n", namespace, "-f", keyFile)
			raw, err := sshsig.Unarmor(theirs)
			must(t, err)
			must(t, sshsig.Verify(signer.PublicKey(), namespace, []byte(message), raw))

			ours, err := sshsig.Sign(signer, namespace, []byte(message))
			must(t, err)
			allowed, signature := filepath.Join(dir, "allowed"), filepath.Join(dir, "sig")
			must(t, os.WriteFile(allowed, append([]byte("ada "), ssh.MarshalAuthorizedKey(signer.PublicKey())...), 0o600))
			must(t, os.WriteFile(signature, []byte(sshsig.Armor(ours)), 0o600))
			keygen(t, message, "-Y", "verify", "-n", namespace, "-f", allowed, "-I", "ada", "-s", signature)
		})
	}
}

func keygen(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command("ssh-keygen", args...)
	cmd.Stdin = strings.NewReader(stdin)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("ssh-keygen %v: %v\n%s", args, err, &errs)
	}
	return string(out)
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	signerOf := func() ssh.Signer {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		must(t, err)
		signer, err := ssh.NewSignerFromKey(private)
		must(t, err)
		return signer
	}
	signer, other := signerOf(), signerOf()
	good, err := sshsig.Sign(signer, namespace, []byte("text"))
	must(t, err)
	bent := append([]byte(nil), good...)
	bent[len(bent)-1] ^= 1
	for name, c := range map[string]struct {
		key             ssh.PublicKey
		namespace, text string
		signature       []byte
	}{
		"another key":       {other.PublicKey(), namespace, "text", good},
		"another text":      {signer.PublicKey(), namespace, "texts", good},
		"another namespace": {signer.PublicKey(), "file", "text", good},
		"a bent signature":  {signer.PublicKey(), namespace, "text", bent},
		"half of it":        {signer.PublicKey(), namespace, "text", good[:len(good)/2]},
		"nothing":           {signer.PublicKey(), namespace, "text", nil},
	} {
		if sshsig.Verify(c.key, c.namespace, []byte(c.text), c.signature) == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if err := sshsig.Verify(signer.PublicKey(), namespace, []byte("text"), good); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

func FuzzVerify(f *testing.F) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		f.Fatal(err)
	}
	good, err := sshsig.Sign(signer, namespace, []byte("text"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sshsig.Armor(good))
	f.Fuzz(func(t *testing.T, text string) {
		raw, err := sshsig.Unarmor(text)
		if err != nil {
			return
		}
		if sshsig.Verify(signer.PublicKey(), namespace, []byte("other text"), raw) == nil {
			t.Error("a signature over another text is taken")
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
