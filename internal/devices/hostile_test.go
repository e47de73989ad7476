package devices_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/devices"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// A device that says something new all the time fills neither the log of events nor the disk.
func TestReportsAreLimited(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id := r.enroll(machine(r.code(devices.CodeRequest{}).Code)).DeviceID
	refused := 0
	for n := range 60 {
		report := fmt.Sprintf(`{"facts":{"os":"Debian %d"},"ssh_host_keys":[]}`, n)
		if err := r.Report(t.Context(), id, []byte(report)); wire.CodeOf(err) == wire.RateLimited && err != nil {
			refused++
		} else {
			r.must(err)
		}
	}
	if n := len(r.logged(events.DeviceChanged)); n > 31 || refused == 0 {
		t.Errorf("%d events, %d reports refused", n, refused)
	}
	r.clock.Store(int64(time.Minute + time.Second))
	r.must(r.Report(t.Context(), id, []byte(`{"facts":{"os":"Debian"},"ssh_host_keys":[]}`)))
}

// Strangers who read the script do not crowd out the steps of the machine that a person waits for.
func TestStrangersDoNotCrowdOutSteps(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	made := r.code(devices.CodeRequest{})
	for range 600 {
		r.ScriptRead(context.Background(), "", "192.0.2.1", "curl")
	}
	r.enroll(machine(made.Code))
	steps, err := r.Store.Read().InstallSteps(t.Context(), made.Row.ID)
	r.must(err)
	if last := steps[len(steps)-1].InstallStep.Step; last != "enrolled" || len(steps) > 200 {
		t.Errorf("%d steps, the last is %s", len(steps), last)
	}
}

// Strangers who read the script over and over do not keep the database's one writer busy.
func TestScriptReadsStayOutOfTheWriter(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	hash := auth.Hash(r.code(devices.CodeRequest{}).Code)
	for range 100 {
		r.ScriptRead(t.Context(), hash, "192.0.2.1", "curl")
	}
	r.must(r.Store.Write(t.Context(), func(*store.Queries) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r.ScriptRead(ctx, hash, "192.0.2.1", "curl")
		r.ScriptRead(ctx, "", "192.0.2.1", "curl")
		r.ScriptRead(ctx, auth.Hash("no code"), "192.0.2.1", "curl")
		r.BinaryRead(ctx, hash, "192.0.2.1", "curl")
		return ctx.Err()
	}))
}

// A code whose steps are full is marked all the same when it stands in a URL.
func TestFullCodeIsMarkedInURL(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	made := r.code(devices.CodeRequest{})
	for range 100 {
		r.ScriptRead(t.Context(), "", "192.0.2.1", "curl")
	}
	r.ScriptRead(t.Context(), auth.Hash(made.Code), "192.0.2.1", "curl")
	if e := r.enroll(machine(made.Code)); e.Status != "pending" {
		t.Errorf("the code stood in a URL, and the device is %s", e.Status)
	}
}

// Rule 11: what is denied wholly is in no list, known_hosts too.
func TestDeniedDeviceIsNoKnownHost(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := machine(r.code(devices.CodeRequest{}).Code)
	c.SSHHostKeys = []string{sshKey()}
	id := r.enroll(c).DeviceID
	accounts, err := auth.NewAccounts(r.Store, r.Gate)
	r.must(err)
	user, err := accounts.CreateUser(t.Context(), auth.NewUser{Email: "op@example.com", Role: access.Operator})
	r.must(err)
	p := &auth.Principal{User: user}
	known := func() string {
		text, err := r.KnownHosts(t.Context(), p, "")
		r.must(err)
		return text
	}
	_, err = r.AddGrant(t.Context(), "test", devices.Grant{User: user, Logins: []string{"*"}})
	r.must(err)
	if !strings.Contains(known(), id) {
		t.Error("a granted device is missing")
	}
	_, err = r.AddGrant(t.Context(), "test", devices.Grant{User: user, Device: id, Targets: []string{"*"}, Deny: true})
	r.must(err)
	if text := known(); text != "" {
		t.Errorf("a denied device is told: %s", text)
	}
}

// A grant's pattern is kept in the form in which targets come.
func TestPatternsAreCanonical(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for given, want := range map[string]string{
		"tcp:[::ffff:10.0.0.1]:*": "tcp:10.0.0.1:*", "tcp:NAS.lan:*": "tcp:nas.lan:*", "tcp:*:080": "tcp:*:80",
		"tcp:[0:0::1]:*": "tcp:[::1]:*", "tcp:[::ffff:10.0.0.1]:80": "tcp:10.0.0.1:80", "tcp:*": "tcp:*", "*": "*",
	} {
		row, err := r.AddGrant(t.Context(), "test", devices.Grant{User: r.owner.User, Targets: []string{given}, Deny: true})
		if err != nil || row.Targets != `["`+want+`"]` {
			t.Errorf("%s became %s, %v", given, row.Targets, err)
		}
	}
	for _, bad := range []string{"tcp:127.1:*", "tcp:*:x", "tcp:a*:80", "tcp:*:*:80", "ssh*", "tcp:"} {
		if _, err := r.AddGrant(t.Context(), "test", devices.Grant{User: r.owner.User, Targets: []string{bad}}); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// A code that takes a device's place and was read in a URL puts nobody out: its approval would come too late.
func TestReplacingByURLChangesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	old := r.enroll(machine(r.code(devices.CodeRequest{Name: "kitchen"}).Code))
	before, err := r.Store.Read().GetDevice(t.Context(), old.DeviceID)
	r.must(err)
	yes, no := true, false
	if _, err := r.CreateCode(t.Context(), r.owner, devices.CodeRequest{Replaces: "kitchen", Approval: &yes}); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("with approval: %v", err)
	}
	code := r.code(devices.CodeRequest{Replaces: "kitchen"}).Code
	r.ScriptRead(t.Context(), auth.Hash(code), "192.0.2.1", "curl")
	thief := machine(code)
	if _, err := r.Enroll(t.Context(), thief); wire.CodeOf(err) != wire.Forbidden {
		t.Errorf("a code from a URL: %v", err)
	}
	after, err := r.Store.Read().GetDevice(t.Context(), old.DeviceID)
	if err != nil || after.PublicKey != before.PublicKey || after.Status != "active" {
		t.Errorf("kitchen is %+v, %v", after, err)
	}
	if _, dropped := r.dropped.Load(old.DeviceID); dropped {
		t.Error("kitchen was put out")
	}
	code = r.code(devices.CodeRequest{Replaces: "kitchen", Approval: &no}).Code
	r.ScriptRead(t.Context(), auth.Hash(code), "192.0.2.1", "curl")
	if e := r.enroll(machine(code)); e.DeviceID != old.DeviceID || e.Status != "active" {
		t.Errorf("with approval switched off: %+v", e.Enrolled)
	}
}
