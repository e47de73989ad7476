package devices_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/devices"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/hubkeys"
	"github.com/aditdev/adit/internal/leaktest"
	"github.com/aditdev/adit/internal/sshsig"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/wire"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

type rig struct {
	*devices.Registry
	t       *testing.T
	owner   *auth.Principal
	clock   atomic.Int64 // added to the real time
	dropped sync.Map     // device → cause
	ring    hubkeys.Ring // of the hub
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r, began := &rig{t: t}, time.Now()
	// It moves by clock alone, and a little at each look: what comes back with time must not come back because the machine is slow.
	now := func() time.Time { return began.Add(time.Duration(r.clock.Add(int64(time.Microsecond)))) }
	st, err := store.Open(t.Context(), storetest.Dir(t))
	r.must(err)
	t.Cleanup(func() { _ = st.Close() })
	gate, err := auth.NewGate(t.Context(), st, now)
	r.must(err)
	accounts, err := auth.NewAccounts(st, gate)
	r.must(err)
	_, key, err := ed25519.GenerateKey(nil)
	r.must(err)
	r.ring = hubkeys.Ring{Current: key}
	r.Registry = devices.New(devices.Options{Store: st, Gate: gate, Events: events.New(st, now), Now: now,
		Log: slog.New(slog.DiscardHandler), Keys: func() hubkeys.Ring { return r.ring }, UserCA: "ssh-ed25519 AAAA adit-user-ca", GateKey: "ssh-ed25519 BBBB",
		URLs: []*url.URL{{Scheme: "https", Host: "adit.example.com"}, {Scheme: "https", Host: "two.example.com"}},
		Drop: func(device string, cause error) { r.dropped.Store(device, cause) }})
	owner, err := accounts.CreateUser(t.Context(), auth.NewUser{Email: "owner@example.com", Role: access.Owner})
	r.must(err)
	r.owner = &auth.Principal{User: owner}
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) code(req devices.CodeRequest) devices.NewCode {
	r.t.Helper()
	made, err := r.CreateCode(r.t.Context(), r.owner, req)
	r.must(err)
	return made
}

func newDeviceKey() string {
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err)
	}
	return wire.EncodeKey(public)
}

