package dist

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/porttest"
	"github.com/aditdev/adit/internal/sshdtest"
)

// ownSSHD gives m an sshd as a system has it, whose settings and pid file lie below m's HOME.
func (m *machine) ownSSHD(settings string) *sshdtest.Server {
	m.t.Helper()
	sshdtest.NeedRoot(m.t)
	sshdtest.NeedTools(m.t, "sshd", "ssh-keygen")
	for _, dir := range []string{"etc/ssh/sshd_config.d", "run", "usr/sbin", "etc/init.d", "etc/systemd/system"} {
		must(m.t, os.MkdirAll(filepath.Join(m.home, dir), 0o755))
	}
	must(m.t, os.MkdirAll("/run/sshd", 0o755)) // where sshd keeps unprivileged children
	key := filepath.Join(m.home, "etc/ssh/ssh_host_ed25519_key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		m.t.Fatalf("%v %s", err, out)
	}
	s := &sshdtest.Server{Address: porttest.Address(m.t), Login: "root", Home: m.home}
	var err error
	s.HostKey, _, _, _, err = ssh.ParseAuthorizedKey(must2(os.ReadFile(key + ".pub")))
	must(m.t, err)
	_, port, _ := net.SplitHostPort(s.Address)
	config := filepath.Join(m.home, "etc/ssh/sshd_config")
	must(m.t, os.WriteFile(config, fmt.Appendf(nil, `%s
Port %s
ListenAddress 127.0.0.1
HostKey %s
PidFile %s/run/sshd.pid
AuthorizedKeysFile %[4]s/.ssh/authorized_keys
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
`, strings.ReplaceAll(settings, "HOME", m.home), port, key, m.home), 0o600))
	must(m.t, os.WriteFile(filepath.Join(m.home, "usr/sbin/sshd"), []byte("#!/bin/sh\nexec /usr/sbin/sshd \"$@\" -f "+config+"\n"), 0o755))
	must(m.t, os.WriteFile(filepath.Join(m.home, "etc/passwd"), []byte("root:x:0:0:root:"+m.home+":/bin/sh\n"), 0o644))
	cmd := exec.Command("/usr/sbin/sshd", "-D", "-E", filepath.Join(m.t.TempDir(), "log"), "-f", config)
	must(m.t, cmd.Start())
	m.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	await(m.t, patience, func() error {
		conn, err := net.Dial("tcp", s.Address)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
	return s
}

// below is the script for a system that lies below m's HOME.
func (m *machine) below(script string) string {
	var pairs []string
	for _, path := range []string{"/var/run/sshd.pid", "/run/sshd.pid", "/etc/adit-ssh", "/etc/ssh", "/etc/systemd/system", "/etc/init.d",
		"/etc/passwd", "/run/systemd/system", "/run/openrc/softlevel", "/sbin/openrc-run"} {
		pairs = append(pairs, path, m.home+path)
	}
	return strings.NewReplacer(append(pairs, "for place in /usr/sbin", "for place in "+m.home+"/usr/sbin /usr/sbin")...).Replace(script)
}

const include = "Include HOME/etc/ssh/sshd_config.d/*.conf\n"

// As root one file is added to sshd's settings, nothing else changes, and all of it can be taken back. The certificates'
// principals are what /bin/echo says.
func TestOpenSSHInstallsForTheSystem(t *testing.T) {
	t.Parallel()
	for name, shell := range shells {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, m := newStockHub(t), newStock(t, "curl")
			sshd := m.ownSSHD(include)
			h.start()
			before, script := m.files(), m.below(h.script(t))
			if out, err := m.run(shell, script, h.env(), "--check"); err != nil || !strings.Contains(out, "certificates: by a file in") || !strings.Contains(out, "root: for the whole system") {
				t.Errorf("%v\n%s", err, out)
			}
			_ = m.calls()
			out, err := m.run(shell, script, h.env())
			if err != nil || !strings.Contains(out, "now takes the hub's certificates too ("+m.home+"/etc/ssh/sshd_config.d/adit-ssh.conf)") || !strings.Contains(out, "kitchen is online.") {
				t.Fatalf("%v\n%s", err, out)
			}
			want := `# Written by the install script of Adit, for a machine without its agent; its --uninstall removes this file.
# Certificates of the hub open accounts here, each certificate one account. Nothing else changes.
TrustedUserCAKeys ` + m.home + `/etc/adit-ssh/user_ca.pub
AuthorizedPrincipalsCommand /bin/echo 'permitopen="127.0.0.1:*",permitopen="localhost:*",permitopen="[::1]:*",permitopen="127.0.0.2:110"' ` + stockDevice + `/%u
AuthorizedPrincipalsCommandUser nobody
`
			if diff := cmp.Diff(want, string(must2(os.ReadFile(filepath.Join(m.home, "etc/ssh/sshd_config.d/adit-ssh.conf"))))); diff != "" {
				t.Errorf("the file (-want +got):\n%s", diff)
			}
			asked := h.asked()
			if *asked.Facts.SSH.Trust != "sshd_config" || *asked.Facts.Install != "system" || *asked.Facts.SSH.Address != sshd.Address ||
				len(asked.SSHHostKeys) != 1 || asked.SSHHostKeys[0] != line(sshd.HostKey) {
				t.Errorf("asked %+v %+v", asked.Facts.SSH, asked.SSHHostKeys)
			}
			h.admits(t, sshd)
			m.ends(t, shell, script, h.env(), before)
			if c, err := h.login(t, sshd, stockDevice+"/root"); err == nil {
				_ = c.Close()
				t.Error("the hub's certificates still get in")
			}
		})
	}
}

