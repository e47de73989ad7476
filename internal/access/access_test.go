package access

import (
	"slices"
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// policy has a user of each role, two devices and no grants but those given, which are all op's and view's.
func policy(grants ...Grant) *Policy {
	p := &Policy{
		Users: map[string]User{"own": {Role: Owner}, "adm": {Role: Admin}, "op": {Role: Operator}, "view": {Role: Viewer},
			"off": {Role: Owner, Disabled: true}},
		Credentials: map[string]Credential{"op1": {User: "op", Expires: noon.Add(time.Hour)}, "old": {User: "op", Expires: noon}},
		Devices: map[string]Device{"kitchen": {Tags: []string{"home"}, Active: true}, "shed": {Active: true},
			"new": {Tags: []string{"home"}}},
		Grants: map[string][]Grant{},
	}
	for _, g := range grants {
		users := []string{"op", "view"}
		if g.User != "" {
			users = []string{g.User}
		}
		for _, user := range users {
			p.Grants[user] = append(p.Grants[user], g)
		}
	}
	return p
}

// Long because it is a table.
func TestCheck(t *testing.T) {
	t.Parallel()
	ssh := Grant{Device: "kitchen", Logins: []string{"pi"}}
	all := Grant{Logins: []string{"*"}, Targets: []string{"*"}}
	use := func(user, device, target, login string) Use {
		return Use{User: user, Device: device, Target: target, Login: login}
	}
	for name, test := range map[string]struct {
		grants []Grant
		use    Use
		want   Verdict
	}{
		"owner needs no grant":                {nil, use("own", "kitchen", "ssh", "root"), Allowed},
		"admin needs no grant":                {nil, use("adm", "shed", "tcp:127.0.0.1:1883", ""), Allowed},
		"operator needs one":                  {nil, use("op", "kitchen", "ssh", "pi"), Hidden},
		"unknown user":                        {nil, use("who", "kitchen", "ssh", "pi"), SignedOut},
		"no user":                             {nil, use("", "kitchen", "ssh", "pi"), SignedOut},
		"disabled owner":                      {nil, use("off", "kitchen", "ssh", "pi"), SignedOut},
		"unknown device":                      {[]Grant{all}, use("op", "cellar", "ssh", "pi"), Hidden},
		"by device":                           {[]Grant{ssh}, use("op", "kitchen", "ssh", "pi"), Allowed},
		"another device":                      {[]Grant{ssh}, use("op", "shed", "ssh", "pi"), Hidden},
		"another login":                       {[]Grant{ssh}, use("op", "kitchen", "ssh", "root"), Forbidden},
		"login not said":                      {[]Grant{ssh}, use("op", "kitchen", "ssh", ""), Allowed},
		"no targets means ssh only":           {[]Grant{ssh}, use("op", "kitchen", "mqtt", ""), Forbidden},
		"ssh is not rescue":                   {[]Grant{ssh}, use("op", "kitchen", "rescue", "pi"), Forbidden},
		"no logins, no ssh":                   {[]Grant{{Device: "kitchen", Targets: []string{"*"}}}, use("op", "kitchen", "ssh", "pi"), Forbidden},
		"no logins, no raw ssh":               {[]Grant{{Device: "kitchen", Targets: []string{"*"}}}, use("op", "kitchen", "ssh", ""), Forbidden},
		"no logins, other targets":            {[]Grant{{Device: "kitchen", Targets: []string{"*"}}}, use("op", "kitchen", "mqtt", ""), Allowed},
		"by tag":                              {[]Grant{{Tag: "home", Logins: []string{"*"}}}, use("op", "kitchen", "ssh", "pi"), Allowed},
		"by a tag it has not":                 {[]Grant{{Tag: "home", Logins: []string{"*"}}}, use("op", "shed", "ssh", "pi"), Hidden},
		"every device":                        {[]Grant{all}, use("op", "shed", "tcp:10.0.0.1:80", ""), Allowed},
		"pending device":                      {[]Grant{all}, use("op", "new", "ssh", "pi"), Waiting},
		"viewer sees but opens nothing":       {[]Grant{all}, use("view", "kitchen", "ssh", "pi"), Forbidden},
		"expired":                             {[]Grant{{Device: "kitchen", Logins: []string{"*"}, Expires: noon}}, use("op", "kitchen", "ssh", "pi"), Hidden},
		"expires later":                       {[]Grant{{Device: "kitchen", Logins: []string{"*"}, Expires: noon.Add(1)}}, use("op", "kitchen", "ssh", "pi"), Allowed},
		"deny wins over allow":                {[]Grant{all, {Device: "kitchen", Targets: []string{"ssh"}, Deny: true}}, use("op", "kitchen", "ssh", "pi"), Forbidden},
		"deny first in the list":              {[]Grant{{Device: "kitchen", Targets: []string{"ssh"}, Deny: true}, all}, use("op", "kitchen", "ssh", "pi"), Forbidden},
		"deny of one target leaves others":    {[]Grant{all, {Device: "kitchen", Targets: []string{"ssh"}, Deny: true}}, use("op", "kitchen", "mqtt", ""), Allowed},
		"deny of one login":                   {[]Grant{all, {Logins: []string{"root"}, Deny: true}}, use("op", "kitchen", "ssh", "root"), Forbidden},
		"deny of one login leaves others":     {[]Grant{all, {Logins: []string{"root"}, Deny: true}}, use("op", "kitchen", "ssh", "pi"), Allowed},
		"deny binds the owner too":            {[]Grant{{User: "own", Device: "kitchen", Targets: []string{"ssh"}, Deny: true}}, use("own", "kitchen", "ssh", "pi"), Forbidden},
		"deny by tag":                         {[]Grant{all, {Tag: "home", Targets: []string{"*"}, Logins: []string{"*"}, Deny: true}}, use("op", "kitchen", "mqtt", ""), Forbidden},
		"wholly denied is hidden":             {[]Grant{all, {Device: "kitchen", Targets: []string{"*"}, Deny: true}}, use("op", "kitchen", "ssh", "pi"), Hidden},
		"an expired deny denies nothing":      {[]Grant{all, {Device: "kitchen", Targets: []string{"*"}, Deny: true, Expires: noon}}, use("op", "kitchen", "ssh", "pi"), Allowed},
		"port of the grant":                   {[]Grant{{Device: "kitchen", Targets: []string{"tcp:127.0.0.1:1883"}}}, use("op", "kitchen", "tcp:127.0.0.1:1883", ""), Allowed},
		"another port":                        {[]Grant{{Device: "kitchen", Targets: []string{"tcp:127.0.0.1:1883"}}}, use("op", "kitchen", "tcp:127.0.0.1:18830", ""), Forbidden},
		"denied by another name":              {[]Grant{all, {Targets: []string{"tcp:127.0.0.1:80"}, Deny: true}}, use("op", "kitchen", "tcp:localhost:80", ""), Forbidden},
		"denied by another address":           {[]Grant{all, {Targets: []string{"tcp:localhost:80"}, Deny: true}}, use("op", "kitchen", "tcp:[::1]:80", ""), Forbidden},
		"denied by no address":                {[]Grant{all, {Targets: []string{"tcp:127.0.0.1:*"}, Deny: true}}, use("op", "kitchen", "tcp:0.0.0.0:80", ""), Forbidden},
		"denied by a name's last dot":         {[]Grant{all, {Targets: []string{"tcp:nas.lan:80"}, Deny: true}}, use("op", "kitchen", "tcp:nas.lan.:80", ""), Forbidden},
		"denied on another port":              {[]Grant{all, {Targets: []string{"tcp:localhost:80"}, Deny: true}}, use("op", "kitchen", "tcp:[::1]:81", ""), Allowed},
		"allowed by one name only":            {[]Grant{{Device: "kitchen", Targets: []string{"tcp:127.0.0.1:80"}}}, use("op", "kitchen", "tcp:127.0.0.2:80", ""), Forbidden},
		"with a credential":                   {[]Grant{all}, Use{User: "op", Credential: "op1", Device: "kitchen", Target: "mqtt"}, Allowed},
		"with an expired credential":          {[]Grant{all}, Use{User: "op", Credential: "old", Device: "kitchen", Target: "mqtt"}, SignedOut},
		"with a revoked credential":           {[]Grant{all}, Use{User: "op", Credential: "gone", Device: "kitchen", Target: "mqtt"}, SignedOut},
		"with somebody else's credential":     {nil, Use{User: "own", Credential: "op1", Device: "kitchen", Target: "mqtt"}, SignedOut},
		"two grants do not add up to a third": {[]Grant{{Device: "kitchen", Logins: []string{"pi"}, Targets: []string{"ssh"}}, {Device: "kitchen", Logins: []string{"root"}, Targets: []string{"rescue"}}}, use("op", "kitchen", "ssh", "root"), Forbidden},
	} {
		if got := policy(test.grants...).Check(test.use, noon); got != test.want {
			t.Errorf("%s: got %d, want %d", name, got, test.want)
		}
	}
}

func TestCovers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pattern, target string
		want            bool
	}{
		{"*", "ssh", true},
		{"*", "tcp:10.0.0.1:80", true},
		{"ssh", "ssh", true},
		{"ssh", "rescue", false},
		{"tcp:*", "tcp:[::1]:80", true},
		{"tcp:*", "ssh", false},
		{"tcp:*:*", "tcp:10.0.0.1:80", true},
		{"tcp:127.0.0.1:*", "tcp:127.0.0.1:80", true},
		{"tcp:127.0.0.1:*", "tcp:127.0.0.10:80", false},
		{"tcp:*:80", "tcp:10.0.0.1:80", true},
		{"tcp:*:80", "tcp:10.0.0.1:8080", false},
		{"tcp:[::1]:*", "tcp:[::1]:80", true},
		{"tcp:[::1]:*", "tcp:[::2]:80", false},
		{"", "ssh", false},
		{"tcp:", "tcp:10.0.0.1:80", false},
	} {
		if got := Covers(test.pattern, test.target); got != test.want {
			t.Errorf("Covers(%q, %q) = %v", test.pattern, test.target, got)
		}
	}
}

