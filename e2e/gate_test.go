//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// gateInfo is an answer of GET /api/v1/ssh-gate.
type gateInfo struct {
	Host          string
	Handle        string
	KnownHosts    string            `json:"known_hosts"`
	ProxyCommands map[string]string `json:"proxy_commands"`
	Challenge     string
	Namespace     string
	HeldHostKey   string `json:"held_host_key"`
}

// A visitor is a person with stock OpenSSH and nothing of ours: a key in their profile on the hub and in their account
// on the device, and the lines of the device's page in their configuration.
type visitor struct {
	*rig
	home string
	gate gateInfo
}

// visitor gives one whose ssh reaches the gate by a form of ProxyCommand.
func (r *rig) visitor(form string) *visitor {
	r.t.Helper()
	v := &visitor{rig: r, home: filepath.Join(r.dir, "visitor")}
	r.host.sh("mkdir -p -m 700 " + v.home + "; ssh-keygen -q -t ed25519 -N '' -C laptop -f " + v.home + "/id")
	if err := r.call("GET", "/api/v1/ssh-gate", nil, &v.gate); err != nil {
		r.t.Fatal(err)
	}
	v.addKey("", "id")
	writeFile(r.t, v.home+"/known_hosts", v.gate.KnownHosts)
	v.configure(v.gate.ProxyCommands[form], "id")
	return v
}

// addKey puts a key into the profile, signed for by ssh-keygen as the page says.
func (v *visitor) addKey(options, name string) {
	v.t.Helper()
	proof := v.host.sh(fmt.Sprintf("printf %%s %q | ssh-keygen -q -Y sign -n %s -f %s/%s", v.gate.Challenge, v.gate.Namespace, v.home, name))
	line, err := os.ReadFile(filepath.Join(v.home, name+".pub"))
	if err != nil {
		v.t.Fatal(err)
	}
	key := strings.TrimSpace(options + " " + string(line))
	if err := v.call("POST", "/api/v1/ssh-keys", ask{"key": key, "signature": proof}, nil); err != nil {
		v.t.Fatal(err)
	}
}

// configure writes the configuration as the device's page shows it.
func (v *visitor) configure(proxyCommand, key string) {
	writeFile(v.t, filepath.Join(v.home, "config"), fmt.Sprintf(`Host hub
  HostName %[1]s
  User %[2]s
  ProxyCommand %[3]s
Host *.adit
  ProxyJump hub
  User ada
Host *
  IdentityFile %[4]s/%[5]s
  IdentitiesOnly yes
  UserKnownHostsFile %[4]s/known_hosts
  ServerAliveInterval 20
  BatchMode yes
`, v.gate.Host, v.gate.Handle, proxyCommand, v.home, key))
}

// knows pins a device's host keys under NAME.adit, as the page shows them, and lets the visitor's key into the account
// there.
func (v *visitor) knows(name string) {
	v.t.Helper()
	var d struct {
		Keys []struct{ Key string } `json:"ssh_host_keys"`
	}
	if err := v.call("GET", "/api/v1/devices/"+name, nil, &d); err != nil {
		v.t.Fatal(err)
	}
	if len(d.Keys) == 0 {
		v.t.Fatalf("%s has told no host keys", name)
	}
	for _, k := range d.Keys {
		v.host.sh(fmt.Sprintf("echo %q >>%s/known_hosts", name+".adit "+k.Key, v.home))
	}
	line, err := os.ReadFile(filepath.Join(v.home, "id.pub"))
	if err != nil {
		v.t.Fatal(err)
	}
	v.device.sh(fmt.Sprintf("mkdir -p -m 700 ~ada/.ssh; grep -qF %[1]q ~ada/.ssh/authorized_keys 2>/dev/null || echo %[1]q >>~ada/.ssh/authorized_keys; chown -R ada: ~ada/.ssh",
		strings.TrimSpace(string(line))))
}

func (v *visitor) env() []string {
	return []string{"HOME=" + v.home, "SSL_CERT_FILE=" + filepath.Join(v.dir, "ca.pem")}
}

// stock prepares a program of OpenSSH with the visitor's configuration.
func (v *visitor) stock(ctx context.Context, program string, args ...string) *cli {
	return &cli{v.host.command(ctx, v.env(), append([]string{program, "-F", v.home + "/config"}, args...)...)}
}

