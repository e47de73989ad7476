package access

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// house has devices, people and credentials who speak MQTT, and the rules given.
func house(rules ...TopicRule) *Policy {
	p := policy(Grant{User: "op", Device: "dev_k", Targets: []string{"mqtt"}}, Grant{User: "view", Device: "dev_k", Logins: []string{"pi"}},
		Grant{User: "shell", Device: "dev_k", Logins: []string{"pi"}})
	p.Users["op"], p.Users["shell"] = User{Handle: "olga", Role: Operator}, User{Handle: "a/b", Role: Operator}
	p.Devices = map[string]Device{"dev_k": {Name: "kitchen", Tags: []string{"home"}, Active: true},
		"dev_k2": {Name: "kitchen2", Active: true}, "dev_n": {Name: "new"}}
	p.DeviceIDs = map[string]string{"kitchen": "dev_k", "kitchen2": "dev_k2", "new": "dev_n"}
	p.MQTTCredentials = map[string]MQTTCredential{
		"mqc_app": {Username: "nodered", Kind: SpeaksAsApplication}, "mqc_wild": {Username: "#", Kind: SpeaksAsApplication},
		"mqc_old": {Username: "old", Kind: SpeaksAsApplication, Expires: noon}, "mqc_op": {Username: "phone", Kind: SpeaksAsUser, User: "op"},
		"mqc_off": {Username: "off", Kind: SpeaksAsUser, User: "off"},
	}
	for _, r := range rules {
		p.AddTopicRule(r)
	}
	return p
}

var (
	kitchen = Speaker{Kind: SpeaksAsDevice, Device: "dev_k", ClientID: "c1"}
	oven    = Speaker{Kind: SpeaksAsThing, Device: "dev_k", Thing: "oven", ClientID: "c2"}
	pending = Speaker{Kind: SpeaksAsDevice, Device: "dev_n"}
	owner   = Speaker{Kind: SpeaksAsUser, User: "own"}
	op      = Speaker{Kind: SpeaksAsUser, User: "op", Credential: "op1", ClientID: "c4"}
	phone   = Speaker{Kind: SpeaksAsUser, User: "op", Credential: "mqc_op", ClientID: "c4"}
	shell   = Speaker{Kind: SpeaksAsUser, User: "shell"}
	view    = Speaker{Kind: SpeaksAsUser, User: "view"}
	app     = Speaker{Kind: SpeaksAsApplication, Credential: "mqc_app", ClientID: "c3"}
)

const yes, no = true, false

