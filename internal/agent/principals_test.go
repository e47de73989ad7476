package agent

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/wire"
)

func TestPrincipals(t *testing.T) {
	t.Parallel()
	const loopback = `permitopen="127.0.0.1:*",permitopen="localhost:*",permitopen="[::1]:*"`
	for _, c := range []struct{ file, login, want string }{
		{"device dev_1\nroot yes\nlogin *\ntarget tcp:*:*\n", "root", "dev_1/root"},
		{"device dev_1\nlogin *\n", "root", ""},
		{"device dev_1\nlogin *\ntarget ssh\ntarget loopback\n", "pi", loopback + " dev_1/pi"},
		{"device dev_1\nlogin ada\nlogin pi\ntarget loopback\ntarget tcp:*:*\n", "pi", "dev_1/pi"},
		{"device dev_1\nlogin *\ntarget tcp:nas:80\ntarget tcp:[fd00::1]:*\ntarget tcp:*:22\n", "pi",
			`permitopen="nas:80",permitopen="[fd00::1]:*",permitopen="*:22" dev_1/pi`},
		{"device dev_1\nlogin *\ntarget ssh\ntarget mqtt\n", "pi", "no-port-forwarding dev_1/pi"},
		{"device dev_1\nlogin *\n", "pi", "no-port-forwarding dev_1/pi"}, // of an agent that wrote no targets yet
		{"device dev_1\nlogin *\ntarget tcp:a\",command=\"id:80\ntarget tcp:*:*,x\n", "pi", "no-port-forwarding dev_1/pi"},
		{"device dev_1\nlogin ada\n", "pi", ""},
		{"login *\n", "pi", ""},
		{"", "pi", ""},
		{"device dev_1\nlogin *\n", "pi\nroot", ""},
		{"device dev_1\nlogin *\n", "", ""},
	} {
		if got := principalFor(strings.NewReader(c.file), c.login); got != c.want {
			t.Errorf("%q for %q: %q, want %q", c.file, c.login, got, c.want)
		}
	}
}

// sshd takes any output or failure of its helper for something to log or to refuse: it must be quiet whatever happens.
func TestPrincipalsNeverFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := func(args ...string) (int, string, string) {
		var out, errs bytes.Buffer
		err := principalsCommand(t.Context(), args, command.Stdio{Out: &out, Err: &errs})
		return command.Report(&errs, err), out.String(), errs.String()
	}
	for _, args := range [][]string{{}, {"a", "b"}, {"--nonsense"}, {"--dir", dir, "pi"}, {"--dir", "/dev/null", "pi"}} {
		if status, out, errs := run(args...); status != 0 || out+errs != "" {
			t.Errorf("%q: status %d, said %q %q", args, status, out, errs)
		}
	}
	if err := os.WriteFile(Paths{Dir: dir}.Principals(), []byte("device dev_1\nlogin *\ntarget tcp:*:*\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, out, _ := run("--dir", dir, "pi"); out != "dev_1/pi\n" {
		t.Errorf("said %q", out)
	}
}

var permitopen = regexp.MustCompile(`^no-port-forwarding$|permitopen="[A-Za-z0-9*._:\[\]-]+"`)

// The account's name comes from whoever knocks at sshd.
func FuzzPrincipalFor(f *testing.F) {
	for _, login := range []string{"pi", "root", "pi\nroot", "", "-x", "a b", "ä"} {
		f.Add("device dev_1\nlogin *\ntarget loopback\ntarget tcp:nas:80\n", login)
	}
	f.Fuzz(func(t *testing.T, file, login string) {
		got := principalFor(strings.NewReader(file), login)
		if got == "" {
			return
		}
		options, name, limited := strings.Cut(got, " ")
		if !limited {
			name = got
		}
		if strings.Contains(name, " ") || limited && strings.Trim(permitopen.ReplaceAllString(options, ""), ",") != "" {
			t.Errorf("%q in %q has other options", got, file)
		}
		if !strings.HasSuffix(got, "/"+login) || strings.ContainsAny(got, "\n") || !wire.ValidLogin(login) {
			t.Errorf("%q for %q in %q", got, login, file)
		}
		if login == "root" && !strings.Contains(file, "root yes") {
			t.Errorf("root was let in by %q", file)
		}
	})
}
