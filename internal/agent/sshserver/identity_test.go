package sshserver

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// Rule 1: rights come from the certificate whose key was proven, not from one that was only shown (CVE-2024-45337). ssh
// shows a certificate first and signs when the server would take it; without the private key it goes on to the next.
func TestRightsAreOfTheKeyThatWasProven(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	port := echoServer(t)
	r.newKey("shown", nil) // may forward
	r.newKey("own", func(c *ssh.Certificate) { delete(c.Extensions, "permit-port-forwarding") })
	private, public := filepath.Join(r.dir, "shown"), filepath.Join(r.dir, "shown-cert.pub")
	own := "IdentityFile=" + filepath.Join(r.dir, "own")
	if stdout, _, err := r.run("ssh", "shown", "through", "-W", "127.0.0.1:"+port, "HOST"); err != nil || stdout != "through" {
		t.Fatalf("the certificate to show is no good: %q %v", stdout, err)
	}
	if err := os.Remove(private); err != nil {
		t.Fatal(err)
	}
	_, stderr, err := r.run("ssh", "shown", "", "-v", "-o", own, "-W", "127.0.0.1:"+port, "HOST")
	if !strings.Contains(stderr, "Server accepts key: "+private) && !strings.Contains(stderr, "Server accepts key: "+public) {
		t.Fatalf("it was not shown, so this test proves nothing: %s", stderr)
	}
	if err == nil || !strings.Contains(stderr, "not granted") {
		t.Errorf("forwarded by a certificate without its key: %v %s", err, stderr)
	}
}