// says is the output of both streams of a command that may fail.
func (c *cli) says() (string, error) {
	out, err := c.CombinedOutput()
	return string(out), err
}

// keeps runs an ssh that stays.
func (v *visitor) keeps(name string, args ...string) {
	v.t.Helper()
	v.host.daemon(name, filepath.Join(v.dir, name+".log"), v.env(), append([]string{"ssh", "-F", v.home + "/config", "-N",
		"-o", "ExitOnForwardFailure=yes"}, args...)...)
}

// The gate behind each proxy: stock OpenSSH and openssl on the person's side, our agent on the device.
func TestGate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ proxy, form string }{
		{"nginx", "upgrade"}, {"nginx", "raw"}, {"caddy", "patient"}, {"caddy-current", "upgrade"},
	} {
		t.Run(c.proxy+"/"+c.form, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, c.proxy)
			r.startSSHD()
			r.install()
			r.doctor(c.proxy)
			v := r.visitor(c.form)
			v.knows("kitchen")
			v.basics(t)
			if c.form == "upgrade" && c.proxy == "nginx" {
				v.forwards(t)
				v.programs(t)
				v.unattended(t)
				t.Run("a gibibyte both ways", func(t *testing.T) { v.gibibyte(t) })
				v.ending(t)
			}
		})
	}
}

// doctor has the hub find out which form its pages show: Debian's Caddy loses what comes before the 101.
func (r *rig) doctor(proxy string) {
	r.t.Helper()
	want := "upgrade"
	if proxy == "caddy" {
		want = "patient"
	}
	out := r.hubCommand("", "doctor")
	var gate struct{ Form string }
	if err := r.call("GET", "/api/v1/ssh-gate", nil, &gate); err != nil {
		r.t.Fatal(err)
	}
	if gate.Form != want {
		r.t.Errorf("behind %s the pages show the form %s, want %s; the doctor said\n%s", proxy, gate.Form, want, out)
	}
}

// basics are what people do every day.
func (v *visitor) basics(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 6*time.Minute)
	defer cancel()
	if got := v.stock(ctx, "ssh", "kitchen.adit", "hostname; id -un").text(t); got != "kitchen\nada\n" {
		t.Errorf("ssh said %q", got)
	}
	if out, err := v.stock(ctx, "ssh", "kitchen.adit", "exit 7").says(); exitCode(err) != 7 {
		t.Errorf("exit 7 gives %v\n%s", err, out)
	}
	v.device.sh("head -c 3M /dev/urandom >/home/ada/photo; chown ada: /home/ada/photo")
	sum := v.device.sh("sha256sum </home/ada/photo")
	for name, get := range map[string]func(to string) *cli{
		"scp":   func(to string) *cli { return v.stock(ctx, "scp", "-q", "kitchen.adit:photo", to) },
		"rsync": func(to string) *cli { return v.rsync(ctx, "kitchen.adit:photo", to) },
		"sftp": func(to string) *cli {
			c := v.stock(ctx, "sftp", "-q", "-b", "-", "kitchen.adit")
			c.Stdin = strings.NewReader("get photo " + to + "\nput " + to + " back\n")
			return c
		},
	} {
		to := filepath.Join(v.dir, "by-"+name)
		get(to).text(t)
		if v.host.sh("sha256sum <"+to) != sum {
			t.Errorf("%s changed the file", name)
		}
	}
	v.stock(ctx, "scp", "-q", filepath.Join(v.dir, "by-scp"), "kitchen.adit:up").text(t)
	if v.device.sh("cat /home/ada/up /home/ada/back | sha256sum") != v.device.sh("cat /home/ada/photo /home/ada/photo | sha256sum") {
		t.Error("what went up differs")
	}
}

func exitCode(err error) int {
	if exit, ok := err.(*exec.ExitError); ok {
		return exit.ExitCode()
	}
	return 0
}

func (v *visitor) rsync(ctx context.Context, from, to string) *cli {
	return &cli{v.host.command(ctx, v.env(), "rsync", "-a", "-e", "ssh -F "+v.home+"/config", from, to)}
}

