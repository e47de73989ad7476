package dist

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/wire"
)

// A download that was cut does nothing. The script is long, so of its middle the ends of lines are tried, and some bytes.
func TestOpenSSHScriptCutDoesNothing(t *testing.T) {
	t.Parallel()
	script, err := OpenSSHScript(Hub{URL: "https://hub.example", Key: "SHA256:" + strings.Repeat("x", 43)}, testCode)
	must(t, err)
	whole := strings.TrimRight(script, "\n")
	for name, shell := range shells {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			for _, tool := range append(stockTools, "curl", "wget", "systemctl", "touch", "dirname", "head") {
				m.program(tool, `echo "$0 $*" >>"$ADIT_TEST_LOG"`)
			}
			for n := range len(whole) {
				if n%211 != 0 && n > 200 && n < len(whole)-800 && whole[n] != '\n' {
					continue
				}
				_, _ = m.run(shell, whole[:n], nil)
				if calls := m.calls(); calls != "" {
					t.Fatalf("cut after %d of %d bytes it ran:\n%s", n, len(whole), calls)
				}
			}
			if _, _ = m.run(shell, whole, nil); m.calls() == "" {
				t.Error("the whole script ran nothing either, so this test proves nothing")
			}
		})
	}
}

// replace takes the place of a tool on the machine.
func (m *machine) replace(name, text string) {
	m.t.Helper()
	_ = os.Remove(filepath.Join(m.bin, name))
	m.program(name, text)
}

// Whatever would stop the installation half-way is refused with the way out, and nothing is left behind.
// Long because it is a table.
func TestOpenSSHRefusals(t *testing.T) {
	t.Parallel()
	without := func(name string) func(*stockHub, *machine) {
		return func(_ *stockHub, m *machine) { _ = os.Remove(filepath.Join(m.bin, name)) }
	}
	instead := func(name, text string) func(*stockHub, *machine) {
		return func(_ *stockHub, m *machine) { m.replace(name, text) }
	}
	for _, c := range []struct {
		name    string
		prepare func(*stockHub, *machine)
		env     []string
		args    []string
		says    string
	}{
		{name: "no code", env: []string{"ADIT_CODE="}, says: "there is no install code"},
		{name: "no TLS", prepare: func(h *stockHub, _ *machine) { h.Hub.URL = "http://localhost:8080" }, says: "Without our agent the way in needs https"},
		{name: "no ssh", prepare: without("ssh"), says: "OpenSSH's ssh is not here"},
		{name: "Dropbear's ssh", prepare: instead("ssh", `echo "Dropbear v2022.83" >&2`), says: "OpenSSH's ssh is not here"},
		{name: "no ssh-keygen", prepare: without("ssh-keygen"), says: "ssh-keygen is not here"},
		{name: "no openssl", prepare: without("openssl"), says: "OpenSSL 1.1 or newer is not here"},
		{name: "old openssl", prepare: instead("openssl", `echo "OpenSSL 1.0.2u"`), says: "OpenSSL 1.1 or newer is not here"},
		{name: "LibreSSL", prepare: instead("openssl", `echo "LibreSSL 3.3.6"`), says: "OpenSSL 1.1 or newer is not here"},
		{name: "unknown option", args: []string{"--chek"}, says: "--chek is unknown"},
		{name: "odd home", env: []string{"HOME=/tmp/$(touch x)"}, says: "cannot stand in settings of ssh"},
		{name: "no home", env: []string{"HOME="}, says: "cannot stand in settings of ssh"},
		{name: "home is a file", env: append([]string{"HOME=/dev/null"}, portOnly...), says: "cannot make /dev/null/.config/adit-ssh"},
		{name: "hub away", prepare: func(h *stockHub, _ *machine) { h.Hub.URL = "https://localhost:1" }, env: portOnly, says: "https://localhost:1 cannot be reached from here"},
		{name: "another authority", env: append([]string{"SSL_CERT_FILE=/dev/null"}, portOnly...), says: "cannot be reached from here"},
		{name: "no such roots", env: []string{"ADIT_CA_FILE=/nowhere.pem"}, says: "/nowhere.pem cannot be read"},
		{name: "no sshd", env: []string{"ADIT_SSHD=127.0.0.1:1"}, says: "no SSH server answers at 127.0.0.1:1"},
		{name: "no address", env: []string{"ADIT_SSHD=$(reboot):22"}, says: "is not HOST:PORT"},
		{name: "nothing to offer", env: []string{"ADIT_SSHD=none"}, says: "name what to offer by ADIT_FORWARD"},
		{name: "all neighbours", env: []string{"ADIT_SSHD=none", "ADIT_ALLOW=10.0.0.1:80,*:80"}, says: "*:80 is not one HOST:PORT"},
		{name: "no port", env: []string{"ADIT_SSHD=none", "ADIT_FORWARD=http"}, says: "http is no port of this machine"},
		{name: "a proxy with a password", env: []string{"ADIT_SSHD=none", "ADIT_FORWARD=80", "HTTPS_PROXY=http://ada:secret@proxy:3128"}, says: "without a password"},
		{name: "the hub says no", prepare: func(h *stockHub, _ *machine) {
			h.status, h.says = 409, `This install code "was" used already. Make a new one.`
		}, env: []string{"ADIT_SSHD=none", "ADIT_FORWARD=80"}, says: `adit: This install code "was" used already. Make a new one. This machine was not registered, and nothing was changed.`},
		{name: "nothing to take back", args: []string{"--user", "--uninstall"}, says: "there is nothing to take back"},
	} {
		for name, shell := range shells {
			t.Run(c.name+" "+name, func(t *testing.T) {
				t.Parallel()
				h := newStockHub(t)
				m := newStock(t)
				if c.prepare != nil {
					c.prepare(h, m)
				}
				h.start()
				args := c.args
				if len(args) == 0 {
					args = []string{"--user"}
				}
				out, err := m.run(shell, h.script(t), h.env(c.env...), args...)
				if err == nil || !strings.Contains(out, c.says) {
					t.Errorf("error %v, want %q in:\n%s", err, c.says, out)
				}
				_ = m.calls()
				if diff := cmp.Diff([]string(nil), m.files()); diff != "" {
					t.Errorf("left behind (-before +after):\n%s", diff)
				}
			})
		}
	}
}

