package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/aditdev/adit/internal/agent"
)

// asAgent tells the test binary to be the agent of the directory that it names, in a mount namespace where /etc is the
// directory below etcOf it: what sets root's password must never see the machine's own.
const asAgent = "ADIT_TEST_AS_AGENT"

func etcOf(p agent.Paths) string { return filepath.Join(filepath.Dir(p.Dir), "etc") }

// agentStandIn runs an agent where a test asks for it.
func agentStandIn() (status int, asked bool) {
	dir := os.Getenv(asAgent)
	if dir == "" {
		return 0, false
	}
	p := agent.PathsIn(dir)
	err := syscall.Mount("", "/", "", syscall.MS_PRIVATE|syscall.MS_REC, "")
	if err == nil {
		err = syscall.Mount(etcOf(p), "/etc", "", syscall.MS_BIND, "")
	}
	if err == nil {
		_, err = os.Stat("/etc/only-a-copy")
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		err = agent.Run(ctx, p, os.Stderr)
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

// apart runs a device's agent in a process of its own that has an /etc of its own, until the test ends.
func apart(t *testing.T, p agent.Paths) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", "/etc", etcOf(p)).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(etcOf(p), "only-a-copy"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asAgent+"="+p.Dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	said := &out{}
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the agent ended with %v: %s", err, said)
		}
	})
}

func rootLine(t *testing.T, etc string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(etc, "shadow"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "root:") {
			return line
		}
	}
	return ""
}

// revealed is what a person is shown.
type revealed []struct{ Password, State string }

// An install code asks for a password of root: the device gets one when it is first online, by its real chpasswd, and the
// hub shows it to who says their password again. Setting another takes its place.
func TestRootPasswordFromTheFirstDay(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	must(t, s.environ, "correct horse battery\n", "user", "create", "--email", "admin@example.com", "--role", "admin", "--password-stdin")
	admin := token(t, s.environ, "admin@example.com")
	made := s.code(map[string]any{"name": "kitchen", "root_password": true})
	if !strings.Contains(made.command, " ADIT_ROOT_PASSWORD=yes") {
		t.Errorf("the line does not let the hub: %s", made.command)
	}
	if os.Geteuid() != 0 {
		t.Log("without root there is no namespace for the rest of this")
		return
	}
	machines := rootLine(t, "/etc")
	p := agent.PathsIn(filepath.Join(t.TempDir(), "adit"))
	if _, _, err := agent.Enroll(t.Context(), p, agent.Enrolment{Hub: s.localhost(), Code: made.code, HubKey: made.fingerprint, RootPassword: true}); err != nil {
		t.Fatal(err)
	}
	apart(t, p)
	within(t, patience, "a first password", func() bool { return s.rootState(admin) == "active" })
	first := rootLine(t, etcOf(p))
	if first == machines {
		t.Error("the device's shadow(5) is as it was")
	}
	path := "/api/v1/devices/kitchen/root-password"
	for _, ask := range []struct {
		body   map[string]any
		status int
	}{
		{map[string]any{"reason": "test"}, 403}, {map[string]any{"reason": "test", "password": "wrong"}, 403},
		{map[string]any{"reason": " ", "password": "correct horse battery"}, 400},
	} {
		if status := s.call(admin, "POST", path+"/reveal", ask.body, nil); status != ask.status {
			t.Errorf("%v: %d", ask.body, status)
		}
	}
	before := s.reveal(admin)
	if status := s.call(admin, "POST", path, nil, nil); status != 200 {
		t.Fatal(status)
	}
	after := s.reveal(admin)
	if len(before) != 1 || len(after) != 1 || before[0].Password == after[0].Password || after[0].State != "active" {
		t.Errorf("%v, then %v", before, after)
	}
	if now := rootLine(t, etcOf(p)); now == first || rootLine(t, "/etc") != machines {
		t.Errorf("the device has %q; the machine of this test is to have what it had", now)
	}
	if !s.opensRoot(p, after[0].Password) || s.opensRoot(p, before[0].Password) {
		t.Error("it is not the last password that opens root's account")
	}
}

func (s *site) rootState(token string) string {
	s.t.Helper()
	var d struct {
		RootPassword struct{ State string } `json:"root_password"`
	}
	s.call(token, "GET", "/api/v1/devices/kitchen", nil, &d)
	return d.RootPassword.State
}

func (s *site) reveal(token string) (list revealed) {
	s.t.Helper()
	body := map[string]any{"reason": "the console asks for it", "password": "correct horse battery"}
	if status := s.call(token, "POST", "/api/v1/devices/kitchen/root-password/reveal", body, &list); status != 200 {
		s.t.Fatal(status)
	}
	return list
}

// opensRoot tries a password in a device's own /etc.
func (s *site) opensRoot(p agent.Paths, password string) bool {
	s.t.Helper()
	cmd := exec.Command("unshare", "--mount", "sh", "-c", `mount --bind "$0" /etc && exec /usr/sbin/unix_chkpwd root nullok`, etcOf(p))
	cmd.Stdin = strings.NewReader(password + "\x00")
	return cmd.Run() == nil
}