// forwards are those of each kind.
func (v *visitor) forwards(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 6*time.Minute)
	defer cancel()
	v.device.serve("127.0.0.1:8000", "from the device")
	t.Run("-L through the device", func(t *testing.T) {
		v.keeps("L", "-L", "9101:127.0.0.1:8000", "kitchen.adit")
		v.host.fetches(t, "http://127.0.0.1:9101/", "from the device")
		v.host.signal("L", "TERM")
	})
	t.Run("-L at the gate", func(t *testing.T) {
		v.keeps("G", "-L", "9102:kitchen.adit:8000", "hub")
		v.host.fetches(t, "http://127.0.0.1:9102/", "from the device")
		v.host.signal("G", "TERM")
	})
	t.Run("-D at the gate", func(t *testing.T) {
		v.keeps("D", "-D", "9103", "hub")
		v.host.fetches(t, "http://kitchen.adit:8000/", "from the device", "--socks5-hostname", "127.0.0.1:9103")
		if out, err := v.host.try("curl", "-sS", "-m", "20", "--socks5-hostname", "127.0.0.1:9103", "http://127.0.0.1:8080/healthz"); err == nil {
			t.Errorf("-D reaches the hub's own machine: %s", out)
		}
		v.host.signal("D", "TERM")
	})
	t.Run("-R at the gate", func(t *testing.T) {
		out, err := v.stock(ctx, "ssh", "-N", "-o", "ExitOnForwardFailure=yes", "-R", "9104:127.0.0.1:22", "hub").says()
		if err == nil || !strings.Contains(out, "remote port forwarding failed") {
			t.Errorf("-R towards the hub: %v\n%s", err, out)
		}
	})
	t.Run("the gate's page", func(t *testing.T) {
		if got := v.stock(ctx, "ssh", "hub").text(t); !strings.Contains(got, "kitchen.adit") || !strings.Contains(got, "online") {
			t.Errorf("ssh hub said\n%s", got)
		}
		if out, err := v.stock(ctx, "ssh", "hub", "id").says(); exitCode(err) != 2 || !strings.Contains(out, "runs nothing") {
			t.Errorf("a command at the gate: %v\n%s", err, out)
		}
	})
}

// programs are those that run ssh themselves.
func (v *visitor) programs(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 6*time.Minute)
	defer cancel()
	t.Run("git", func(t *testing.T) {
		v.device.sh(`su ada -c 'git init -q --bare ~/repo.git'`)
		git := func(dir string, args ...string) {
			env := append(v.env(), "GIT_SSH_COMMAND=ssh -F "+v.home+"/config", "GIT_CONFIG_COUNT=2", "GIT_CONFIG_KEY_0=user.name",
				"GIT_CONFIG_VALUE_0=Ada", "GIT_CONFIG_KEY_1=user.email", "GIT_CONFIG_VALUE_1=ada@adit.test")
			(&cli{v.host.command(ctx, env, append([]string{"git", "-C", dir}, args...)...)}).text(t)
		}
		git(v.dir, "clone", "-q", "kitchen.adit:repo.git", "work")
		writeFile(t, filepath.Join(v.dir, "work/file"), "content")
		work := filepath.Join(v.dir, "work")
		git(work, "add", "file")
		git(work, "commit", "-qm", "first")
		git(work, "push", "-q", "origin", "HEAD:main")
		if got := v.device.sh("git -C /home/ada/repo.git -c safe.directory='*' show main:file"); got != "content" {
			t.Errorf("the device's repository has %q", got)
		}
	})
	t.Run("as VS Code does", func(t *testing.T) {
		c := v.stock(ctx, "ssh", "-T", "-D", "9105", "kitchen.adit", "bash")
		c.Stdin = strings.NewReader("echo \"running as $(id -un)\"\nexit 3\n")
		out, err := c.says()
		if !strings.Contains(out, "running as ada") || exitCode(err) != 3 {
			t.Errorf("ssh -T -D host bash: %v\n%s", err, out)
		}
	})
}