func sshKey() string {
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		panic(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

func machine(code string) devices.Candidate {
	return devices.Candidate{Code: code, PublicKey: newDeviceKey(), Hostname: "Kitchen.local", Address: "192.0.2.7", Program: "curl/8.9"}
}

func (r *rig) enroll(c devices.Candidate) devices.Enrolled {
	r.t.Helper()
	e, err := r.Enroll(r.t.Context(), c)
	r.must(err)
	return e
}

// logged gives the events of a type so far.
func (r *rig) logged(kind string) []events.Event {
	r.t.Helper()
	rows, err := r.Store.Read().EventsAfter(r.t.Context(), store.EventsAfterParams{AtMost: 1000})
	r.must(err)
	var found []events.Event
	for _, row := range rows {
		if row.Type != kind {
			continue
		}
		e := events.Event{ID: row.ID, Type: row.Type}
		r.must(json.Unmarshal([]byte(row.Data), &e.Data))
		if row.DeviceID != nil {
			e.Device = *row.DeviceID
		}
		found = append(found, e)
	}
	return found
}

// Rule 18: one code, 200 machines at once, exactly one device.
func TestCodeIsClaimedOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	made := r.code(devices.CodeRequest{})
	var won, lost atomic.Int64
	var racing sync.WaitGroup
	start := make(chan struct{})
	for range 200 {
		racing.Go(func() {
			<-start
			switch _, err := r.Enroll(t.Context(), machine(made.Code)); {
			case err == nil:
				won.Add(1)
			case wire.CodeOf(err) == wire.Conflict:
				lost.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	close(start)
	racing.Wait()
	if won.Load() != 1 || lost.Load() != 199 {
		t.Errorf("%d won, %d were told that it was used", won.Load(), lost.Load())
	}
	all, err := r.List(t.Context(), r.owner)
	if err != nil || len(all) != 1 {
		t.Errorf("%d devices, %v", len(all), err)
	}
}

// A lost reply strands nobody: the same code and key get the same answer, also at the same time.
func TestEnrolmentIsIdempotent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := machine(r.code(devices.CodeRequest{}).Code)
	answers := make(chan devices.Enrolled, 20)
	var asking sync.WaitGroup
	for range 20 {
		asking.Go(func() {
			e, err := r.Enroll(t.Context(), c)
			if err != nil {
				t.Error(err)
			}
			answers <- e
		})
	}
	asking.Wait()
	close(answers)
	first := <-answers
	for e := range answers {
		if e.DeviceID != first.DeviceID || e.Signature != first.Signature {
			t.Errorf("%+v differs from %+v", e, first)
		}
	}
	r.clock.Add(int64(time.Hour))
	if _, err := r.Enroll(t.Context(), c); wire.CodeOf(err) != wire.Forbidden {
		t.Errorf("after the code's life: %v", err)
	}
}

func TestCodesThatDoNotWork(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	used := r.code(devices.CodeRequest{})
	r.enroll(machine(used.Code))
	revoked := r.code(devices.CodeRequest{})
	r.must(r.RevokeCode(t.Context(), r.owner, revoked.Row.ID))
	expired := r.code(devices.CodeRequest{Life: time.Minute})
	r.clock.Add(int64(2 * time.Minute))
	other := r.code(devices.CodeRequest{})
	enrolled := machine(r.code(devices.CodeRequest{}).Code)
	r.enroll(enrolled)
	enrolled.Code = other.Code
	for name, test := range map[string]struct {
		c    devices.Candidate
		code wire.Code
		says string
	}{
		"wrong":                    {machine("aaaaaaaaaaaaaaaaaaaaaaaaaa"), wire.NotFound, "no such"},
		"empty":                    {machine(""), wire.NotFound, "no such"},
		"used":                     {machine(used.Code), wire.Conflict, "used already"},
		"expired":                  {machine(expired.Code), wire.Forbidden, "expired"},
		"revoked":                  {machine(revoked.Code), wire.Forbidden, "revoked"},
		"a key enrolled elsewhere": {enrolled, wire.Conflict, "enrolled already"},
		"no key":                   {devices.Candidate{Code: other.Code, PublicKey: "AAAA"}, wire.Invalid, "public key"},
		"no host key":              {devices.Candidate{Code: other.Code, PublicKey: newDeviceKey(), SSHHostKeys: []string{"x"}}, wire.Invalid, "SSH public key"},
		"facts of another form":    {devices.Candidate{Code: other.Code, PublicKey: newDeviceKey(), Facts: []byte(`{"cpus":"many"}`)}, wire.Invalid, "facts"},
	} {
		_, err := r.Enroll(t.Context(), test.c)
		if wire.CodeOf(err) != test.code || !strings.Contains(wire.MessageOf(err), test.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// None of them consumed the code that still works.
	r.enroll(machine(other.Code))
}

// A code works for as many machines as it was made for, and names stay unique.
func TestManyMachinesByOneCode(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	made := r.code(devices.CodeRequest{Name: "board", Uses: 3, Tags: []string{"lab"}})
	var names []string
	for range 3 {
		names = append(names, r.enroll(machine(made.Code)).Name)
	}
	if !slices.Equal(names, []string{"board", "board-2", "board-3"}) {
		t.Errorf("%v", names)
	}
	if _, err := r.Enroll(t.Context(), machine(made.Code)); wire.CodeOf(err) != wire.Conflict {
		t.Errorf("a fourth: %v", err)
	}
	if name := r.enroll(machine(r.code(devices.CodeRequest{}).Code)).Name; name != "kitchen" {
		t.Errorf("by hostname: %q", name)
	}
}

func TestAnswerIsSigned(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := machine(r.code(devices.CodeRequest{Allow: []string{"192.168.1.10:80"}}).Code)
	e := r.enroll(c)
	signature, err := base64.RawURLEncoding.DecodeString(e.Signature)
	r.must(err)
	hub := r.ring.Current.Public().(ed25519.PublicKey)
	if !ed25519.Verify(hub, e.Transcript(), signature) {
		t.Fatal("the signature does not hold")
	}
	if e.HubKeys[0] != wire.EncodeKey(hub) || len(e.HubURLs) != 2 || e.Allow[0] != "192.168.1.10:80" || wire.EncodeKey(e.PublicKey) != c.PublicKey {
		t.Errorf("%+v", e)
	}
	changed := e.Enrolled
	changed.UserCA = "ssh-ed25519 BBBB mallory"
	if ed25519.Verify(hub, changed.Transcript(), signature) {
		t.Error("the signature does not cover the CA")
	}
}

// A machine that has only OpenSSH sends its key as ssh-keygen wrote it, and gets an answer that ssh-keygen can check.
func TestEnrolByOpenSSH(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	key := sshKey()
	c := machine(r.code(devices.CodeRequest{Name: "kitchen", Allow: []string{"192.168.1.10:80", "nas:443"}}).Code)
	c.PublicKey, c.Via = key+" root@kitchen", "openssh"
	e := r.enroll(c)
	d, err := r.Find(t.Context(), r.owner, e.DeviceID)
	r.must(err)
	if d.PublicKey != wire.EncodeKey(e.PublicKey) || d.Via != "openssh" || wire.SSHKey(e.PublicKey) != key || e.GateKey != r.GateKey {
		t.Errorf("%+v %+v", d, e)
	}
	want := "adit enroll v1 openssh\n" + key + "\n" + e.DeviceID + "\nkitchen\nactive\nssh-ed25519 BBBB\nssh-ed25519 AAAA adit-user-ca\n192.168.1.10:80,nas:443\n"
	if got := e.SSHText(); got != want {
		t.Errorf("the text is\n%swant\n%s", got, want)
	}
	signature, err := base64.StdEncoding.DecodeString(e.SSHSignature)
	r.must(err)
	hub, err := ssh.NewPublicKey(r.ring.Current.Public())
	r.must(err)
	r.must(sshsig.Verify(hub, "adit-enroll", []byte(want), signature))
	c.PublicKey = d.PublicKey
	if again := r.enroll(c); again.DeviceID != e.DeviceID || again.SSHSignature != e.SSHSignature {
		t.Errorf("the same key in its other form: %+v", again)
	}
	if agent := r.enroll(machine(r.code(devices.CodeRequest{}).Code)); agent.SSHSignature != "" || agent.GateKey != "" {
		t.Errorf("an agent got %+v", agent)
	}
}

func TestEnrolRefusesOtherSSHKeys(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	made := r.code(devices.CodeRequest{})
	good := sshKey()
	_, blob, _ := strings.Cut(good, " ")
	for name, key := range map[string]string{
		"another type":  "ssh-rsa " + blob,
		"a certificate": "ssh-ed25519-cert-v01@openssh.com " + blob,
		"options":       "restrict " + good,
		"cut short":     good[:len(good)-4],
		"longer":        "ssh-ed25519 " + blob + "AAAA",
		"no base64":     "ssh-ed25519 %%%%",
		"two in one":    good + "\n" + good,
		"no key":        "ssh-ed25519",
	} {
		c := machine(made.Code)
		c.PublicKey, c.Via = key, "openssh"
		if _, err := r.Enroll(t.Context(), c); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestApproval(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	no, yes := false, true
	for name, test := range map[string]struct {
		approval *bool
		short    bool
		readURL  bool
		want     string
	}{
		"the usual line":                  {nil, false, false, "active"},
		"the short line asks":             {nil, true, false, "pending"},
		"a code that stood in a URL asks": {nil, false, true, "pending"},
		"switched off":                    {&no, true, true, "active"},
		"asked for":                       {&yes, false, false, "pending"},
	} {
		made := r.code(devices.CodeRequest{Approval: test.approval})
		if test.readURL {
			r.ScriptRead(t.Context(), auth.Hash(made.Code), "192.0.2.1", "curl")
		}
		c := machine(made.Code)
		c.Short = test.short
		if e := r.enroll(c); e.Status != test.want {
			t.Errorf("%s: %s", name, e.Status)
		}
	}
	pending, err := r.Find(t.Context(), r.owner, "kitchen-2")
	r.must(err)
	if pending.Status == "active" {
		pending, err = r.Find(t.Context(), r.owner, "kitchen")
		r.must(err)
	}
	approved, err := r.Approve(t.Context(), r.owner, pending)
	if err != nil || approved.Status != "active" {
		t.Errorf("%v, %v", approved.Status, err)
	}
}

// Rule 20: only a code made for it takes a device's place, and it leaves its line in the log.
func TestReplace(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := machine(r.code(devices.CodeRequest{Name: "kitchen", Tags: []string{"home"}}).Code)
	first.SSHHostKeys = []string{sshKey()}
	old := r.enroll(first)
	second := machine(r.code(devices.CodeRequest{Replaces: "kitchen"}).Code)
	second.SSHHostKeys = []string{sshKey()}
	taken := r.enroll(second)
	if taken.DeviceID != old.DeviceID || taken.Name != "kitchen" {
		t.Errorf("%+v", taken)
	}
	if _, ok := r.dropped.Load(old.DeviceID); !ok {
		t.Error("the old machine's links live on")
	}
	if len(r.logged(events.DeviceReplaced)) != 1 {
		t.Error("no event")
	}
	keys, err := r.Store.Read().HostKeys(t.Context(), old.DeviceID)
	if err != nil || len(keys) != 1 || keys[0].HostKey != second.SSHHostKeys[0] || keys[0].Pending {
		t.Errorf("%+v, %v", keys, err)
	}
	if _, err := r.CreateCode(t.Context(), r.owner, devices.CodeRequest{Replaces: "nobody"}); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("%v", err)
	}
}

// A changed host key is shown and waits for a person; it is never taken silently.
func TestHostKeysWaitForAPerson(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	pinned, changed := sshKey(), sshKey()
	c := machine(r.code(devices.CodeRequest{}).Code)
	c.SSHHostKeys = []string{pinned + " root@kitchen"}
	id := r.enroll(c).DeviceID
	r.report(id, "{}", changed)
	if got := r.hosts(); got != id+" "+pinned+"\n" {
		t.Errorf("known hosts: %q", got)
	}
	if waiting := r.logged(events.HostKeysPending); len(waiting) != 1 {
		t.Errorf("%d events", len(waiting))
	}
	d, err := r.Find(t.Context(), r.owner, id)
	r.must(err)
	if err := r.AcceptHostKeys(t.Context(), r.owner, d, []string{"SHA256:other"}); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("%v", err)
	}
	if err := r.AcceptHostKeys(t.Context(), r.owner, d, nil); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("nothing was named, and: %v", err)
	}
	keys, err := r.Store.Read().HostKeys(t.Context(), id)
	r.must(err)
	r.must(r.AcceptHostKeys(t.Context(), r.owner, d, []string{keys[len(keys)-1].Fingerprint}))
	if got := r.hosts(); got != id+" "+changed+"\n" {
		t.Errorf("after acceptance: %q", got)
	}
	r.report(id, "{}", pinned, changed)
	if got := r.hosts(); got != id+" "+changed+"\n" {
		t.Errorf("a key that was dropped came back by itself: %q", got)
	}
	r.report(id, "{}", changed)
	if keys, _ := r.Store.Read().HostKeys(t.Context(), id); len(keys) != 1 {
		t.Errorf("a pending key that is no longer reported stays: %+v", keys)
	}
}

func (r *rig) hosts() string {
	r.t.Helper()
	text, err := r.KnownHosts(r.t.Context(), r.owner, "")
	r.must(err)
	return text
}

func (r *rig) report(device, facts string, keys ...string) {
	r.t.Helper()
	params, err := json.Marshal(wire.FactsReport{Facts: json.RawMessage(facts), SSHHostKeys: keys})
	r.must(err)
	r.must(r.Report(r.t.Context(), device, params))
}

// Rule 26: what a device says is text.
func TestFactsAreText(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := machine(r.code(devices.CodeRequest{}).Code)
	c.Hostname = "\x1b]0;pwned\x07<b>\u202eevil"
	c.Facts = json.RawMessage(`{"hostname":"a\u001b[31mb\u202ec\nd","services":[{"port":80,"protocol":"http","process":"x\u0000y"}],"unknown":1}`)
	e := r.enroll(c)
	if !wire.ValidDeviceName(e.Name) {
		t.Errorf("name %q", e.Name)
	}
	d, err := r.Find(t.Context(), r.owner, e.DeviceID)
	r.must(err)
	if strings.Contains(d.Facts, `\u`) || strings.Contains(d.Facts, "unknown") || !strings.Contains(d.Facts, `"hostname":"a[31mbcd"`) {
		t.Errorf("%s", d.Facts)
	}
	many := `{"addresses":["` + strings.Repeat(`x","`, 5000) + `"]}`
	if clean, err := devices.CleanFacts([]byte(many)); err != nil || len(clean) > 2000 {
		t.Errorf("%d bytes, %v", len(clean), err)
	}
	if _, err := devices.CleanFacts(make([]byte, 1<<20)); wire.CodeOf(err) != wire.TooLarge {
		t.Errorf("%v", err)
	}
}

func TestFactsMakeOneEventWhenTheyChange(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id := r.enroll(machine(r.code(devices.CodeRequest{}).Code)).DeviceID
	for range 3 {
		r.report(id, `{"os":"Debian"}`)
	}
	if n := len(r.logged(events.DeviceChanged)); n != 1 {
		t.Errorf("%d events", n)
	}
}

// Rule 19: what goes into a line for a shell is quoted by the hub.
func TestLinesAreQuoted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	allow := store.JSONList([]string{"192.168.1.10:80", "[fd00::1]:22"})
	lines := r.Lines("code", store.InstallCode{Allow: allow}, devices.ScriptHashes{Agent: strings.Repeat("0", 64), OpenSSH: strings.Repeat("1", 64)})
	set := "ADIT_CODE=code ADIT_HUB_KEY=" + r.HubFingerprint() + " ADIT_ALLOW='192.168.1.10:80,[fd00::1]:22' sh"
	if !strings.HasSuffix(lines.Command, " | "+set) {
		t.Error(lines.Command)
	}
	if lines.OpenSSH != "curl -fsSL 'https://adit.example.com/i?via=openssh' | "+set {
		t.Error(lines.OpenSSH)
	}
	if want := `s=$(printf 'GET /i?via=openssh HTTP/1.1\r\nHost: adit.example.com\r\nUser-Agent: openssl\r\nConnection: close\r\n\r\n' | ` +
		`openssl s_client -quiet -verify_quiet -verify_return_error -verify_hostname adit.example.com -servername adit.example.com -connect adit.example.com:443 | tr -d '\r' | sed '1,/^$/d')` +
		` && [ "$(printf '%s\n' "$s" | openssl dgst -sha256 | sed 's/.* //')" = ` + strings.Repeat("1", 64) + ` ] && printf '%s\n' "$s" | ` + set; lines.OpenSSL != want {
		t.Errorf("%s\nwant\n%s", lines.OpenSSL, want)
	}
	for _, bad := range []string{"10.0.0.1", "host:port", "$(reboot):80", "a;b:80", "x'y:80", "-x:80"} {
		if _, err := r.CreateCode(t.Context(), r.owner, devices.CodeRequest{Allow: []string{bad}}); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestInstallSteps(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	made := r.code(devices.CodeRequest{})
	ctx := context.Background()
	r.ScriptRead(ctx, "", "192.0.2.1", "curl/8\x1b")
	r.BinaryRead(ctx, auth.Hash(made.Code), "192.0.2.1", "curl/8")
	r.BinaryRead(ctx, auth.Hash("another"), "192.0.2.1", "curl/8")
	r.enroll(machine(made.Code))
	rows, err := r.Store.Read().InstallSteps(ctx, made.Row.ID)
	r.must(err)
	var steps []string
	for _, row := range rows {
		steps = append(steps, row.InstallStep.Step)
	}
	if !slices.Equal(steps, []string{"script_read", "binary_read", "enrolled"}) {
		t.Errorf("%v", steps)
	}
	if rows[0].InstallStep.Program != "curl/8" {
		t.Errorf("%q", rows[0].InstallStep.Program)
	}
}

func FuzzCleanFacts(f *testing.F) {
	f.Add([]byte(`{"hostname":"x","cpus":4}`))
	f.Add([]byte(`{"services":[{"port":1,"protocol":"tcp"}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		clean, err := devices.CleanFacts(raw)
		if err != nil {
			return
		}
		again, err := devices.CleanFacts(clean)
		if err != nil || string(again) != string(clean) {
			t.Errorf("%q became %q, %v", clean, again, err)
		}
	})
}
