//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/mqtt"
)

const (
	hookReceiver = "127.0.0.1:9100"
	hookMQTT     = "127.0.0.1:1899"
)

// enough hooks and messages prove something: on a slow machine it takes longer than the time that is given.
const enough = 200

// The hub is killed at random moments while hooks come in, become messages, and messages leave as webhooks. Every hook that was
// accepted and every message that was acknowledged arrives, repeats carry the id of the first, a hook that is sent again
// is known, and an ordered endpoint keeps the order. ADIT_SOAK=3m kills it 200 times and more.
func TestHookKill(t *testing.T) {
	t.Parallel()
	duration := soakFor(t, 20*time.Second)
	r := newRig(t, "nginx", "ADIT_WEBHOOK_ALLOW=loopback", "ADIT_MQTT_ADDR="+hookMQTT)
	got := r.receiveHooks()
	for path, more := range map[string]ask{
		"in":      {"topics": []string{"kill/in/#"}},
		"out":     {"topics": []string{"kill/out/#"}, "concurrency": 16},
		"ordered": {"topics": []string{"kill/out/#"}, "mode": "ordered"},
	} {
		more["url"], more["name"], more["format"], more["rate"] = "http://"+hookReceiver+"/"+path, path, "raw", 1000
		r.mustCall("POST", "/api/v1/hooks/endpoints", more, nil)
	}
	var source struct {
		Source struct{ URL string }
		Secret string
	}
	r.mustCall("POST", "/api/v1/hooks/sources", ask{"slug": "kill", "verify": ask{"kind": "bearer"}, "rate": 10000, "burst": 10000,
		"action": ask{"kind": "publish", "topic": "kill/in/{{ .body.sender }}"}}, &source)

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var working sync.WaitGroup
	accepted, acknowledged := [4]map[string]string{}, 0
	var taken, published atomic.Int64
	for sender := range accepted {
		working.Go(func() { accepted[sender] = r.sendHooks(ctx, sender, source.Secret, &taken) })
	}
	credential := r.mqttCredential(ask{"kind": "user"})
	working.Go(func() { acknowledged = r.publishInOrder(ctx, credential, &published) })
	kills := 0
	proves := func() bool { return taken.Load() >= enough && published.Load() >= enough }
	for began := time.Now(); time.Since(began) < duration || !proves() && time.Since(began) < duration+5*patience; kills++ {
		passes(50*time.Millisecond + rand.N(600*time.Millisecond)) // at random: that is the point
		r.stopHub("KILL")
		r.startHub()
	}
	cancel()
	working.Wait()

	total := 0
	for _, byPayload := range accepted {
		total += len(byPayload)
	}
	t.Logf("killed the hub %d times; %d hooks were accepted and %d messages acknowledged", kills, total, acknowledged)
	if total < enough || acknowledged < enough {
		t.Error("the test proved nothing")
	}
	eventually(t, 10*time.Minute, "everything delivered", func() error { return got.missing(accepted[:], acknowledged) })
	got.judge(t)
	r.stopHub("KILL")
	r.intact()
}

func (r *rig) mustCall(method, path string, body, result any) {
	r.t.Helper()
	if err := r.call(method, path, body, result); err != nil {
		r.t.Fatal(err)
	}
}

// sendHooks posts hooks one after the other, each until it is accepted, and now and then one that was accepted before. It gives
// the ids by payload, and counts those that are accepted.
func (r *rig) sendHooks(ctx context.Context, sender int, secret string, count *atomic.Int64) map[string]string {
	accepted := map[string]string{}
	for n := 0; ctx.Err() == nil; n++ {
		if n%10 == 9 {
			n -= 5
			r.sendHook(ctx, accepted, sender, n, secret)
			n += 5
		}
		for ctx.Err() == nil && !r.sendHook(ctx, accepted, sender, n, secret) {
			<-time.After(20 * time.Millisecond) // the proxy answers at once while the hub is away
		}
		count.Add(1)
	}
	return accepted
}

