package incoming

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/webhook/header"
	"github.com/aditdev/adit/internal/webhook/sign"
	"github.com/aditdev/adit/internal/wire"
)

// duplicate sends, and reports whether that came before.
func (r *rig) duplicate(s Source, body string, headers ...string) bool {
	r.t.Helper()
	a, err := r.send(s, body, headers...)
	if err != nil {
		r.t.Fatal(err)
	}
	return a.Header[headerDuplicate] == "true"
}

// Where no repeats are to be known, a signed request still comes once: who saw it cannot send it again. By Standard Webhooks it could.
func TestSignedRequestComesOnceWithoutDedupe(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	key := sign.NewSecret()
	secret := key.String()
	s, _, err := r.Create(t.Context(), "", Change{Secret: &secret, Settings: func(s *Settings) {
		*s = Settings{Verify: Verification{Kind: VerifyStandard}, Action: Action{Kind: ActionStore}, Dedupe: Dedupe{Hours: new(0)}}
	}})
	if err != nil {
		t.Fatal(err)
	}
	signed := func(id string) []string {
		at := r.now()
		return []string{sign.HeaderID, id, sign.HeaderTimestamp, strconv.FormatInt(at.Unix(), 10), sign.HeaderSignature, key.Sign(id, at, []byte("x"))}
	}
	first := signed("msg_1")
	for turn, want := range []bool{false, true, true} {
		if r.duplicate(s, "x", append([]string{"Idempotency-Key", strconv.Itoa(turn)}, first...)...) != want {
			t.Errorf("turn %d: a repeat is not %v", turn, want)
		}
	}
	if r.duplicate(s, "x", signed("msg_2")...) {
		t.Error("another id is a repeat")
	}
	r.forward(3*defaultTolerance*time.Second + time.Second)
	if r.duplicate(s, "x", signed("msg_1")...) {
		t.Error("the id is known beyond the time for which signatures are good")
	}
}

// What was signed tells a repeat whose id, which was not signed, is another: it is answered by the first, and done again where that failed.
// It was told an id that does not exist, and was not done.
func TestRepeatByWhatWasSigned(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	r.broker.set(wire.Errorf(wire.Forbidden, "no"))
	r.run()
	s, secret, err := r.Create(t.Context(), "", Change{Settings: func(s *Settings) {
		*s = Settings{Verify: Verification{Kind: VerifyHMAC, Header: "X-Sig", Signed: "{timestamp}.{body}", TimestampHeader: "X-Time"},
			Action: Action{Kind: ActionPublish, Topic: "hooks/a"}}
	}})
	if err != nil {
		t.Fatal(err)
	}
	stamp := strconv.FormatInt(r.now().Unix(), 10)
	signature := hex.EncodeToString(mac(sha256.New, secret, []byte(stamp+".x")))
	send := func(key string) string {
		a, err := r.send(s, "x", "X-Sig", signature, "X-Time", stamp, "Idempotency-Key", key)
		if err != nil {
			t.Fatal(err)
		}
		return a.Header["Adit-Request"]
	}
	first := send("a")
	r.until("it has failed", func() bool { return r.only().State == stateFailed })
	r.broker.set(nil)
	if again := send("b"); again != first {
		t.Errorf("the repeat is told %s, and the first is %s", again, first)
	}
	r.until("it is done", func() bool { return r.only().State == stateDone })
	if n := r.only().Repeats; n != 1 {
		t.Errorf("%d repeats", n)
	}
}

// Ids that are too long to be kept, or no text, tell repeats as others do. They told none.
func TestOddIDsTellRepeats(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	s := r.publishing(func(s *Settings) { s.Action = Action{Kind: ActionStore} })
	long := strings.Repeat("k", 5000)
	for _, key := range []string{"short", long, long + "2", "a\tb", "a\u0085b", "a\xffb", "a\xfeb"} {
		for _, want := range []bool{false, true} {
			if r.duplicate(s, "x", "Idempotency-Key", key) != want {
				t.Errorf("%.20q: a repeat is not %v", key, want)
			}
		}
	}
	if r.duplicate(s, "x", "ce-id", long) {
		t.Error("the same value in another header is a repeat")
	}
	entries, _, err := r.Requests(t.Context(), Filter{Limit: 10})
	if err != nil || len(entries) != 8 {
		t.Fatalf("%d requests, %v", len(entries), err)
	}
	for _, e := range entries {
		if len(e.Key) > maxKey {
			t.Errorf("a key has %d bytes", len(e.Key))
		}
	}
}

// What tells one event from another may be two things together, and what only looks like an id is none. Requests that were new were taken for
// repeats, and lost.
func TestIDsOfSenders(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	s := r.publishing(func(s *Settings) { s.Action = Action{Kind: ActionStore} })
	const uuid = "13792a34-cac6-4fda-95a8-c58e00a3954e"
	for name, turns := range map[string][]struct {
		body    string
		headers []string
		repeat  bool
	}{
		"CloudEvents number events by source (1.0.2 §3.1.1)": {
			{"x", []string{"ce-source", "/a", "ce-id", "1"}, false},
			{"x", []string{"ce-source", "/b", "ce-id", "1"}, false},
			{"x", []string{"ce-source", "/a", "ce-id", "1"}, true},
		},
		"all that one push sets off at GitLab has one X-Gitlab-Event-UUID": {
			{"push", []string{"X-Gitlab-Event-UUID", uuid, "Idempotency-Key", "k1"}, false},
			{"pipeline", []string{"X-Gitlab-Event-UUID", uuid, "Idempotency-Key", "k2"}, false},
			{"pipeline", []string{"X-Gitlab-Event-UUID", uuid, "Idempotency-Key", "k2"}, true},
		},
		"GitLab before 17.4 has no other id": {
			{"push", []string{"X-Gitlab-Event-UUID", uuid}, false},
			{"pipeline", []string{"X-Gitlab-Event-UUID", uuid}, false},
			{"pipeline", []string{"X-Gitlab-Event-UUID", uuid}, true},
		},
	} {
		for i, turn := range turns {
			if r.duplicate(s, turn.body, turn.headers...) != turn.repeat {
				t.Errorf("%s: request %d is not %v", name, i, turn.repeat)
			}
		}
	}
}

// A request that is done again has passed as many hubs as before: without that a circle would not end.
func TestReplayKeepsHops(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	s := r.publishing(nil)
	r.run()
	if _, err := r.send(s, "x", header.Hops, "3"); err != nil {
		t.Fatal(err)
	}
	for _, turn := range []string{"at first", "again", "a third time"} {
		hops := ""
		for _, u := range r.message().UserProperties {
			if u.Name == header.Hops {
				hops = u.Value
			}
		}
		if hops != "3" {
			t.Errorf("%s: %q hops", turn, hops)
		}
		r.until("it is done", func() bool { return r.only().State == stateDone })
		if _, err := r.Replay(t.Context(), r.only().ID); err != nil {
			t.Fatal(err)
		}
	}
}