// portOnly is a machine that offers a port and no SSH, which takes the least.
var portOnly = []string{"ADIT_SSHD=none", "ADIT_FORWARD=8080"}

// Whoever ends TLS on the way can change nothing of what the machine will rely on. The key stays: the code may be used up
// by now, and the same key gets the same answer again.
func TestOpenSSHAnswerIsOfTheHub(t *testing.T) {
	t.Parallel()
	other := newStockHub(t)
	unsigned := "The hub's answer is not signed by its key"
	for name, c := range map[string]struct {
		change func(*api.EnrollResult)
		says   string
	}{
		"another hub": {func(r *api.EnrollResult) { *r = other.answer(must2(wire.ParseKey(line(other.hostKey.PublicKey())))) }, "this is not the hub of the install line"},
		"another key in front": {func(r *api.EnrollResult) {
			r.HubKeys = append([]string{wire.EncodeKey(other.key.Public().(ed25519.PublicKey))}, r.HubKeys...)
		}, "this is not the hub of the install line"},
		"no key":            {func(r *api.EnrollResult) { r.HubKeys = []string{} }, "this is not the hub of the install line"},
		"user CA":           {func(r *api.EnrollResult) { r.UserCa = line(other.ca.PublicKey()) }, unsigned},
		"gate":              {func(r *api.EnrollResult) { r.SSHGateKey = new(line(other.ca.PublicKey())) }, unsigned},
		"name":              {func(r *api.EnrollResult) { r.Name = "bathroom" }, unsigned},
		"id":                {func(r *api.EnrollResult) { r.DeviceID = "dev_other" }, unsigned},
		"status":            {func(r *api.EnrollResult) { r.Status = "pending" }, unsigned},
		"neighbours":        {func(r *api.EnrollResult) { r.Allow = append(r.Allow, "10.0.0.1:22") }, unsigned},
		"no signature":      {func(r *api.EnrollResult) { r.SSHSignature = nil }, unsigned},
		"no gate":           {func(r *api.EnrollResult) { r.SSHGateKey = nil }, "makes no sense"},
		"two lines":         {func(r *api.EnrollResult) { r.UserCa += "\nssh-ed25519 AAAA" }, "makes no sense"},
		"options":           {func(r *api.EnrollResult) { r.UserCa = `command="reboot" ` + r.UserCa }, "makes no sense"},
		"a shell's command": {func(r *api.EnrollResult) { r.DeviceID = "dev_$(reboot)" }, "makes no sense"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, m := newStockHub(t), newStock(t)
			h.change = c.change
			h.start()
			out, err := m.run(shells["dash"], h.script(t), h.env(portOnly...), "--user")
			if err == nil || !strings.Contains(strings.ToLower(out), strings.ToLower(c.says)) {
				t.Errorf("error %v, want %q in:\n%s", err, c.says, out)
			}
			_ = m.calls()
			if diff := cmp.Diff([]string{".config/adit-ssh/id_ed25519", ".config/adit-ssh/id_ed25519.pub"}, m.files()); diff != "" {
				t.Errorf("left behind (-want +got):\n%s", diff)
			}
		})
	}
}

