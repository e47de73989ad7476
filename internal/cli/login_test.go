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
