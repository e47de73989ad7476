//go:build linux

package e2e

import (
	"context"
	"os/exec"
	"testing"
)

const login = "ada" // a person's account on the device

// startSSHD gives the device its own sshd, as Debian ships it, and a user with a shell.
func (r *rig) startSSHD() {
	r.t.Helper()
	r.device.sh("useradd -m -s /bin/bash " + login + "; ssh-keygen -A; rm -f /etc/ssh/sshd_config.d/*; /usr/sbin/sshd")
}

// installCode is an answer of POST /api/v1/install-codes.
type installCode struct {
	ID             string
	Code           string
	Command        string
	CommandShort   string `json:"command_short"`
	CommandCheck   string `json:"command_check"`
	CommandOpenssh string `json:"command_openssh"`
	CommandOpenssl string `json:"command_openssl"`
}

// pasteLine makes an install code and runs the line on the device, as a person who pastes it does. It gives what the
// script said.
func (r *rig) pasteLine(request ask) string {
	r.t.Helper()
	var code installCode
	if err := r.call("POST", "/api/v1/install-codes", request, &code); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	cmd := r.device.command(ctx, nil, "bash", "-c", code.Command)
	out, err := cmd.CombinedOutput()
	r.t.Logf("%s\n%s", "the pasted line said:", out)
	if err != nil {
		r.t.Fatalf("the pasted line: %v", err)
	}
	return string(out)
}

// cut makes the device's cable dead, both ways, without a word to either side; heal mends it.
func (r *rig) cut() {
	r.t.Helper()
	r.device.sh("iptables -I INPUT -i eth0 -j DROP; iptables -I OUTPUT -o eth0 -j DROP")
}

func (r *rig) heal() {
	r.t.Helper()
	r.device.sh("iptables -D INPUT -i eth0 -j DROP; iptables -D OUTPUT -o eth0 -j DROP")
}

// cutBrowser kills the browser's connections, and lets none through until mended.
func (r *rig) cutBrowser() (mend func()) {
	r.t.Helper()
	const rule = " INPUT -i lo -d 127.0.0.2 -p tcp --dport 443 -j REJECT --reject-with tcp-reset"
	r.host.sh("iptables -I" + rule)
	return func() { r.host.sh("iptables -D" + rule) }
}

// start runs a command in the background and gives a channel with its result.
func start(t testing.TB, cmd *exec.Cmd) <-chan error {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	return done
}