func must2[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// The hub worked but its answer was lost: the line again, with the same key, gets there.
func TestOpenSSHLostAnswer(t *testing.T) {
	t.Parallel()
	h, m := newStockHub(t), newStock(t)
	h.status, h.says = 503, "The database is busy."
	h.start()
	env := h.env(portOnly...)
	if out, err := m.run(shells["ash"], h.script(t), env, "--user"); err == nil || !strings.Contains(out, h.says) {
		t.Errorf("%v\n%s", err, out)
	}
	first := h.asked().PublicKey
	h.mu.Lock()
	h.status, h.says = 0, ""
	h.mu.Unlock()
	out, err := m.run(shells["ash"], h.script(t), env, "--user")
	if err != nil || h.asked().PublicKey != first || !strings.Contains(out, "kitchen is online.") {
		t.Errorf("%v, keys %s and %s\n%s", err, first, h.asked().PublicKey, out)
	}
	if out, err := m.run(shells["ash"], h.script(t), env, "--user"); err == nil || !strings.Contains(out, "this machine is kitchen of "+h.URL+" already") {
		t.Errorf("a third time: %v\n%s", err, out)
	}
	m.ends(t, shells["ash"], h.script(t), env, nil, "--user")
}

// ssh-keygen before 8.1 knows no signatures; the hub's key is compared all the same.
func TestOpenSSHOldKeygen(t *testing.T) {
	t.Parallel()
	h, m := newStockHub(t), newStock(t)
	h.start()
	m.program("ssh", `[ "$1" = -V ] && echo "OpenSSH_7.9p1 Debian-10, OpenSSL 1.1.1" >&2 && exit; exec `+realPath(t, "ssh")+` "$@"`)
	m.program("ssh-keygen", `case $* in *-Y*) echo "unknown option -- Y" >&2; exit 1 ;; esac; exec `+realPath(t, "ssh-keygen")+` "$@"`)
	out, err := m.run(shells["dash"], h.script(t), h.env(portOnly...), "--user")
	if err != nil || !strings.Contains(out, "older than 8.1") || !strings.Contains(out, "kitchen is online.") {
		t.Errorf("%v\n%s", err, out)
	}
	m.ends(t, shells["dash"], h.script(t), nil, nil, "--user")
	h.mu.Lock()
	h.Key = "SHA256:" + strings.Repeat("y", 43)
	h.mu.Unlock()
	if out, err = m.run(shells["dash"], h.script(t), h.env(portOnly...), "--user"); err == nil || !strings.Contains(out, "this is not the hub") {
		t.Errorf("another hub: %v\n%s", err, out)
	}
}

func realPath(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.EvalSymlinks("/usr/bin/" + name)
	must(t, err)
	return path
}

// A device that waits for approval is not tried; the fingerprint to compare is the one that the hub shows.
func TestOpenSSHPending(t *testing.T) {
	t.Parallel()
	h, m := newStockHub(t), newStock(t)
	h.says, h.chunked = "pending", true
	h.start()
	script, err := OpenSSHScript(h.Hub, testCode)
	must(t, err)
	env := append(h.env(portOnly...), "ADIT_CODE=")
	out, err := m.run(shells["dash"], script, env, "--user")
	fingerprint := wire.Fingerprint(must2(wire.ParseKey(h.asked().PublicKey)))
	for _, says := range []string{"waiting for approval", fingerprint, "comes online as soon as it is approved"} {
		if err != nil || !strings.Contains(out, says) {
			t.Errorf("not said: %q, %v\n%s", says, err, out)
		}
	}
	if short := h.asked().Short; short == nil || !*short {
		t.Error("the hub was not told that the code was in a URL")
	}
	m.ends(t, shells["dash"], script, env, nil, "--user")
}

func TestOpenSSHCheckOnlyLooks(t *testing.T) {
	t.Parallel()
	for name, shell := range shells {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, m := newStockHub(t), newStock(t, "curl")
			h.start()
			sshd := h.sshdOf(t, m)
			env := h.env("ADIT_SSHD="+sshd.Address, "ADIT_CODE=")
			out, err := m.run(shell, h.script(t), env, "--check", "--user")
			for _, says := range []string{"ok       ssh: OpenSSH ", "checks the hub's signature", "ok       hub: " + h.URL + "\n", "SSH passes what stands before it",
				"ok       sshd: OpenSSH_", "by a line in authorized_keys of " + sshd.Login, "kept up by: a small script", "none is needed to look", "All is here."} {
				if err != nil || !strings.Contains(out, says) {
					t.Errorf("not said: %q, %v\n%s", says, err, out)
				}
			}
			bare := newMachine(t, "id", "sed", "tr", "grep", "cat")
			bare.program("apk", "")
			out, err = bare.run(shell, h.script(t), h.env(), "--check", "--user")
			for _, says := range []string{"missing  OpenSSH's ssh; install it with: apk add openssh-client", "missing  ssh-keygen", "missing  OpenSSL 1.1 or newer", "Something is missing"} {
				if err == nil || !strings.Contains(out, says) {
					t.Errorf("not said: %q, %v\n%s", says, err, out)
				}
			}
			_ = m.calls()
			if len(m.files())+len(bare.files()) != 0 {
				t.Errorf("changed %v %v", m.files(), bare.files())
			}
		})
	}
}

