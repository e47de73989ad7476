package sshdtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const sbin = "/usr/sbin/" // not in everybody's PATH

// packages name the Debian package of each program that tests run beyond what every machine has.
var packages = map[string]string{
	"sshd": "openssh-server", "ssh": "openssh-client", "scp": "openssh-client", "sftp": "openssh-client", "rsync": "rsync",
	"ssh-keygen": "openssh-client", "busybox": "busybox", "dash": "dash", "curl": "curl", "wget": "wget",
	"setpriv": "util-linux", "unshare": "util-linux", "dropbear": "dropbear-bin", "dropbearkey": "dropbear-bin",
	"mount": "mount", "mkfifo": "coreutils", "faketime": "faketime",
	"mosquitto": "mosquitto", "mosquitto_passwd": "mosquitto", "mosquitto_pub": "mosquitto-clients", "mosquitto_sub": "mosquitto-clients",
}

// NeedRoot skips a test that only root can run, and says so. In CI it fails instead.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		lacking(t, "root")
	}
}

// NeedTools skips a test that cannot run without programs that are not installed here, and says what to install. It
// fails instead in CI and as root, where everything must be there.
func NeedTools(t testing.TB, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil && !exists(sbin+program) {
			lacking(t, program+" (apt-get install "+packages[program]+")")
		}
	}
}

// NeedLogin skips a test that logs in as the account that runs it, where that account takes no logins, as nobody does.
// As NeedTools it fails instead where every test must run.
func NeedLogin(t testing.TB) {
	t.Helper()
	data, err := os.ReadFile("/etc/passwd")
	must(t, err)
	uid := strconv.Itoa(os.Geteuid())
	for line := range strings.Lines(string(data)) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) < 7 || fields[2] != uid {
			continue
		}
		if shell := filepath.Base(fields[6]); shell == "nologin" || shell == "false" {
			break
		}
		return
	}
	lacking(t, "an account with a login shell")
}

func lacking(t testing.TB, what string) {
	t.Helper()
	if Required() {
		t.Fatalf("this test needs %s", what)
	}
	t.Skipf("NOT RUN: this test needs %s; CI runs it", what)
}

// Required reports whether every test must run here: in CI, when the end-to-end tests are asked for, and as root.
func Required() bool {
	return os.Getenv("ADIT_E2E") != "" || os.Getenv("CI") != "" || os.Geteuid() == 0
}
