package messaging

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/sshdtest"
	"github.com/aditdev/adit/internal/wire"
)

// passwordFile is what mosquitto_passwd itself makes, of both kinds.
func passwordFile(t *testing.T) string {
	t.Helper()
	sshdtest.NeedTools(t, "mosquitto_passwd")
	path := filepath.Join(t.TempDir(), "passwd")
	for i, args := range [][]string{{"-c", "-H", "sha512-pbkdf2", "-b", path, "alice", "alice's"}, {"-H", "sha512", "-b", path, "bob", "bob's"}} {
		if out, err := exec.Command("mosquitto_passwd", args...).CombinedOutput(); err != nil {
			t.Fatalf("mosquitto_passwd %d: %v %s", i, err, out)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const aclFile = `# an acl_file with everything
user alice
topic read sensors/#
topic write out of/the blue
topic readwrite home/+/light
topic deny sensors/secret
topic both

user bob
topic home/#
topic home/#

pattern read shared/%u/%c
pattern write $SYS/broker/connection/%c/state
pattern deny shared/private
`

func TestImport(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	what := Import{PasswordFile: passwordFile(t), ACLFile: aclFile, DryRun: true}
	want := Imported{Credentials: 2, Rules: 8}
	got, err := r.Import(t.Context(), "test", what)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("dry run: %+v %v", got, err)
	}
	if _, err := r.admit("alice", "alice's"); wire.CodeOf(err) != wire.Unauthenticated {
		t.Errorf("a dry run wrote: %v", err)
	}
	what.DryRun = false
	if got, err = r.Import(t.Context(), "test", what); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%+v %v", got, err)
	}
	alice, err := r.admit("alice", "alice's")
	r.must(err)
	bob, err := r.admit("bob", "bob's")
	r.must(err)
	if _, err := r.admit("bob", "alice's"); wire.CodeOf(err) != wire.Unauthenticated {
		t.Errorf("a wrong password: %v", err)
	}
	for _, test := range []struct {
		who   Principal
		write bool
		topic string
		want  bool
	}{
		{alice, false, "sensors/#", true}, {alice, false, "sensors/x", true}, {alice, false, "sensors/secret", false}, {alice, true, "sensors/x", false},
		{alice, true, "out of/the blue", true}, {alice, false, "out of/the blue", false}, {alice, true, "home/hall/light", true}, {alice, true, "both", true},
		{bob, true, "home/x", true}, {bob, false, "home/#", true}, {bob, false, "sensors/x", false},
		{bob, false, "shared/bob/cid", true}, {bob, false, "shared/alice/cid", false}, {bob, false, "shared/private", false},
	} {
		may := r.MaySubscribe
		if test.write {
			may = r.MayPublish
		}
		if may(test.who, "cid", test.topic) != test.want {
			t.Errorf("%s, write %v, %s: want %v", test.who.Name, test.write, test.topic, test.want)
		}
	}
	// The same rules again are there already; the same users are not taken over twice.
	if got, err = r.Import(t.Context(), "test", Import{ACLFile: aclFile}); err != nil || len(got.Problems) != 0 {
		t.Errorf("rules again: %+v %v", got, err)
	}
	if got, _ = r.Import(t.Context(), "test", what); len(got.Problems) != 2 || got.Credentials != 0 || !strings.Contains(got.Problems[0].Message, "already") {
		t.Errorf("users again: %+v", got)
	}
}

// Who calls a credential of their own as somebody in an acl_file that is to come gets nothing by it.
func TestImportGivesNothingToNamesakes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, _, err := r.CreateCredentialFor(t.Context(), r.people["otto"], CredentialRequest{Kind: KindUser, Username: "nodered"})
	r.must(err)
	got, err := r.Import(t.Context(), "test", Import{ACLFile: "user nodered\ntopic readwrite #\n"})
	if err != nil || len(got.Problems) != 1 || got.Rules != 0 {
		t.Errorf("%+v %v", got, err)
	}
}