// The page's line for machines without curl and wget reads the script by this.
func TestOpenSSLGet(t *testing.T) {
	t.Parallel()
	h, m := newStockHub(t), newStock(t)
	h.start()
	for name, shell := range shells {
		out, err := m.exec("", h.env(), append(append([]string{}, shell...), "-c", OpenSSLGet(h.url, "/i?via=openssh"))...)
		if err != nil || out != h.script(t) {
			t.Errorf("%s: %v, %d bytes of %d", name, err, len(out), len(h.script(t)))
		}
	}
}

var errNotYet = errors.New("not yet")

// The hub restarts: the machine is back by itself, and its log says what was.
func TestOpenSSHComesBack(t *testing.T) {
	t.Parallel()
	h, m := newStockHub(t), newStock(t)
	h.start()
	if out, err := m.run(shells["ash"], h.script(t), h.env(portOnly...), "--user"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	logins := func(n int) func() error {
		return func() error {
			if users := h.noted(&h.users); len(users) < n {
				return fmt.Errorf("%w: %v", errNotYet, users)
			}
			return nil
		}
	}
	await(t, patience, logins(2))
	h.closeAll()
	await(t, patience, logins(3))
	log, err := os.ReadFile(filepath.Join(m.home, ".config/adit-ssh/log"))
	if err != nil || !strings.Contains(string(log), "the connection ended; again in 15 s") {
		t.Errorf("%v\n%s", err, log)
	}
	// Started again, as at boot, it does not run twice.
	if out, err := m.exec("", h.env(), "sh", "-c", m.home+"/.config/adit-ssh/run"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	m.ends(t, shells["ash"], h.script(t), nil, nil, "--user")
}
