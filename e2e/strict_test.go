//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// revokedWithin is how soon what a right carried is over when it is taken away, as the design promises.
const revokedWithin = 2 * time.Second

// Somebody with a strict grant: stock OpenSSH works through the hub, which ends SSH, into the account of the grant and no other; past the
// hub nothing leads; and when the grant goes, what runs ends and says why: for somebody without a grant there is no such device.
func TestStrict(t *testing.T) {
	t.Parallel()
	r := newRig(t, "nginx")
	r.startSSHD()
	r.install()
	grant := r.becomeEve()
	v := r.visitor("upgrade")
	v.host.sh("echo 'kitchen.adit " + v.gate.HeldHostKey + "' >>" + v.home + "/known_hosts")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	v.throughTheHub(ctx, t)
	v.notPastTheHub(ctx, t)
	v.revoked(t, grant)
}

// becomeEve makes an operator with a strict grant of one account, whose token the rig has from then on. It gives the grant's id.
func (r *rig) becomeEve() string {
	r.t.Helper()
	r.hubCommand("a long password of eve's", "user", "create", "--email", "eve@example.com", "--role", "operator", "--password-stdin", "--json")
	made := func(result any, args ...string) {
		if err := json.Unmarshal([]byte(r.hubCommand("", append(args, "--json")...)), result); err != nil {
			r.t.Fatal(err)
		}
	}
	var grant struct {
		ID     string
		Strict bool
	}
	made(&grant, "grant", "add", "--user", "eve", "--device", "kitchen", "--login", login, "--strict")
	if !grant.Strict {
		r.t.Error("the grant is not strict")
	}
	var token struct{ Token string }
	made(&token, "token", "create", "--user", "eve")
	r.token = token.Token
	eventually(r.t, patience, "eve sees the device", func() error { _, err := r.look("kitchen"); return err })
	return grant.ID
}

func (v *visitor) throughTheHub(ctx context.Context, t *testing.T) {
	if got := v.stock(ctx, "ssh", "kitchen.adit", "hostname; id -un").text(t); got != "kitchen\nada\n" {
		t.Errorf("ssh said %q", got)
	}
	err := v.stock(ctx, "ssh", "kitchen.adit", "exit 7").Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 7 {
		t.Errorf("exit 7: %v", err)
	}
	if got := v.stock(ctx, "ssh", "-tt", "kitchen.adit", "tty").text(t); !strings.HasPrefix(got, "/dev/pts/") {
		t.Errorf("a terminal: %q", got)
	}
	writeFile(t, filepath.Join(v.home, "up"), "there and back")
	v.stock(ctx, "scp", "-q", v.home+"/up", "kitchen.adit:file").text(t)
	v.stock(ctx, "scp", "-q", "kitchen.adit:file", v.home+"/down").text(t)
	if got, err := os.ReadFile(filepath.Join(v.home, "down")); string(got) != "there and back" {
		t.Errorf("scp brought %q, %v", got, err)
	}
	if out, err := v.stock(ctx, "ssh", "-l", "root", "kitchen.adit", "true").says(); err == nil || !strings.Contains(out, "forbidden") {
		t.Errorf("as root: %v\n%s", err, out)
	}
}

func (v *visitor) notPastTheHub(ctx context.Context, t *testing.T) {
	v.login()
	for _, args := range [][]string{{"ssh", login + "@kitchen", "true"}, {"proxy", "kitchen"}} {
		if out, err := v.adit(ctx, args...).says(); err == nil || !strings.Contains(out, "through the hub only") {
			t.Errorf("adit %v: %v\n%s", args, err, out)
		}
	}
}

func (v *visitor) revoked(t *testing.T, grant string) {
	log := filepath.Join(v.dir, "stays.log")
	v.host.daemon("stays", log, v.env(), "ssh", "-F", v.home+"/config", "kitchen.adit", "echo it runs; exec sleep 1000")
	said := func(what string) func() error {
		return func() error {
			if text, err := os.ReadFile(log); err != nil || !strings.Contains(string(text), what) {
				return errorText(string(text))
			}
			return nil
		}
	}
	eventually(t, patience, "a command that stays", said("it runs"))
	v.hubCommand("", "grant", "remove", grant)
	took := promised(t, revokedWithin, "it ended, and says why", said("adit: not_found"))
	t.Logf("what the grant carried was over after %v", took)
	eventually(t, patience, "ssh is gone", func() error {
		if out, err := v.host.try("bash", "-c", "! kill -0 $(cat /run/stays.pid) 2>&1"); err != nil {
			return errorText(out)
		}
		return nil
	})
}