// A line that cannot be taken keeps everything out, and says where and what to do.
func TestImportTakesAllOrNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	good := passwordFile(t)
	for name, test := range map[string]struct {
		what Import
		file string
		line int
		says string
	}{
		"plain":         {Import{PasswordFile: good + "carol:secret\n"}, PasswordFile, 3, "mosquitto_passwd -U"},
		"argon":         {Import{PasswordFile: good + "carol:$argon2id$v=19$m=1,t=1,p=1$AA$AA\n"}, PasswordFile, 3, "sha512-pbkdf2"},
		"cut off":       {Import{PasswordFile: good + "carol:$7$101$AAAA$AAAA"}, PasswordFile, 3, "cut off"},
		"too slow":      {Import{PasswordFile: good + "carol:$7$2000000000$AAAA$AAAA"}, PasswordFile, 3, "iterations"},
		"unknown form":  {Import{PasswordFile: good + "carol:$1$AAAA$AAAA"}, PasswordFile, 3, "neither"},
		"no colon":      {Import{PasswordFile: "carol\n" + good}, PasswordFile, 1, "USER:HASH"},
		"twice":         {Import{PasswordFile: good + "\n#\n" + good}, PasswordFile, 5, "line 1"},
		"no user":       {Import{PasswordFile: good, ACLFile: "user carol\ntopic a\n"}, ACLFile, 2, "carol"},
		"anonymous":     {Import{PasswordFile: good, ACLFile: "topic a\n"}, ACLFile, 1, "without a username"},
		"no access":     {Import{PasswordFile: good, ACLFile: "user bob\ntopic look a\n"}, ACLFile, 2, "\"look\" is no access"},
		"unknown word":  {Import{PasswordFile: good, ACLFile: "users bob\n"}, ACLFile, 1, "begins no line"},
		"nothing":       {Import{PasswordFile: good, ACLFile: "user bob\ntopic\n"}, ACLFile, 2, "missing"},
		"bad filter":    {Import{PasswordFile: good, ACLFile: "user bob\ntopic a/#/b\n"}, ACLFile, 2, "no topic filter"},
		"system":        {Import{PasswordFile: good, ACLFile: "user bob\ntopic read $SYS/#\n"}, ACLFile, 2, "$SYS"},
		"placeholder":   {Import{PasswordFile: good, ACLFile: "user bob\ntopic read a/%u\n"}, ACLFile, 2, "%u"},
		"ours in a pat": {Import{PasswordFile: good, ACLFile: "pattern read a/%n\n"}, ACLFile, 1, "%n"},
	} {
		got, err := r.Import(t.Context(), "test", test.what)
		if err != nil || len(got.Problems) == 0 || got.Credentials != 0 || got.Rules != 0 {
			t.Errorf("%s: %+v %v", name, got, err)
			continue
		}
		p := got.Problems[0]
		if p.File != test.file || p.Line != test.line || !strings.Contains(p.Message, test.says) {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if all, _ := r.Credentials(t.Context()); len(all) != 0 {
		t.Errorf("%d credentials were taken over", len(all))
	}
	if got, _ := r.Import(t.Context(), "test", Import{ACLFile: strings.Repeat("x\n", 100_000)}); len(got.Problems) > 2*maxProblems {
		t.Errorf("%d problems", len(got.Problems))
	}
}

func FuzzMosquittoFiles(f *testing.F) {
	f.Add("alice:$7$101$AA$BB", aclFile)
	f.Fuzz(func(t *testing.T, passwords, rules string) {
		users, bad := parsePasswordFile(passwords)
		for _, u := range users {
			if _, err := parseMosquitto(u.hash); err != nil || checkUsername(u.username) != nil {
				t.Errorf("%+v", u)
			}
		}
		list, more := parseACLFile(rules)
		for _, rule := range list {
			if checkRule(rule.access, rule.topic) != nil || (rule.userSpecific && rule.user == "") {
				t.Errorf("%+v", rule)
			}
		}
		for _, p := range append(bad, more...) {
			if p.Line < 1 || p.Message == "" {
				t.Errorf("%+v", p)
			}
		}
	})
}