// Long because it is a table.
func TestTopics(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 65535)
	for _, test := range []struct {
		name  string
		who   Speaker
		write bool
		topic string
		want  bool
		rules []TopicRule
	}{
		{"a device writes its own tree", kitchen, yes, "devices/kitchen/temp", yes, nil},
		{"and its root", kitchen, yes, "devices/kitchen", yes, nil},
		{"not another's", kitchen, yes, "devices/shed/temp", no, nil},
		{"nor one whose name begins alike", kitchen, yes, "devices/kitchen2/temp", no, nil},
		{"nor its commands", kitchen, yes, "cmds/kitchen/x", no, nil},
		{"nor the middle of nowhere", kitchen, yes, "devices", no, nil},
		{"it reads its commands", kitchen, no, "cmds/kitchen/#", yes, nil},
		{"one level of them", kitchen, no, "cmds/kitchen/+", yes, nil},
		{"their root", kitchen, no, "cmds/kitchen", yes, nil},
		{"not everybody's", kitchen, no, "cmds/+/#", no, nil},
		{"nor all", kitchen, no, "cmds/#", no, nil},
		{"nor everything", kitchen, no, "#", no, nil},
		{"nor by plus signs", kitchen, no, "+/kitchen/#", no, nil},
		{"nor its own reports", kitchen, no, "devices/kitchen/#", no, nil},
		{"shared like plain", kitchen, no, "$share/g/cmds/kitchen/#", yes, nil},
		{"shared reads no further", kitchen, no, "$share/g/cmds/#", no, nil},
		{"shared without a filter", owner, no, "$share/g", no, nil},
		{"shared with an empty filter", owner, no, "$share/g/", no, nil},
		{"shared without a name", owner, no, "$share//a", no, nil},
		{"shared with a wild name", owner, no, "$share/+/a", no, nil},
		{"shared twice", owner, no, "$share/g/$share/h/a", no, nil},
		{"shared system", kitchen, no, "$share/g/$SYS/#", no, nil},
		{"nobody writes a share", owner, yes, "$share/g/a", no, nil},
		{"a device that waits writes nothing", pending, yes, "devices/new/x", no, nil},
		{"a device that is gone", Speaker{Kind: SpeaksAsDevice, Device: "dev_x"}, yes, "devices//x", no, nil},
		{"a wildcard is no topic", kitchen, yes, "devices/kitchen/+", no, nil},
		{"nor is a hash", kitchen, yes, "devices/kitchen/#", no, nil},
		{"empty levels are levels", kitchen, yes, "devices/kitchen//", yes, nil},
		{"an empty first level", kitchen, yes, "/devices/kitchen/x", no, nil},
		{"the empty topic", owner, yes, "", no, nil},
		{"the empty filter", owner, no, "", no, nil},
		{"a slash alone", owner, yes, "/", yes, nil},
		{"65,535 bytes", owner, yes, long, no, nil},
		{"65,535 bytes below its own", kitchen, yes, "devices/kitchen/" + long[16:], no, nil},
		{"32,768 levels", owner, no, strings.Repeat("+/", 32767) + "+", no, nil},
		{"256 bytes", kitchen, yes, "devices/kitchen/" + long[:240], yes, nil},
		{"not UTF-8", owner, yes, "a\xff", no, nil},
		{"U+0000", owner, yes, "a\x00", no, nil},
		{"a hash in the middle", owner, no, "a/#/b", no, nil},
		{"half a wildcard", owner, no, "a+", no, nil},

		{"a thing writes below its device", oven, yes, "devices/kitchen/oven/temp", yes, nil},
		{"not its device's own", oven, yes, "devices/kitchen/temp", no, nil},
		{"nor a neighbour's", oven, yes, "devices/kitchen/lamp/x", no, nil},
		{"it reads its commands", oven, no, "cmds/kitchen/oven/#", yes, nil},
		{"not its device's", oven, no, "cmds/kitchen/#", no, nil},

		{"the owner reads all", owner, no, "#", yes, nil},
		{"and the system", owner, no, "$SYS/#", yes, nil},
		{"and nothing else that is hidden", owner, no, "$other/#", no, nil},
		{"but nobody writes the system", owner, yes, "$SYS/broker/x", no, []TopicRule{{"everybody", TopicReadWrite, "$SYS/#"}}},
		{"a disabled owner", Speaker{Kind: SpeaksAsUser, User: "off"}, no, "a", no, nil},
		{"an operator with a grant of mqtt reads", op, no, "devices/kitchen/#", yes, nil},
		{"and commands", op, yes, "cmds/kitchen/x", yes, nil},
		{"and sees commands", op, no, "cmds/kitchen/#", yes, nil},
		{"but does not report as it", op, yes, "devices/kitchen/x", no, nil},
		{"nor reaches another", op, no, "devices/kitchen2/#", no, nil},
		{"nor all at once", op, no, "devices/+/#", no, nil},
		{"by an MQTT credential likewise", phone, yes, "cmds/kitchen/x", yes, nil},
		{"not after the sign-in ended", Speaker{Kind: SpeaksAsUser, User: "op", Credential: "gone"}, yes, "cmds/kitchen/x", no, nil},
		{"a grant of ssh is none of mqtt", shell, no, "devices/kitchen/x", no, nil},
		{"a viewer reads", view, no, "devices/kitchen/#", yes, nil},
		{"and commands nothing", view, yes, "cmds/kitchen/x", no, nil},
		{"nor reads commands", view, no, "cmds/kitchen/x", no, nil},

		{"an application may nothing", app, no, "a", no, nil},
		{"but what a rule gives", app, no, "a/b/#", yes, []TopicRule{{"credential:mqc_app", TopicRead, "a/#"}}},
		{"to read is not to write", app, yes, "a/b", no, []TopicRule{{"everybody", TopicRead, "a/#"}}},
		{"the rule of another", app, no, "a/b", no, []TopicRule{{"credential:mqc_op", TopicRead, "a/#"}}},
		{"one that expired", Speaker{Kind: SpeaksAsApplication, Credential: "mqc_old"}, no, "a", no, []TopicRule{{"everybody", TopicRead, "#"}}},
		{"one of a disabled user", Speaker{Kind: SpeaksAsUser, User: "off", Credential: "mqc_off"}, no, "a", no, []TopicRule{{"everybody", TopicRead, "#"}}},
		{"no rule opens the system", app, no, "$SYS/broker/load", no, []TopicRule{{"everybody", TopicRead, "$SYS/#"}, {"everybody", TopicRead, "#"}}},
		{"deny wins", owner, no, "a/secret", no, []TopicRule{{"everybody", TopicReadWrite, "a/#"}, {"everybody", TopicDeny, "a/secret"}}},
		{"deny first", owner, yes, "a/secret", no, []TopicRule{{"everybody", TopicDeny, "a/secret"}, {"everybody", TopicReadWrite, "a/#"}}},
		{"deny over what is its own", kitchen, yes, "devices/kitchen/x", no, []TopicRule{{"tag:home", TopicDeny, "devices/#"}}},
		{"deny inside leaves the rest", owner, no, "a/#", yes, []TopicRule{{"everybody", TopicDeny, "a/secret/#"}}},
		{"deny of the whole subscription", owner, no, "a/secret/+", no, []TopicRule{{"everybody", TopicDeny, "a/secret/#"}}},
		{"a tag's rule holds for things", oven, no, "news", yes, []TopicRule{{"tag:home", TopicRead, "news"}}},
		{"a device's too", oven, no, "news", yes, []TopicRule{{"device:dev_k", TopicRead, "news"}}},
		{"devices are not things", oven, no, "news", no, []TopicRule{{"devices", TopicRead, "news"}}},
		{"a role", view, no, "news", yes, []TopicRule{{"role:viewer", TopicRead, "news"}}},
		{"a user", op, no, "news", yes, []TopicRule{{"user:op", TopicRead, "news"}}},
		{"a wider rule of a plus", app, no, "a/+/c", yes, []TopicRule{{"everybody", TopicRead, "a/+/+"}}},
		{"a plus is not a hash", app, no, "a/#", no, []TopicRule{{"everybody", TopicRead, "a/+"}}},
		{"a hash holds its parent", app, no, "a", yes, []TopicRule{{"everybody", TopicRead, "a/#"}}},
		{"the name", kitchen, yes, "x/kitchen/y", yes, []TopicRule{{"devices", TopicWrite, "x/%n/#"}}},
		{"the id", kitchen, yes, "x/dev_k", yes, []TopicRule{{"devices", TopicWrite, "x/%d"}}},
		{"the thing", oven, yes, "x/oven", yes, []TopicRule{{"everybody", TopicWrite, "x/%t"}}},
		{"no thing, no match", kitchen, yes, "x/", no, []TopicRule{{"everybody", TopicWrite, "x/%t"}}},
		{"the username", app, yes, "x/nodered", yes, []TopicRule{{"everybody", TopicWrite, "x/%u"}}},
		{"a person's", op, yes, "x/olga/c4", yes, []TopicRule{{"everybody", TopicWrite, "x/%u/%c"}}},
		{"a thing's", oven, yes, "x/oven", yes, []TopicRule{{"everybody", TopicWrite, "x/%u"}}},
		{"a wild username widens nothing", Speaker{Kind: SpeaksAsApplication, Credential: "mqc_wild"}, no, "x/a", no, []TopicRule{{"everybody", TopicRead, "x/%u"}}},
		{"a wild ClientID neither", Speaker{Kind: SpeaksAsApplication, Credential: "mqc_app", ClientID: "+"}, no, "x/a", no, []TopicRule{{"everybody", TopicRead, "x/%c"}}},
		{"nor one with a slash", Speaker{Kind: SpeaksAsApplication, Credential: "mqc_app", ClientID: "a/b"}, no, "x/a/b", no, []TopicRule{{"everybody", TopicRead, "x/%c"}}},
		{"what is put in is not read again", Speaker{Kind: SpeaksAsApplication, Credential: "mqc_app", ClientID: "%u"}, no, "x/nodered", no, []TopicRule{{"everybody", TopicRead, "x/%c"}}},
		{"a percent sign of its own", app, no, "x/5%", yes, []TopicRule{{"everybody", TopicRead, "x/5%"}}},
	} {
		p := house(test.rules...)
		may := p.MaySubscribe
		if test.write {
			may = p.MayPublish
		}
		if got := may(test.who, test.topic, noon); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	p := house(TopicRule{"everybody", TopicDeny, "a/secret/#"})
	if p.MayReceive(owner, "a/secret/x", noon) || !p.MayReceive(owner, "a/open", noon) || p.MayReceive(owner, "a/+", noon) {
		t.Error("what is denied inside of a subscription is delivered, or what is open is not")
	}
}

