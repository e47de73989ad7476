//go:build unix

package cli_test

import (
	"bufio"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/aditdev/adit/internal/wire"
)

// A person approves the sign-in in a browser; here the owner's token does it.
func TestLoginByApproval(t *testing.T) {
	w := newWorld(t)
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
				w.call("POST", "/api/v1/cli-logins/"+url.PathEscape(code), map[string]any{"approve": approve}, nil)
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

func TestRevokedTokenDetachesAtOnce(t *testing.T) {
	w := newWorld(t)
	var token struct{ ID, Token string }
	w.call("POST", "/api/v1/tokens", map[string]any{"name": "laptop"}, &token)
	b := w.openShell()
	header := w.bearer()
	header.Set("Authorization", "Bearer "+token.Token)
	ws, _, err := w.dialShell(b.id, 0, header, wire.SubprotocolShell)
	must(t, err)
	defer func() { _ = ws.CloseNow() }()
	_, _, err = ws.Read(t.Context())
	must(t, err)
	w.call("DELETE", "/api/v1/tokens/"+token.ID, nil, nil)
	began := time.Now()
	for err == nil {
		_, _, err = ws.Read(t.Context())
	}
	if websocket.CloseStatus(err) != 4401 || time.Since(began) > 2*time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	b.typeIn("echo still he''re\n") // the shell itself is its owner's, not the token's
	b.until("still here")
}