// unattended is the classic recipe with only the host changed: a key limited to one target and without a terminal, on
// both hops, brings a broker's port here.
func (v *visitor) unattended(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	v.host.sh("ssh-keygen -q -t ed25519 -N '' -C watcher -f " + v.home + "/watcher")
	v.addKey(`restrict,port-forwarding,permitopen="kitchen.adit:22"`, "watcher")
	line, err := os.ReadFile(v.home + "/watcher.pub")
	if err != nil {
		t.Fatal(err)
	}
	v.device.sh(fmt.Sprintf("echo 'restrict,port-forwarding,permitopen=\"127.0.0.1:1883\" %s' >>~ada/.ssh/authorized_keys", strings.TrimSpace(string(line))))
	v.device.daemon("mosquitto", "/var/log/mosquitto.log", nil, "mosquitto", "-p", "1883")
	config := v.home + "/watcher.config"
	v.host.sh(fmt.Sprintf("sed 's|IdentityFile .*|IdentityFile %s/watcher|' %[1]s/config >%s", v.home, config))
	ssh := func(args ...string) *cli {
		return &cli{v.host.command(ctx, v.env(), append([]string{"ssh", "-F", config}, args...)...)}
	}
	v.host.daemon("watcher", v.dir+"/watcher.log", v.env(), "ssh", "-F", config, "-N", "-o", "ExitOnForwardFailure=yes",
		"-L", "22883:127.0.0.1:1883", "ada@kitchen.adit")
	sub := v.host.command(ctx, nil, "sh", "-c", "until mosquitto_sub -h 127.0.0.1 -p 22883 -t 'test/#' -C 1 2>/dev/null; do sleep .2; done")
	got := make(chan string, 1)
	go func() {
		out, _ := sub.Output()
		got <- string(out)
	}()
	eventually(t, patience, "a message through the forward", func() error {
		v.device.sh("mosquitto_pub -p 1883 -t test/door -m open || true")
		select {
		case text := <-got:
			if text != "open\n" {
				t.Errorf("mosquitto_sub said %q", text)
			}
			return nil
		default:
			return errNotYet
		}
	})
	v.host.signal("watcher", "TERM")
	for what, args := range map[string][]string{
		"another port of the device": {"-W", "127.0.0.1:22", "ada@kitchen.adit"},
		"another target at the gate": {"-W", "kitchen.adit:8000", "hub"},
	} {
		if out, err := ssh(args...).says(); err == nil || !strings.Contains(out, "administratively prohibited") {
			t.Errorf("the limited key reaches %s: %v\n%s", what, err, out)
		}
	}
	if out, _ := ssh("-tt", "ada@kitchen.adit", "tty").says(); strings.Contains(out, "/dev/pts") {
		t.Errorf("the limited key gets a terminal:\n%s", out)
	}
}

// gibibyte copies one of chance down and up again.
func (v *visitor) gibibyte(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	v.device.sh("mkdir -p /mnt/big; mount -t tmpfs -o size=2G,mode=1777 tmpfs /mnt/big")
	v.host.sh("mkdir -p /mnt/big; mount -t tmpfs -o size=2G tmpfs /mnt/big")
	want := v.device.sh("head -c 1G /dev/urandom | tee /mnt/big/file | b2sum; chown ada /mnt/big/file")
	v.copiesGibibyte(ctx, t, "kitchen.adit:/mnt/big/file", "/mnt/big/down")
	if v.host.sh("b2sum </mnt/big/down") != want {
		t.Error("the copy differs")
	}
	v.device.sh("rm /mnt/big/file") // room for the way back
	v.copiesGibibyte(ctx, t, "/mnt/big/down", "kitchen.adit:/mnt/big/up")
	if v.device.sh("b2sum </mnt/big/up") != want {
		t.Error("what went up differs")
	}
	v.device.sh("rm /mnt/big/up")
	v.host.sh("rm /mnt/big/down")
}

func (v *visitor) copiesGibibyte(ctx context.Context, t *testing.T, from, to string) {
	t.Helper()
	began := time.Now()
	v.stock(ctx, "scp", "-q", from, to).text(t)
	took := time.Since(began)
	t.Logf("1 GiB to %s in %v: %.0f MB/s", to, took.Round(time.Millisecond), float64(1<<30)/1e6/took.Seconds())
}

