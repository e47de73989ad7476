package agent

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// policy.root = false closes root by whatever name it has, at the built-in SSH server and at sshd's helper, which runs
// as nobody.
func TestRootByAnotherName(t *testing.T) {
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	if !withFiles(t, map[string]string{
		"/etc/passwd": string(passwd) + "toor:x:0:0:root:/root:/bin/sh\nadmin:x:00:0::/root:/bin/sh\nplain:x:4711:4711::/:/bin/sh\n",
	}) {
		return
	}
	p, c, _ := installed(t)
	c.Policy.Root, c.Policy.Targets = false, []string{"tcp:*:*"} // with no limit on forwards
	if err := writePrincipals(p, c); err != nil {
		t.Fatal(err)
	}
	program := programCopy(t, p)
	for login, want := range map[string]string{
		"root": "", "toor": "", "admin": "", "plain": testDevice + "/plain\n", "absent": testDevice + "/absent\n",
	} {
		if got := c.Policy.AllowsLogin(login); got != (want != "") {
			t.Errorf("policy: %s allowed: %v", login, got)
		}
		cmd := exec.CommandContext(t.Context(), program, asAdit, "principals", "--dir", p.Dir, login)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		cmd.Dir, cmd.Env = "/", []string{"PATH=/bin"}
		if out, err := cmd.Output(); err != nil || string(out) != want {
			t.Errorf("helper: %s: %q %v", login, out, err)
		}
	}
	c.Policy.Root = true
	if !c.Policy.AllowsLogin("toor") {
		t.Error("root was allowed, but not by this name")
	}
}
