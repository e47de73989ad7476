//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tools are the programs that the tests run, and the Debian package of each.
var tools = map[string]string{
	"bash": "bash", "unshare": "util-linux", "nsenter": "util-linux", "ip": "iproute2", "iptables": "iptables",
	"ssh": "openssh-client", "scp": "openssh-client", "sshd": "openssh-server", "caddy": "caddy", "nginx": "nginx-light",
	"mosquitto": "mosquitto", "mosquitto_sub": "mosquitto-clients", "ansible": "ansible-core", "ssh-audit": "ssh-audit",
	"openssl": "openssl", "git": "git", "ps": "procps", "curl": "curl", "rsync": "rsync", "chromium": "chromium", "node": "nodejs (20 or newer)",
}

func TestMain(m *testing.M) {
	if os.Getenv("ADIT_E2E") == "" {
		fmt.Println("e2e: NOT RUN. It needs root, network namespaces, sshd, Caddy, nginx and Chromium: `make test` runs it.")
		os.Exit(0)
	}
	if missing := missing(); len(missing) > 0 {
		fmt.Printf("e2e cannot run. Missing: %s\n", strings.Join(missing, ", "))
		os.Exit(1)
	}
	code := m.Run()
	if left := children(); left != "" {
		fmt.Printf("e2e: processes are left: %s\n", left)
		code = 1
	}
	os.Exit(code)
}

// children waits until this process has none, and names those that stay.
func children() (left string) {
	for late := time.Now().Add(patience); time.Now().Before(late); passes(20 * time.Millisecond) {
		left = ""
		lists, _ := filepath.Glob("/proc/self/task/*/children")
		for _, list := range lists {
			pids, _ := os.ReadFile(list) // the thread may have ended
			for _, pid := range strings.Fields(string(pids)) {
				line, _ := os.ReadFile("/proc/" + pid + "/cmdline")
				left += pid + " " + strings.ReplaceAll(string(line), "\x00", " ") + "\n"
			}
		}
		if left == "" {
			return ""
		}
	}
	return left
}

func missing() []string {
	var all []string
	if os.Geteuid() != 0 {
		all = append(all, "root (for network namespaces)")
	}
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	for tool, pkg := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			all = append(all, fmt.Sprintf("%s (package %s)", tool, pkg))
		}
	}
	if _, err := os.Stat("/usr/lib/python3/dist-packages/paho/mqtt"); err != nil {
		all = append(all, "paho.mqtt for Debian's python3 (package python3-paho-mqtt)")
	}
	for _, file := range []string{"adit-hub", "adit", "adit-demo", "caddy", "../e2e/node_modules/axe-core", "../e2e/node_modules/mqtt",
		"../e2e/node_modules/standardwebhooks"} {
		if _, err := os.Stat(built(file)); err != nil {
			all = append(all, file+" (`make test` builds it)")
		}
	}
	return all
}

// built is the path of a program that make has put into bin.
func built(name string) string {
	path, err := filepath.Abs(filepath.Join("../bin", name))
	if err != nil {
		panic(err)
	}
	return path
}