// sendHook reports whether a hook was accepted. One that is known must be accepted under the id that it has.
func (r *rig) sendHook(ctx context.Context, accepted map[string]string, sender, n int, secret string) bool {
	payload := fmt.Sprintf(`{"sender":"s%d","n":%d}`, sender, n)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, hubURL+"/hook/kill", strings.NewReader(payload))
	if err != nil {
		r.t.Error(err)
		return false
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", fmt.Sprintf("%d-%d", sender, n))
	res, err := r.http.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	var answer struct{ ID string }
	if err != nil || res.StatusCode != http.StatusAccepted || json.Unmarshal(text, &answer) != nil || answer.ID == "" {
		if res.StatusCode < 500 {
			r.t.Errorf("hook %s: %s %s", payload, res.Status, text)
		}
		return false
	}
	if known := accepted[payload]; known != "" && known != answer.ID {
		r.t.Errorf("hook %s was %s and is %s now", payload, known, answer.ID)
	}
	accepted[payload] = answer.ID
	return true
}

// publishInOrder publishes 0, 1, 2, … at QoS 1, each until it is acknowledged, and gives how many were; count says so meanwhile.
func (r *rig) publishInOrder(ctx context.Context, c mqttCredential, count *atomic.Int64) (n int) {
	for ctx.Err() == nil {
		conn, err := r.host.dial(ctx, "tcp", hookMQTT)
		if err != nil {
			<-time.After(20 * time.Millisecond)
			continue
		}
		client, err := mqtt.NewClient(ctx, conn, mqtt.Options{ClientID: newID(), Username: c.username, Password: c.password, Clean: true})
		if err != nil {
			continue
		}
		for ctx.Err() == nil && client.Publish(ctx, mqtt.Message{Topic: "kill/out/x", QoS: 1, Payload: fmt.Append(nil, n)}) == nil {
			n++
			count.Store(int64(n))
		}
		_ = client.Close()
	}
	return n
}

// hooks are what a receiver was sent.
type hooks struct {
	mu      sync.Mutex
	count   map[string]int               // by path and body
	bodies  map[string]map[string]string // by path and webhook-id
	strange []string                     // ids that came with two bodies
	ordered []string                     // bodies at /ordered, as they came
}

// receiveHooks takes webhooks on the hub's machine, and fails one of a thousand.
func (r *rig) receiveHooks() *hooks {
	r.t.Helper()
	h := &hooks{count: map[string]int{}, bodies: map[string]map[string]string{}}
	l, err := r.host.listen(hookReceiver)
	if err != nil {
		r.t.Fatal(err)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: patience}
	go func() { _ = server.Serve(l) }()
	r.t.Cleanup(func() { _ = server.Close() })
	return h
}

// ServeHTTP is http.Handler's.
func (h *hooks) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil || rand.IntN(1000) == 0 {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count[q.URL.Path+" "+string(body)]++
	byID := h.bodies[q.URL.Path]
	if byID == nil {
		byID = map[string]string{}
		h.bodies[q.URL.Path] = byID
	}
	id := q.Header.Get("webhook-id")
	if known, ok := byID[id]; id == "" || ok && known != string(body) {
		h.strange = append(h.strange, fmt.Sprintf("%s: %q is %s and %s", q.URL.Path, id, known, body))
	}
	byID[id] = string(body)
	if q.URL.Path == "/ordered" {
		h.ordered = append(h.ordered, string(body))
	}
}

func (h *hooks) times(path, body string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.count[path+" "+body]
}

// missing names something that did not come.
func (h *hooks) missing(accepted []map[string]string, acknowledged int) error {
	for _, byPayload := range accepted {
		for payload := range byPayload {
			if h.times("/in", payload) == 0 {
				return fmt.Errorf("hook %s is not there", payload)
			}
		}
	}
	for n := range acknowledged {
		for _, path := range []string{"/out", "/ordered"} {
			if h.times(path, fmt.Sprint(n)) == 0 {
				return fmt.Errorf("message %d is not at %s", n, path)
			}
		}
	}
	return nil
}

// judge looks at ids and order.
func (h *hooks) judge(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.strange) > 0 {
		t.Errorf("%d times an id stood for something else: %.300q", len(h.strange), h.strange)
	}
	last, back := 0, 0
	for _, body := range h.ordered {
		n := 0
		if _, err := fmt.Sscan(body, &n); err != nil {
			t.Fatal(err)
		}
		if n < last {
			back++
		}
		last = n
	}
	if back > 0 {
		t.Errorf("the ordered endpoint went back %d times: %.300q", back, h.ordered)
	}
	repeats := 0
	for _, n := range h.count {
		repeats += n - 1
	}
	t.Logf("%d webhooks came more than once", repeats)
}