// Where sshd has settings of its own for certificates, or does not take up what is added, its settings stay as they are.
func TestOpenSSHKeepsSSHDAsItIs(t *testing.T) {
	t.Parallel()
	byLine := "by one line in HOME/.ssh/authorized_keys"
	for name, c := range map[string]struct {
		settings, says, why string
		admits              bool
	}{
		"no directory is included": {"", byLine, "sshd does not take up the added settings", true},
		"a CA of the site's":       {include + "TrustedUserCAKeys HOME/etc/ssh/site.pub", byLine, "settings of its own for certificates", true},
		"principals of the site's": {include + "AuthorizedPrincipalsFile HOME/etc/ssh/principals", byLine, "settings of its own for certificates", true},
		"for some connections":     {include + "Match User backup\nAuthorizedPrincipalsFile HOME/etc/ssh/principals\nMatch all", byLine, "settings of its own for some certificates", true},
		"root may not log in":      {include + "TrustedUserCAKeys HOME/etc/ssh/site.pub\nPermitRootLogin no", "stays as it is", "lets root not in", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, m := newStockHub(t), newStock(t, "curl")
			sshd := m.ownSSHD(c.settings)
			h.start()
			before, script := m.files(), m.below(h.script(t))
			out, err := m.run(shells["dash"], script, h.env())
			if err != nil || !strings.Contains(out, strings.ReplaceAll(c.says, "HOME", m.home)) || !strings.Contains(out, c.why) {
				t.Errorf("%v, want %q and %q in\n%s", err, c.says, c.why, out)
			}
			if _, err := os.Stat(filepath.Join(m.home, "etc/ssh/sshd_config.d/adit-ssh.conf")); err == nil {
				t.Error("the file is still there")
			}
			if c.admits {
				h.admits(t, sshd)
			}
			m.ends(t, shells["dash"], script, h.env(), before)
		})
	}
}

// Lines of others in authorized_keys stay, to the byte, and so do the file's mode and a link to it.
func TestOpenSSHKeepsOtherKeys(t *testing.T) {
	t.Parallel()
	h := newStockHub(t)
	h.start()
	for name, link := range map[string]bool{"a file": false, "a link": true} {
		m := newStock(t)
		sshd := h.sshdOf(t, m)
		must(t, os.Mkdir(filepath.Join(m.home, ".ssh"), 0o700))
		keys, theirs := filepath.Join(m.home, ".ssh/authorized_keys"), "ssh-ed25519 AAAA adit-ssh:dev_other\n# mine\ncert-authority ssh-ed25519 BBBB x"
		file := keys
		if link {
			file = filepath.Join(m.home, "keys")
			must(t, os.Symlink(file, keys))
		}
		must(t, os.WriteFile(file, []byte(theirs), 0o640))
		env := h.env("ADIT_SSHD=" + sshd.Address)
		if out, err := m.run(shells["dash"], h.script(t), env, "--user"); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		h.admits(t, sshd)
		_ = m.calls()
		before := m.files()
		if out, err := m.run(shells["dash"], h.script(t), nil, "--user", "--uninstall"); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		info, err := os.Stat(file)
		must(t, err)
		if got := string(must2(os.ReadFile(keys))); got != theirs+"\n" || info.Mode().Perm() != 0o640 || len(before) == 0 {
			t.Errorf("%s: %v %q", name, info.Mode(), got)
		}
	}
}

// A service that could not be set up: what was done before is done once in the end.
func TestOpenSSHTriesAgain(t *testing.T) {
	t.Parallel()
	h, m := newStockHub(t), newStock(t)
	sshd := m.ownSSHD(include)
	h.start()
	must(t, os.MkdirAll(filepath.Join(m.home, "run/systemd/system"), 0o755))
	m.program("systemctl", `case $* in *reload-or-restart*ssh.service) kill -HUP "$(cat "$HOME/run/sshd.pid")" ;; *enable*) [ -e "$HOME/works" ] ;; esac`)
	before, script := m.files(), m.below(h.script(t))
	if out, err := m.run(shells["ash"], script, h.env()); err == nil || !strings.Contains(out, "the service could not be set up with systemd") {
		t.Fatalf("%v\n%s", err, out)
	}
	first := h.asked().PublicKey
	must(t, os.WriteFile(filepath.Join(m.home, "works"), nil, 0o600))
	out, err := m.run(shells["ash"], script, h.env())
	if err != nil || !strings.Contains(out, "now takes the hub's certificates too") || h.asked().PublicKey != first || *h.asked().Facts.SSH.Trust != "sshd_config" {
		t.Errorf("%v\n%s", err, out)
	}
	h.admits(t, sshd)
	must(t, os.Remove(filepath.Join(m.home, "works")))
	m.ends(t, shells["ash"], script, h.env(), before)
}

