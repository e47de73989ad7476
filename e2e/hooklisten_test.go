//go:build linux

package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const ownProgram = "127.0.0.1:3000" // of a developer, on the hub's machine for want of another

// ownService is that program: it answers 418 to what GitHub's signature opens, and keeps it in order.
type ownService struct {
	t      testing.TB
	secret string
	mu     sync.Mutex
	came   []string
}

// signed is a body's signature as GitHub has it, as a line of a header.
func (o *ownService) signed(body string) string {
	mac := hmac.New(sha256.New, []byte(o.secret))
	_, _ = io.WriteString(mac, body)
	return "X-Hub-Signature-256: sha256=" + hex.EncodeToString(mac.Sum(nil))
}

func (o *ownService) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if got := "X-Hub-Signature-256: " + q.Header.Get("X-Hub-Signature-256"); err != nil || got != o.signed(string(body)) || q.URL.Path != "/webhooks/sub" {
		o.t.Errorf("the program got %s %s of %q: %v", q.URL, got, body, err)
	}
	o.mu.Lock()
	o.came = append(o.came, string(body))
	o.mu.Unlock()
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusTeapot)
	fmt.Fprintf(w, "took %s?%s", body, q.URL.RawQuery)
}

// hasAll waits until everything is there, in order. What was there when the hub went away, unanswered, comes once more.
func (o *ownService) hasAll(want []string) {
	o.t.Helper()
	eventually(o.t, patience, "all of it at the program", func() error {
		o.mu.Lock()
		defer o.mu.Unlock()
		if !slices.Contains(o.came, want[len(want)-1]) {
			return fmt.Errorf("%q", o.came)
		}
		return nil
	})
	o.mu.Lock()
	defer o.mu.Unlock()
	if !slices.Equal(slices.Compact(slices.Clone(o.came)), want) {
		o.t.Errorf("the program got %q, want %q", o.came, want)
	}
}

// `adit hook listen --forward` has a program of one's own answer a sender that waits: it gets each byte as it was sent, so that the
// sender's signature verifies there, and in order, also what came while the hub was away.
func TestHookListen(t *testing.T) {
	t.Parallel()
	r := newRig(t, "nginx")
	r.login()
	var made struct {
		Source struct{ URL string }
		Secret string
	}
	text := r.adit(t.Context(), "hook", "source", "create", "--slug", "dev", "--verify", "github", "--store", "--json").text(t)
	if err := json.Unmarshal([]byte(text), &made); err != nil || made.Source.URL != hubURL+"/hook/dev" || made.Secret == "" {
		t.Fatalf("adit hook source create said %s: %v", text, err)
	}
	own := &ownService{t: t, secret: made.Secret}
	r.serveHTTP(ownProgram, own)
	send := func(query, body string) hookReply {
		return r.curl("/hook/dev/sub"+query, "-H", own.signed(body), "-H", "Content-Type: application/json", "--data-binary", body)
	}
	if a := send("?wait=5s", `"nobody"`); a.status != http.StatusServiceUnavailable {
		t.Errorf("nobody listens: %d %s", a.status, a.body)
	}
	log := filepath.Join(r.dir, "listen.log")
	r.host.daemon("listen", log, r.userEnv(), built("adit"), "hook", "listen", "dev", "--forward", "http://"+ownProgram+"/webhooks")
	var first hookReply
	eventually(t, patience, "somebody listening", func() error {
		if first = send("?wait=15s", "{ \"grüße\":1.0}\n"); first.status == http.StatusServiceUnavailable {
			return fmt.Errorf("%d %s", first.status, first.body)
		}
		return nil
	})
	if first.status != http.StatusTeapot || first.body != "took { \"grüße\":1.0}\n?wait=15s" || first.header.Get("Content-Type") != "text/plain" {
		t.Errorf("the sender got %d %v %q", first.status, first.header, first.body)
	}
	want := []string{"{ \"grüße\":1.0}\n"}
	for n := range 10 {
		if n == 5 {
			r.stopHub("KILL")
			r.startHub()
		}
		body := fmt.Sprint(n)
		send("", body).id(t)
		want = append(want, body)
	}
	own.hasAll(want)
	if said := r.host.sh("cat " + log); !strings.Contains(said, "-> 418") || strings.Contains(said, made.Secret) {
		t.Errorf("adit hook listen said\n%s", said)
	}
}
