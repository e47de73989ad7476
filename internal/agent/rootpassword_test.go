//go:build linux

package agent

import (
	"context"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

// ownEtc names the directory that stands for /etc in a process of a test's own; see inOwnEtc.
const ownEtc = "ADIT_TEST_ETC"

// inOwnEtc runs the rest of a test in a mount namespace where /etc is a copy: what sets root's password must never see the
// machine's own. It is true in the process where that is so.
func inOwnEtc(t *testing.T) bool {
	t.Helper()
	if dir := os.Getenv(ownEtc); dir != "" {
		for _, m := range []struct {
			from, to string
			flags    uintptr
		}{{"", "/", syscall.MS_PRIVATE | syscall.MS_REC}, {dir, "/etc", syscall.MS_BIND}} {
			if err := syscall.Mount(m.from, m.to, "", m.flags, ""); err != nil {
				t.Fatal(err)
			}
		}
		if !exists("/etc/only-a-copy") {
			t.Fatal("/etc is still the machine's own")
		}
		return true
	}
	if os.Geteuid() != 0 {
		t.Log("without root there is no namespace for this, and the agent sets nothing")
		if _, err := newHubSide(t).call(wire.RootPassword{Step: wire.RootPrepare}); wire.CodeOf(err) != wire.Forbidden {
			t.Errorf("a plain user's agent: %v", err)
		}
		return false
	}
	before := shadowOfRoot(t)
	dir := filepath.Join(t.TempDir(), "etc")
	if out, err := exec.Command("cp", "-a", "/etc", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "only-a-copy"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), ownEtc+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	if shadowOfRoot(t) != before {
		t.Fatal("the machine's own root password was changed")
	}
	return false
}

func shadowOfRoot(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("/etc/shadow")
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

// hubSide is a hub's key, and a device that its owner lets the hub set root's password on.
type hubSide struct {
	t   *testing.T
	key *ecdh.PrivateKey
	d   *device
}

func newHubSide(t *testing.T) hubSide {
	t.Helper()
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Device: testDevice, Policy: DefaultPolicy()}
	c.Policy.RootPassword = true
	return hubSide{t, key, &device{log: slog.New(slog.DiscardHandler), config: c}}
}

func (h hubSide) call(ask wire.RootPassword) (any, error) {
	h.t.Helper()
	params, err := json.Marshal(ask)
	if err != nil {
		h.t.Fatal(err)
	}
	return h.d.Call(h.t.Context(), wire.MethodRootPassword, params)
}

// prepare gives the id of a prepared password, and what is inside.
func (h hubSide) prepare() (id, password string) {
	h.t.Helper()
	got, err := h.call(wire.RootPassword{Step: wire.RootPrepare, Key: wire.SealingKey(h.key)})
	if err != nil {
		h.t.Fatal(err)
	}
	made := got.(wire.RootPrepared)
	raw, err := base64.RawURLEncoding.DecodeString(made.Sealed)
	if err != nil {
		h.t.Fatal(err)
	}
	key, err := hpke.NewDHKEMPrivateKey(h.key)
	if err != nil {
		h.t.Fatal(err)
	}
	plain, err := hpke.Open(key, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(wire.RootPasswordInfo(testDevice, made.ID)), raw)
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := hpke.Open(key, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(wire.RootPasswordInfo("dev_other", made.ID)), raw); err == nil {
		h.t.Error("it opens as another device's too")
	}
	return made.ID, string(plain)
}

// The real chpasswd sets what the hub was told before, and by nothing else does root's account open.
func TestRootPassword(t *testing.T) {
	if !inOwnEtc(t) {
		return
	}
	h := newHubSide(t)
	before := shadowOfRoot(t)
	earlier, _ := h.prepare()
	id, password := h.prepare()
	if shadowOfRoot(t) != before {
		t.Error("preparing changed it")
	}
	if _, err := h.call(wire.RootPassword{Step: wire.RootSet, ID: earlier}); wire.CodeOf(err) != wire.NotFound || shadowOfRoot(t) != before {
		t.Errorf("one that another took the place of: %v", err)
	}
	if _, err := h.call(wire.RootPassword{Step: wire.RootSet, ID: id}); err != nil {
		t.Fatal(err)
	}
	set := shadowOfRoot(t)
	if set == before {
		t.Fatal("root's line in shadow(5) is as it was")
	}
	if strings.Contains(set, password) {
		t.Error("shadow(5) has the password itself")
	}
	if err := authenticates(t.Context(), password); err != nil {
		t.Error(err)
	}
	if err := authenticates(t.Context(), password+"x"); wire.CodeOf(err) != wire.Internal {
		t.Errorf("a wrong password: %v", err)
	}
	if _, err := h.call(wire.RootPassword{Step: wire.RootSet, ID: id}); wire.CodeOf(err) != wire.NotFound || shadowOfRoot(t) != set {
		t.Errorf("a second time: %v", err)
	}
}

// Where chpasswd cannot write, nothing is changed and the hub is told so.
func TestRootPasswordThatCannotBeSet(t *testing.T) {
	if !inOwnEtc(t) {
		return
	}
	h := newHubSide(t)
	id, _ := h.prepare()
	before := shadowOfRoot(t)
	if err := syscall.Mount("", "/etc", "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	_, err := h.call(wire.RootPassword{Step: wire.RootSet, ID: id})
	if wire.CodeOf(err) != wire.Conflict || !strings.Contains(err.Error(), "nothing was changed") || shadowOfRoot(t) != before {
		t.Errorf("%v", err)
	}
}

// A chpasswd that fails when it has done its work, as one whose PAM has more to do, has set the password all the same. And one
// that did not get to say anything is no proof that nothing was changed: the hub would forget what logs in.
func TestRootPasswordOfAFailingChpasswd(t *testing.T) {
	if !inOwnEtc(t) {
		return
	}
	h := newHubSide(t)
	script := filepath.Join(t.TempDir(), "chpasswd")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"+systemProgram("chpasswd")+"\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	id, password := h.prepare()
	if err := h.d.rootPassword.set(t.Context(), script, id); err != nil {
		t.Errorf("set, with a failure: %v", err)
	}
	if err := authenticates(t.Context(), password); err != nil {
		t.Error(err)
	}
	id, _ = h.prepare()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.d.rootPassword.set(ctx, script, id); wire.CodeOf(err) != wire.Internal {
		t.Errorf("cut off: %v", err)
	}
}

// Nothing is done on a device whose owner did not switch it on, nor with a key that seals nothing, nor late.
func TestRootPasswordIsRefused(t *testing.T) {
	if !inOwnEtc(t) {
		return
	}
	h := newHubSide(t)
	before := shadowOfRoot(t)
	for name, test := range map[string]struct {
		ask  wire.RootPassword
		code wire.Code
	}{
		"no key":       {wire.RootPassword{Step: wire.RootPrepare}, wire.Invalid},
		"a short key":  {wire.RootPassword{Step: wire.RootPrepare, Key: "AAAA"}, wire.Invalid},
		"the zero key": {wire.RootPassword{Step: wire.RootPrepare, Key: strings.Repeat("A", 43)}, wire.Invalid},
		"no step":      {wire.RootPassword{}, wire.Invalid},
		"nothing made": {wire.RootPassword{Step: wire.RootSet}, wire.NotFound},
	} {
		if got, err := h.call(test.ask); wire.CodeOf(err) != test.code {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	id, _ := h.prepare()
	h.d.rootPassword.at = time.Now().Add(-preparedFor)
	if _, err := h.call(wire.RootPassword{Step: wire.RootSet, ID: id}); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("a late one: %v", err)
	}
	h.d.config.Policy = DefaultPolicy()
	for _, step := range []string{wire.RootPrepare, wire.RootSet} {
		if _, err := h.call(wire.RootPassword{Step: step, Key: wire.SealingKey(h.key)}); wire.CodeOf(err) != wire.Forbidden || !strings.Contains(err.Error(), "policy.root_password") {
			t.Errorf("%s on a device that does not allow it: %v", step, err)
		}
	}
	if shadowOfRoot(t) != before {
		t.Error("root's password was changed")
	}
}

// Passwords have 80 bits or more, and no two characters that look alike.
func TestNewPassword(t *testing.T) {
	t.Parallel()
	count := map[rune]int{}
	for range 2000 {
		p := newPassword()
		letters := strings.ReplaceAll(p, "-", "")
		if bits := float64(len(letters)) * math.Log2(float64(len(passwordAlphabet))); bits < 80 || len(p) != 23 || strings.Trim(letters, passwordAlphabet) != "" {
			t.Fatalf("%q has %v bits", p, bits)
		}
		for _, r := range letters {
			count[r]++
		}
	}
	mean := 2000 * 20 / len(passwordAlphabet)
	for _, r := range passwordAlphabet {
		if n := count[r]; n < mean*8/10 || n > mean*12/10 {
			t.Errorf("%c came %d times, others %d", r, n, mean)
		}
	}
}
