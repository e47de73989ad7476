//go:build unix

package cli_test

import (
	"bufio"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// A person approves the sign-in in a browser.
func TestLoginByApproval(t *testing.T) {
	w := newWorld(t)
	browser := w.signIn()
	for _, approve := range []bool{true, false} {
		home := t.TempDir()
		cmd := w.command("adit", "login", w.url())
		cmd.Env = append(cmd.Env, "HOME="+home)
		cmd.Stderr = nil
		said, err := cmd.StderrPipe()
		must(t, err)
		must(t, cmd.Start())
		var code string
		var rest strings.Builder
		for lines := bufio.NewScanner(said); lines.Scan(); {
			if found := regexp.MustCompile(`^  code  ([A-Z-]+)$`).FindStringSubmatch(lines.Text()); found != nil {
				code = found[1]
				reply := w.post("/api/v1/cli-logins/"+url.PathEscape(code), `{"approve":`+strconv.FormatBool(approve)+`}`, browser)
				if reply.StatusCode != http.StatusNoContent {
					t.Fatal(reply.Status)
				}
			}
			rest.WriteString(lines.Text() + "\n")
		}
		err = cmd.Wait()
		if code == "" || (err == nil) != approve {
			t.Fatalf("approve %v: %v\n%s", approve, err, rest.String())
		}
		_, err = os.Stat(filepath.Join(home, ".config/adit/login.json"))
		if (err == nil) != approve {
			t.Errorf("approve %v: login.json: %v", approve, err)
		}
	}
}

// signIn is a browser of the owner's: the headers that it sends.
func (w *world) signIn() http.Header {
	w.t.Helper()
	out, err := w.command("adit-hub", "user", "reset", "owner").Output()
	must(w.t, err)
	_, secret, _ := strings.Cut(strings.TrimSpace(string(out)), "#")
	reply := w.post("/api/v1/login/link", `{"secret":"`+secret+`"}`, http.Header{})
	if reply.StatusCode != http.StatusOK {
		w.t.Fatal(reply.Status)
	}
	cookie, _, _ := strings.Cut(reply.Header.Get("Set-Cookie"), ";")
	return http.Header{"Cookie": {cookie}, "Origin": {w.url()}, "Sec-Fetch-Site": {"same-origin"}}
}

func (w *world) post(path, body string, header http.Header) *http.Response {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.url()+path, strings.NewReader(body))
	must(w.t, err)
	r.Header = header.Clone()
	r.Header.Set("Content-Type", "application/json")
	reply, err := http.DefaultClient.Do(r)
	must(w.t, err)
	must(w.t, reply.Body.Close())
	return reply
}