// ending: a restart of the hub ends the snippet's connection within five seconds, and neither that nor kill -9 of ssh
// leaves a process behind.
func (v *visitor) ending(t *testing.T) {
	for name, end := range map[string]func(){
		"the hub restarts": func() { v.stopHub("TERM"); v.startHub() },
		"ssh is killed":    func() { v.host.sh("kill -9 $(pgrep -x ssh)") }, // both: its own and that of its ProxyJump
	} {
		t.Run(name, func(t *testing.T) {
			promised(t, noticedWithin, "kitchen online", v.online("kitchen", true))
			v.keeps("end", "-L", "9106:127.0.0.1:8000", "kitchen.adit")
			v.host.fetches(t, "http://127.0.0.1:9106/", "from the device")
			if found := v.clients(); len(found) < 5 {
				t.Fatalf("too few processes to prove anything: %q", found)
			}
			end()
			promised(t, 5*time.Second, "nothing of it left", func() error {
				if left := v.clients(); len(left) > 0 {
					return fmt.Errorf("left: %q", left)
				}
				return nil
			})
		})
	}
}

// clients are the processes of ssh and of its ProxyCommand on the person's machine.
func (v *visitor) clients() []string {
	out, _ := v.host.try("sh", "-c", `ps -eo pid=,comm= | grep -E ' (ssh|openssl|cat|sh|dash)$' | grep -v "^ *$$ "`)
	return slices.DeleteFunc(strings.Split(out, "\n"), func(line string) bool { return strings.TrimSpace(line) == "" })
}

// Ansible as Debian has it: ControlMaster, pipelining, sftp and a terminal for become.
func TestGateAnsible(t *testing.T) {
	t.Parallel()
	r := newRig(t, "nginx")
	r.startSSHD()
	r.install()
	v := r.visitor("upgrade")
	v.knows("kitchen")
	v.ansible(t)
}

func (v *visitor) ansible(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	writeFile(t, v.dir+"/inventory.ini", "[edge]\nkitchen.adit\n")
	writeFile(t, v.dir+"/file.txt", "by ansible")
	run := func(env []string, args ...string) string {
		env = append(append(v.env(), "ANSIBLE_HOST_KEY_CHECKING=True", "ANSIBLE_SSH_ARGS=-F "+v.home+"/config -C -o ControlMaster=auto -o ControlPersist=60s",
			"ANSIBLE_SSH_CONTROL_PATH_DIR="+v.home+"/cp", "ANSIBLE_NOCOLOR=1"), env...)
		return (&cli{v.host.command(ctx, env, append([]string{"ansible", "-i", v.dir + "/inventory.ini", "edge"}, args...)...)}).text(t)
	}
	if got := run(nil, "-m", "ping"); !strings.Contains(got, `"pong"`) {
		t.Errorf("ansible ping said %s", got)
	}
	run([]string{"ANSIBLE_PIPELINING=True"}, "-m", "command", "-a", "id -un")
	run([]string{"ANSIBLE_SSH_TRANSFER_METHOD=sftp"}, "-m", "copy", "-a", "src="+v.dir+"/file.txt dest=/home/ada/by-ansible")
	run([]string{"ANSIBLE_SSH_TRANSFER_METHOD=scp"}, "-m", "copy", "-a", "src="+v.dir+"/file.txt dest=/home/ada/by-scp")
	run([]string{"ANSIBLE_SSH_USETTY=True"}, "-m", "shell", "-a", "hostname")
	if got := v.device.sh("cat /home/ada/by-ansible /home/ada/by-scp"); got != "by ansibleby ansible" {
		t.Errorf("ansible copied %q", got)
	}
}

// ssh-audit finds no algorithm to strike out, and that key exchange is strict.
func TestGateAudit(t *testing.T) {
	t.Parallel()
	r := newRig(t, "nginx", "ADIT_SSH_ADDR=127.0.0.1:2222")
	out, _ := r.host.try("ssh-audit", "-j", "-p", "2222", "127.0.0.1") // its status counts warnings too
	var report struct {
		Banner struct{ Raw string }
		Kex    []struct{ Algorithm string }
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("ssh-audit: %v\n%s", err, out)
	}
	text, _ := r.host.try("ssh-audit", "-l", "fail", "-n", "-p", "2222", "127.0.0.1")
	if strings.Contains(text, "[fail]") {
		t.Errorf("ssh-audit finds failures:\n%s", text)
	}
	if !strings.Contains(out, "kex-strict-s-v00@openssh.com") {
		t.Errorf("no strict key exchange is offered:\n%s", out)
	}
}