func TestContainsTopics(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		outer, filter string
		want          bool
	}{
		{"#", "a/b", yes}, {"#", "#", yes}, {"#", "+/+", yes}, {"#", "$SYS/x", no}, {"+/x", "$SYS/x", no}, {"$SYS/#", "$SYS/x", yes},
		{"a/#", "a", yes}, {"a/#", "a/#", yes}, {"a/#", "a/+/b/#", yes}, {"a/#", "ab", no}, {"a/#", "+/b", no},
		{"a/+", "a/b", yes}, {"a/+", "a/", yes}, {"a/+", "a", no}, {"a/+", "a/b/c", no}, {"a/+", "a/#", no}, {"a/+/#", "a/b", yes},
		{"a/+/#", "a", no}, {"a", "a/", no}, {"a/", "a", no}, {"/", "/", yes}, {"+/+", "/", yes}, {"+", "/", no}, {"+", "", yes}, {"a/b", "a/b", yes},
		{"a/b", "a/+", no},
	} {
		if got := ContainsTopics(test.outer, test.filter); got != test.want {
			t.Errorf("ContainsTopics(%q, %q) = %v", test.outer, test.filter, got)
		}
	}
}

// A rule is never wider than what matching says: whatever topic a contained filter matches, the outer one matches too.
func FuzzContainsTopics(f *testing.F) {
	f.Add("a/+/#", "a/b/+", "a/b/c")
	f.Add("#", "$SYS/#", "$SYS/x")
	f.Fuzz(func(t *testing.T, outer, filter, topic string) {
		if !ValidTopic(outer) || !ValidTopic(filter) || !ValidTopic(topic) || strings.ContainsAny(topic, "+#") {
			return
		}
		if ContainsTopics(outer, filter) && ContainsTopics(filter, topic) && !ContainsTopics(outer, topic) {
			t.Errorf("%q contains %q, which matches %q", outer, filter, topic)
		}
	})
}

func TestMQTTCredentialsExpire(t *testing.T) {
	t.Parallel()
	p := house()
	if next := p.NextExpiry(noon.Add(-time.Hour)); !next.Equal(noon) {
		t.Errorf("%v", next)
	}
}

// BenchmarkMayReceive is what each delivery costs where thousands of rules are there for others.
func BenchmarkMayReceive(b *testing.B) {
	rules := []TopicRule{{"credential:mqc_app", TopicRead, "devices/+/temp"}}
	for i := range 5000 {
		rules = append(rules, TopicRule{fmt.Sprintf("credential:mqc_%d", i), TopicRead, "devices/+/temp"})
	}
	p := house(rules...)
	for b.Loop() {
		if !p.MayReceive(app, "devices/kitchen/temp", noon) {
			b.Fatal("no")
		}
	}
}