// What keeps the connection up, by each service manager: its text has no secret, and starts it again and again.
// Long because it is a table.
func TestOpenSSHServices(t *testing.T) {
	t.Parallel()
	command := "/ssh -N -T -F HOME/etc/adit-ssh/config " + stockDevice + "@localhost"
	for name, c := range map[string]struct {
		traces            []string
		file, calls, stop string
		text, log         string
		args              []string
	}{
		"systemd": {
			traces: []string{"run/systemd/system/"}, file: "etc/systemd/system/adit-ssh.service", log: "journalctl -u adit-ssh",
			calls: "systemctl daemon-reload\nsystemctl enable adit-ssh.service\nsystemctl restart adit-ssh.service\n",
			stop:  "systemctl disable --now adit-ssh.service\nsystemctl daemon-reload\n",
			text: `[Unit]
Description=Adit: way in through localhost by OpenSSH
After=network.target
StartLimitIntervalSec=0

[Service]
ExecStart=BIN` + command + `
Restart=always
RestartSec=15
NoNewPrivileges=yes

[Install]
WantedBy=multi-user.target
`},
		"systemd of a user": {
			file: ".config/systemd/user/adit-ssh.service", args: []string{"--user"}, log: "journalctl --user -u adit-ssh",
			calls: "systemctl --user daemon-reload\nsystemctl --user enable adit-ssh.service\nsystemctl --user restart adit-ssh.service\n",
			stop:  "systemctl --user disable --now adit-ssh.service\nsystemctl --user daemon-reload\n",
			text: `[Unit]
Description=Adit: way in through localhost by OpenSSH
After=network.target
StartLimitIntervalSec=0

[Service]
ExecStart=BIN` + strings.ReplaceAll(command, "/etc/", "/.config/") + `
Restart=always
RestartSec=15
NoNewPrivileges=yes

[Install]
WantedBy=default.target
`},
		"OpenRC": {
			traces: []string{"run/openrc/softlevel", "sbin/openrc-run"}, file: "etc/init.d/adit-ssh", log: "/var/log/adit-ssh.log",
			calls: "rc-update add adit-ssh default\nrc-service adit-ssh restart\n",
			stop:  "rc-service adit-ssh stop\nrc-update delete adit-ssh\n",
			text: `#!/sbin/openrc-run
# Needs nothing of the network: it is tried again until it is there.

name="Adit: way in through localhost by OpenSSH"
supervisor=supervise-daemon
command=BIN/ssh
command_args='-N -T -F HOME/etc/adit-ssh/config ` + stockDevice + `@localhost'
respawn_delay=15
respawn_max=0
output_log=/var/log/adit-ssh.log
error_log=/var/log/adit-ssh.log
`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sshdtest.NeedRoot(t)
			h, m := newStockHub(t), newStock(t)
			h.start()
			for _, dir := range []string{"etc/ssh", "etc/init.d", "etc/systemd/system"} {
				must(t, os.MkdirAll(filepath.Join(m.home, dir), 0o755))
			}
			for _, trace := range c.traces {
				must(t, os.MkdirAll(filepath.Join(m.home, filepath.Dir(trace)), 0o755))
				if !strings.HasSuffix(trace, "/") {
					must(t, os.WriteFile(filepath.Join(m.home, trace), nil, 0o755))
				}
			}
			for _, tool := range []string{"systemctl", "rc-service", "rc-update", "supervise-daemon", "loginctl"} {
				m.program(tool, `echo "`+tool+` $*" >>"`+m.bin+`/managers"`)
			}
			before := m.files()
			script := strings.ReplaceAll(m.below(h.script(t)), "#!"+m.home+"/sbin/openrc-run", "#!/sbin/openrc-run")
			env := h.env(append([]string{"XDG_RUNTIME_DIR=/run/user/0"}, portOnly...)...)
			out, err := m.run(shells["dash"], script, env, c.args...)
			if err != nil || !strings.Contains(out, "Its log: "+c.log+"\n") {
				t.Fatalf("%v\n%s", err, out)
			}
			managers := func() string {
				data, _ := os.ReadFile(filepath.Join(m.bin, "managers"))
				_ = os.Remove(filepath.Join(m.bin, "managers"))
				return strings.ReplaceAll(strings.ReplaceAll(string(data), "loginctl enable-linger\n", ""), "systemctl --user show-environment\n", "")
			}
			if diff := cmp.Diff(c.calls, managers()); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			text := strings.NewReplacer(m.home, "HOME", m.bin, "BIN").Replace(string(must2(os.ReadFile(filepath.Join(m.home, c.file)))))
			if diff := cmp.Diff(c.text, text); diff != "" {
				t.Errorf("text (-want +got):\n%s", diff)
			}
			m.ends(t, shells["dash"], script, env, before, c.args...)
			if diff := cmp.Diff(c.stop, managers()); diff != "" {
				t.Errorf("calls of the end (-want +got):\n%s", diff)
			}
		})
	}
}
