package messaging

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

func TestCredentialsOfEachKind(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, test := range map[string]struct {
		request  CredentialRequest
		id, name string
		writes   string
		not      string
	}{
		"device":      {CredentialRequest{Kind: KindDevice, Device: "kitchen"}, r.kitchen.ID, "kitchen", "devices/kitchen/x", "devices/shed/x"},
		"thing":       {CredentialRequest{Kind: KindThing, Device: "kitchen", Thing: "oven"}, r.kitchen.ID + "/oven", "kitchen/oven", "devices/kitchen/oven/x", "devices/kitchen/x"},
		"user":        {CredentialRequest{Kind: KindUser, User: "olivia"}, r.people["olivia"].User.ID, "olivia", "anything", "$SYS/x"},
		"application": {CredentialRequest{Kind: KindApplication, Username: "nodered", Label: "the wall"}, "", "nodered", "", "devices/kitchen/x"},
	} {
		c, password := r.credential(test.request)
		p, err := r.admit(c.Username, password)
		if err != nil || p.Kind != test.request.Kind || p.Name != test.name || p.Credential != c.ID || (test.id != "" && p.ID != test.id) || p != c.Principal {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
		if test.writes != "" && !r.MayPublish(p, "c", test.writes) || r.MayPublish(p, "c", test.not) {
			t.Errorf("%s: %s must be allowed, %s not", name, test.writes, test.not)
		}
		if _, err := r.admit(c.Username, password+"x"); wire.CodeOf(err) != wire.Unauthenticated {
			t.Errorf("%s with a wrong password: %v", name, err)
		}
		if strings.Contains(c.Hash, password) {
			t.Errorf("%s: the password is kept", name)
		}
	}
	list, err := r.CredentialsFor(t.Context(), r.people["olivia"])
	if err != nil || len(list) != 4 || list[1].LastUsedAt == nil {
		t.Errorf("%v %+v", err, list)
	}
	if own, _ := r.CredentialsFor(t.Context(), r.people["otto"]); len(own) != 0 {
		t.Errorf("otto sees %+v", own)
	}
}

func TestCredentialsThatCannotBe(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.credential(CredentialRequest{Kind: KindApplication, Username: "taken"})
	for name, test := range map[string]struct {
		request CredentialRequest
		code    wire.Code
	}{
		"no kind":             {CredentialRequest{}, wire.Invalid},
		"hub":                 {CredentialRequest{Kind: KindHub}, wire.Invalid},
		"device of none":      {CredentialRequest{Kind: KindDevice}, wire.Invalid},
		"unknown device":      {CredentialRequest{Kind: KindDevice, Device: "cellar"}, wire.NotFound},
		"thing without name":  {CredentialRequest{Kind: KindThing, Device: "kitchen"}, wire.Invalid},
		"thing with a slash":  {CredentialRequest{Kind: KindThing, Device: "kitchen", Thing: "a/b"}, wire.Invalid},
		"thing with a wild":   {CredentialRequest{Kind: KindThing, Device: "kitchen", Thing: "+"}, wire.Invalid},
		"device with a thing": {CredentialRequest{Kind: KindDevice, Device: "kitchen", Thing: "oven"}, wire.Invalid},
		"unknown user":        {CredentialRequest{Kind: KindUser, User: "nobody"}, wire.NotFound},
		"app of a user":       {CredentialRequest{Kind: KindApplication, User: "otto"}, wire.Invalid},
		"taken":               {CredentialRequest{Kind: KindApplication, Username: "taken"}, wire.Conflict},
		"colon":               {CredentialRequest{Kind: KindApplication, Username: "a:b"}, wire.Invalid},
		"control":             {CredentialRequest{Kind: KindApplication, Username: "a\x1b[1m"}, wire.Invalid},
		"long":                {CredentialRequest{Kind: KindApplication, Username: strings.Repeat("a", 65)}, wire.Invalid},
		"past":                {CredentialRequest{Kind: KindApplication, Life: -1}, wire.Invalid},
	} {
		if _, _, err := r.CreateCredential(t.Context(), "test", test.request); wire.CodeOf(err) != test.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, request := range map[string]CredentialRequest{"application": {Kind: KindApplication}, "another user": {Kind: KindUser, User: "olivia"},
		"device": {Kind: KindDevice, Device: "kitchen"}} {
		if _, _, err := r.CreateCredentialFor(t.Context(), r.people["otto"], request); wire.CodeOf(err) != wire.Forbidden {
			t.Errorf("an operator makes a credential of %s: %v", name, err)
		}
	}
	if c, _, err := r.CreateCredentialFor(t.Context(), r.people["otto"], CredentialRequest{Kind: KindUser}); err != nil || c.Principal.Name != "otto" {
		t.Errorf("%+v %v", c, err)
	}
}

func TestCredentialsOfOneUserAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i := range maxOwn + 1 {
		_, _, err := r.CreateCredentialFor(t.Context(), r.people["otto"], CredentialRequest{Kind: KindUser})
		if (i < maxOwn) != (err == nil) || (err != nil && wire.CodeOf(err) != wire.Conflict) {
			t.Fatalf("%d: %v", i, err)
		}
	}
}

// Rule 17, for MQTT: whatever lets somebody in is gone at once, and whoever holds connections is told to look.
func TestRevocation(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	otto := r.people["otto"]
	for name, end := range map[string]func(c Credential){
		"removed":        func(c Credential) { r.must(r.RemoveCredential(t.Context(), "test", c.Username)) },
		"by its owner":   func(c Credential) { r.must(r.RemoveCredentialFor(t.Context(), otto, c.ID)) },
		"expired":        func(Credential) { r.now = r.now.Add(time.Hour) },
		"user disabled":  func(Credential) { r.disable(otto.User, true) },
		"device removed": nil,
	} {
		request := CredentialRequest{Kind: KindUser, User: "otto", Life: time.Hour}
		if name == "device removed" {
			gone := r.device("gone")
			request = CredentialRequest{Kind: KindDevice, Device: "gone"}
			end = func(Credential) {
				r.write(func(ctx context.Context, q *store.Queries) error { _, err := q.RemoveDevice(ctx, gone); return err })
			}
		}
		c, password := r.credential(request)
		p, err := r.admit(c.Username, password)
		r.must(err)
		changed := r.Changed()
		end(c)
		if name != "expired" {
			<-changed
		}
		if r.Lives(p) {
			t.Errorf("%s: it lives on", name)
		}
		if _, err := r.admit(c.Username, password); wire.CodeOf(err) != wire.Unauthenticated {
			t.Errorf("%s: %v", name, err)
		}
		r.disable(otto.User, false)
	}
}

func (r *rig) disable(u store.User, disabled bool) {
	r.write(func(ctx context.Context, q *store.Queries) error {
		_, err := q.UpdateUser(ctx, store.UpdateUserParams{ID: u.ID, Role: u.Role, Handle: u.Handle, Disabled: disabled})
		return err
	})
}

func TestCarriersSpeakAsTheirDeviceOnly(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	door := Door{Name: "carrier", By: &r.kitchen}
	p, err := r.Admit(t.Context(), door, "", "")
	if err != nil || p != r.kitchen {
		t.Errorf("%+v %v", p, err)
	}
	p, err = r.Admit(t.Context(), door, "oven", "")
	if err != nil || p.Kind != KindThing || p.ID != r.kitchen.ID+"/oven" || p.Name != "kitchen/oven" || p.Device != r.kitchen.ID {
		t.Errorf("%+v %v", p, err)
	}
	for _, thing := range []string{"../shed", "a/b", "+", "#", "Oven", strings.Repeat("a", 64), "-"} {
		if _, err := r.Admit(t.Context(), door, thing, ""); wire.CodeOf(err) != wire.Unauthenticated {
			t.Errorf("thing %q: %v", thing, err)
		}
	}
	gone := r.DevicePrincipal("dev_none")
	if _, err := r.Admit(t.Context(), Door{Name: "carrier", By: &gone}, "", ""); wire.CodeOf(err) != wire.Forbidden {
		t.Errorf("a device that is gone: %v", err)
	}
}

// A token is bound to its person, its sign-in, and five minutes; what is signed cannot be changed.
func TestTokens(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	otto := r.people["otto"]
	token := r.CreateToken(otto)
	p, err := r.admit("otto", token.Password)
	if err != nil || p != PrincipalOf(otto) || token.Username != "otto" {
		t.Errorf("%+v %v", p, err)
	}
	body, signature, _ := strings.Cut(token.Password, ".")
	other := r.CreateToken(r.people["olivia"])
	otherBody, _, _ := strings.Cut(other.Password, ".")
	for name, try := range map[string][2]string{
		"another's name": {"olivia", token.Password}, "another's body": {"olivia", otherBody + "." + signature},
		"no signature": {"otto", body}, "an empty one": {"otto", body + "."}, "no base64": {"otto", "mqt_%%." + signature}, "nothing": {"otto", "mqt_"},
	} {
		if _, err := r.admit(try[0], try[1]); wire.CodeOf(err) != wire.Unauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.now = r.now.Add(TokenLife)
	if _, err := r.admit("otto", token.Password); wire.CodeOf(err) != wire.Unauthenticated {
		t.Errorf("after five minutes: %v", err)
	}
	if !r.Lives(p) {
		t.Error("a connection ends with the token that opened it, not with the sign-in")
	}
	fresh := r.CreateToken(otto)
	r.write(func(ctx context.Context, q *store.Queries) error {
		_, err := q.RevokeTokenFor(ctx, store.RevokeTokenForParams{ID: otto.Credential, Principal: otto.User.ID})
		return err
	})
	if _, err := r.admit("otto", fresh.Password); wire.CodeOf(err) != wire.Unauthenticated || r.Lives(p) {
		t.Errorf("after the sign-in ended: %v", err)
	}
}

// Rule 23: who guesses gets few tries, and takes none from those who know.
func TestTriesAreLimited(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c, password := r.credential(CredentialRequest{Kind: KindApplication, Username: "nodered"})
	limited := 0
	for range 30 {
		if _, err := r.admit(c.Username, "wrong"); wire.CodeOf(err) == wire.RateLimited {
			limited++
		}
	}
	if limited != 10 {
		t.Errorf("%d of 30 were too many", limited)
	}
	if _, err := r.Admit(t.Context(), Door{Address: "192.0.2.2"}, c.Username, password); err != nil {
		t.Errorf("from elsewhere: %v", err)
	}
	for range 500 {
		if _, err := r.Admit(t.Context(), Door{Address: "192.0.2.2"}, c.Username, password); err != nil {
			t.Fatalf("who knows the password: %v", err)
		}
	}
	for _, empty := range [][2]string{{"", ""}, {"nodered", ""}, {"", password}, {strings.Repeat("a", 65), "x"}, {"nodered", strings.Repeat("x", auth.MaxPassword+1)}} {
		if _, err := r.Admit(t.Context(), Door{Address: "192.0.2.3"}, empty[0], empty[1]); wire.CodeOf(err) != wire.Unauthenticated {
			t.Errorf("%.20q: %v", empty, err)
		}
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c, _ := r.credential(CredentialRequest{Kind: KindApplication, Username: "nodered"})
	app := c.Principal
	if r.MaySubscribe(app, "c", "devices/+/temp") {
		t.Error("an application may something by itself")
	}
	rule, err := r.AddRule(t.Context(), "test", "credential:nodered", "read", "devices/+/temp")
	if err != nil || rule.Subject != "credential:nodered" || rule.MQTTRule.Subject == "credential:"+c.ID {
		t.Errorf("%+v %v", rule, err)
	}
	if !r.MaySubscribe(app, "c", "devices/+/temp") || !r.MayReceive(app, "c", "devices/kitchen/temp") || r.MaySubscribe(app, "c", "devices/#") {
		t.Error("the rule does not hold, or too much")
	}
	for _, subject := range []string{"everybody", "devices", "things", "role:viewer", "tag:home", "user:otto", "device:kitchen"} {
		if rule, err := r.AddRule(t.Context(), "test", subject, "deny", "secret/#"); err != nil || rule.Subject != subject {
			t.Errorf("%s: %+v %v", subject, rule, err)
		}
	}
	for name, test := range map[string]struct {
		subject, access, filter string
		code                    wire.Code
	}{
		"again":       {"credential:nodered", "read", "devices/+/temp", wire.Conflict},
		"no subject":  {"", "read", "a", wire.Invalid},
		"no role":     {"role:boss", "read", "a", wire.Invalid},
		"no user":     {"user:nobody", "read", "a", wire.NotFound},
		"no device":   {"device:cellar", "read", "a", wire.NotFound},
		"credential":  {"credential:none", "read", "a", wire.NotFound},
		"no access":   {"everybody", "see", "a", wire.Invalid},
		"no filter":   {"everybody", "read", "", wire.Invalid},
		"bad filter":  {"everybody", "read", "a/#/b", wire.Invalid},
		"shared":      {"everybody", "read", "$share/g/a", wire.Invalid},
		"system":      {"everybody", "read", "$SYS/#", wire.Invalid},
		"with detail": {"everybody:all", "read", "a", wire.Invalid},
	} {
		if _, err := r.AddRule(t.Context(), "test", test.subject, test.access, test.filter); wire.CodeOf(err) != test.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	rules, err := r.Rules(t.Context())
	if err != nil || len(rules) != len(access.BuiltinTopicRules())+8 || !rules[0].Builtin || rules[len(rules)-1].Builtin {
		t.Errorf("%+v %v", rules, err)
	}
	r.must(r.RemoveRule(t.Context(), "test", rule.ID))
	if r.MaySubscribe(app, "c", "devices/+/temp") {
		t.Error("a rule that was removed holds")
	}
	if err := r.RemoveRule(t.Context(), "test", rule.ID); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("%v", err)
	}
}

// The answering side may write the pending topic, that one only, and only while somebody waits.
func TestReplyTopics(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	shed := r.DevicePrincipal(r.Gate.Policy().DeviceIDs["shed"])
	const reply = "replies/h/1"
	if r.MayPublish(r.kitchen, "c", reply) {
		t.Error("before the request")
	}
	done, ok := r.replies.add("u", reply, "cmds/kitchen/reboot")
	if !ok || !r.MayPublish(r.kitchen, "c", reply) || r.MayPublish(r.kitchen, "c", "replies/h/2") || r.MayPublish(shed, "c", reply) {
		t.Error("while it waits")
	}
	done()
	if r.MayPublish(r.kitchen, "c", reply) {
		t.Error("after the answer")
	}
	for i := range maxPending {
		if _, ok := r.replies.add(strings.Repeat("u", i/maxPendingByUser), strings.Repeat("x", i+1), ""); !ok {
			t.Fatal(i)
		}
		if i+1 == maxPendingByUser {
			if _, ok := r.replies.add("", "one more", ""); ok {
				t.Error("one user makes any number wait")
			}
		}
	}
	if _, ok := r.replies.add("new", "one more", ""); ok {
		t.Error("any number waits")
	}
}

func TestTemplates(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	otto := r.people["otto"]
	first, err := r.SaveTemplate(t.Context(), otto, " reboot ", `{"topic":"a"}`)
	r.must(err)
	again, err := r.SaveTemplate(t.Context(), otto, "reboot", `{"topic":"b"}`)
	if err != nil || again.ID != first.ID || again.Message != `{"topic":"b"}` {
		t.Errorf("%+v %v", again, err)
	}
	if _, err := r.SaveTemplate(t.Context(), otto, " ", "{}"); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("%v", err)
	}
	if err := r.RemoveTemplate(t.Context(), r.people["olivia"], first.ID); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("another's: %v", err)
	}
	r.must(r.RemoveTemplate(t.Context(), otto, first.ID))
	for i := range maxTemplates {
		_, err := r.SaveTemplate(t.Context(), otto, strings.Repeat("x", i%50+1)+string(rune('a'+i/50)), "{}")
		r.must(err)
	}
	if _, err := r.SaveTemplate(t.Context(), otto, "one more", "{}"); wire.CodeOf(err) != wire.Conflict {
		t.Errorf("%v", err)
	}
}