func TestReach(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		grants          []Grant
		user            string
		logins, targets []string
	}{
		"owner":            {nil, "own", []string{"*"}, []string{"*"}},
		"operator, none":   {nil, "op", nil, nil},
		"viewer":           {[]Grant{{Logins: []string{"*"}, Targets: []string{"*"}}}, "view", nil, nil},
		"two grants":       {[]Grant{{Logins: []string{"pi"}}, {Logins: []string{"www"}, Targets: []string{"ssh", "http"}}}, "op", []string{"pi", "www"}, []string{"http", "ssh"}},
		"a denied login":   {[]Grant{{Logins: []string{"pi", "root"}}, {Logins: []string{"root"}, Deny: true}}, "op", []string{"pi"}, []string{"ssh"}},
		"a denied target":  {[]Grant{{Logins: []string{"pi"}, Targets: []string{"ssh", "mqtt"}}, {Targets: []string{"ssh"}, Deny: true}}, "op", nil, []string{"mqtt"}},
		"logins of no ssh": {[]Grant{{Logins: []string{"pi"}, Targets: []string{"http"}}}, "op", nil, []string{"http"}},
	} {
		r := policy(test.grants...).Reach(test.user, "kitchen", noon)
		if !slices.Equal(r.Logins, test.logins) || !slices.Equal(r.Targets, test.targets) || len(r.Held) > 0 || r.Gate != Raw {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// Rule 3: forwarding is a permission of its own. sshd cannot limit it to addresses, so only a grant of all gives it.
func TestForwards(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		grants []Grant
		want   bool
	}{
		"ssh alone":          {[]Grant{{Logins: []string{"pi"}}}, false},
		"ssh and one port":   {[]Grant{{Logins: []string{"pi"}, Targets: []string{"ssh", "tcp:127.0.0.1:1883"}}}, false},
		"ssh and one host":   {[]Grant{{Logins: []string{"pi"}, Targets: []string{"ssh", "tcp:127.0.0.1:*"}}}, false},
		"every address":      {[]Grant{{Logins: []string{"pi"}, Targets: []string{"ssh", "tcp:*:*"}}}, true},
		"everything":         {[]Grant{{Logins: []string{"*"}, Targets: []string{"*"}}}, true},
		"for another login":  {[]Grant{{Logins: []string{"root"}, Targets: []string{"*"}}}, false},
		"one address denied": {[]Grant{{Logins: []string{"*"}, Targets: []string{"*"}}, {Targets: []string{"tcp:10.0.0.1:80"}, Deny: true}}, false},
	} {
		if got := policy(test.grants...).Forwards("op", "kitchen", "pi", noon); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestRoles(t *testing.T) {
	t.Parallel()
	if Role("root").Valid() || !Viewer.Valid() {
		t.Error("Valid")
	}
	if Operator.Manages() || Viewer.Manages() || !Admin.Manages() || !Owner.Manages() {
		t.Error("Manages")
	}
	if Admin.Changes(Owner) || !Owner.Changes(Owner) || !Admin.Changes(Admin) || Operator.Changes(Viewer) {
		t.Error("Changes")
	}
}

func TestNextExpiry(t *testing.T) {
	t.Parallel()
	soon := noon.Add(time.Minute)
	p := policy(Grant{Expires: soon}, Grant{Expires: noon.Add(-time.Hour)})
	if got := p.NextExpiry(noon); !got.Equal(soon) {
		t.Errorf("got %v", got)
	}
	if got := p.NextExpiry(noon.Add(2 * time.Hour)); !got.IsZero() {
		t.Errorf("got %v", got)
	}
}
