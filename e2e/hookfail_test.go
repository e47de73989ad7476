//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/mqtt"
)

const failAddress = "127.0.0.1:9100"

// failing is a receiver with a path for each way to fail.
type failing struct {
	mu    sync.Mutex
	count map[string]int
	mends bool            // from now on /broken answers 200
	took  []time.Duration // of what came to /fine, from its publishing
}

func (f *failing) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count[q.URL.Path]++
	switch q.URL.Path {
	case "/fine":
		var sent time.Time
		if err == nil && json.Unmarshal(body, &sent) == nil {
			f.took = append(f.took, time.Since(sent))
		}
	case "/broken":
		if !f.mends {
			w.WriteHeader(http.StatusInternalServerError)
		}
	case "/hangs":
		f.mu.Unlock()
		<-q.Context().Done() // until the hub has enough of it
		f.mu.Lock()
	case "/later":
		if f.count[q.URL.Path] == 1 {
			w.Header().Set("Retry-After", "9")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	case "/gone":
		w.WriteHeader(http.StatusGone)
	case "/moved":
		http.Redirect(w, q, "/elsewhere", http.StatusPermanentRedirect)
	}
}

func (f *failing) came(path string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count[path]
}

// taken waits until n came to /fine, and gives how long each took.
func (f *failing) taken(t *testing.T, n int) []time.Duration {
	t.Helper()
	eventually(t, patience, fmt.Sprint(n, " at the one that works"), func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.took) < n {
			return fmt.Errorf("%d", len(f.took))
		}
		return nil
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	took := f.took
	f.took = nil
	slices.Sort(took)
	return took
}

// How long the endpoint that works may take longer while others fail than twice what it takes while they work: half of all, and the
// slowest of twenty. One that waited for the one that hangs would take two seconds more, again and again.
const (
	alsoP50 = 100 * time.Millisecond
	alsoP95 = time.Second
)

// One endpoint answers 500 and one not at all, while a third delivers as fast as before. Breakers open, what waits behind
// them is tried no more, and arrives when the receiver works again.
func TestHookBreaker(t *testing.T) {
	t.Parallel()
	r := newRig(t, "nginx", "ADIT_WEBHOOK_ALLOW=loopback", "ADIT_MQTT_ADDR="+hookMQTT)
	f := &failing{count: map[string]int{}}
	r.serveHTTP(failAddress, f)
	r.newEndpoint("fine", "http://"+failAddress+"/fine", ask{"topics": []string{"t/fine"}, "format": "raw"})
	for name, concurrency := range map[string]int{"good": 4, "better": 32} { // as the next two, but for failing
		r.newEndpoint(name, "http://"+failAddress+"/"+name, ask{"topics": []string{"t/good"}, "concurrency": concurrency})
	}
	r.newEndpoint("broken", "http://"+failAddress+"/broken", ask{"topics": []string{"t/bad"}})
	r.newEndpoint("hangs", "http://"+failAddress+"/hangs", ask{"topics": []string{"t/bad"}, "timeout_seconds": 2, "concurrency": 32})
	client := r.mqttClient()
	const n, bad = 100, 200
	publish := func(topics ...string) {
		for range n {
			for _, topic := range topics {
				payload, err := json.Marshal(time.Now())
				if err != nil {
					t.Fatal(err)
				}
				if err := client.Publish(t.Context(), mqtt.Message{Topic: topic, QoS: 1, Payload: payload}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	publish("t/fine")
	f.taken(t, n) // not measured: connections are made
	publish("t/good", "t/fine", "t/good")
	before := f.taken(t, n)
	began := time.Now()
	publish("t/bad", "t/fine", "t/bad")
	during := f.taken(t, n)
	asFast(t, before, during)
	for _, name := range []string{"broken", "hangs"} {
		eventually(t, patience, "the breaker of "+name+" open", func() error {
			if e := r.endpoint(name); e.Breaker != "open" || e.Waiting != bad || e.LastError == "" || e.State != "active" {
				return fmt.Errorf("%+v", e)
			}
			return nil
		})
	}
	// Ten failures in a row, what was under way beside them, and a probe each half a minute.
	if came, probes := f.came("/broken"), 1+int(time.Since(began)/(30*time.Second)); came < 10 || came > 10+4+probes {
		t.Errorf("%d attempts until the breaker was open", came)
	}
	f.mu.Lock()
	f.mends = true
	f.mu.Unlock()
	eventually(t, 10*time.Minute, "all that waited delivered", func() error {
		if e := r.endpoint("broken"); e.Breaker != "closed" || e.Waiting > 0 || e.Dead > 0 {
			return fmt.Errorf("%+v", e)
		}
		return nil
	})
}

// asFast compares how long what came to one endpoint took, while others worked and while they failed.
func asFast(t *testing.T, before, during []time.Duration) {
	t.Helper()
	p50, p95 := percentile(during, 50)-2*percentile(before, 50), percentile(during, 95)-2*percentile(before, 95)
	t.Logf("from publishing to the receiver: p50 %v and p95 %v while others work, %v and %v while they fail", percentile(before, 50), percentile(before, 95),
		percentile(during, 50), percentile(during, 95))
	if p50 > alsoP50 || p95 > alsoP95 {
		t.Errorf("while others fail, one that works takes %v more than twice as long, and the slowest %v", p50, p95)
	}
}

// mqttClient is the owner's at the hub's own port.
func (r *rig) mqttClient() *mqtt.Client {
	r.t.Helper()
	c := r.mqttCredential(ask{"kind": "user"})
	conn, err := r.host.dial(context.Background(), "tcp", hookMQTT)
	if err != nil {
		r.t.Fatal(err)
	}
	client, err := mqtt.NewClient(context.Background(), conn, mqtt.Options{ClientID: newID(), Username: c.username, Password: c.password, Clean: true})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { client.Close() })
	return client
}

// What a receiver says of itself is heard: later, never again, and elsewhere, which is not followed.
func TestHookReceiverSays(t *testing.T) {
	t.Parallel()
	r := newRig(t, "nginx", "ADIT_WEBHOOK_ALLOW=loopback")
	f := &failing{count: map[string]int{}}
	r.serveHTTP(failAddress, f)
	for _, name := range []string{"later", "gone", "moved"} {
		r.newEndpoint(name, "http://"+failAddress+"/"+name, ask{"events": []string{"device.*"}})
	}
	first := r.tested("later")
	second := r.attempt(r.deliveries("later")[0].Delivery.ID, 2)
	if wait := second.At.Sub(first.At); first.Status != http.StatusTooManyRequests || second.Status != http.StatusOK || wait < 9*time.Second || wait > patience {
		t.Errorf("429 with Retry-After: 9, and %d came after %v", second.Status, wait)
	}
	if a := r.tested("gone"); a.Status != http.StatusGone {
		t.Errorf("the attempt: %+v", a)
	}
	eventually(t, patience, "the one that is gone disabled", func() error {
		if e := r.endpoint("gone"); e.State != "disabled" || !strings.Contains(e.DisabledReason, "410") {
			return fmt.Errorf("%+v", e)
		}
		return nil
	})
	if a := r.tested("moved"); a.Status != http.StatusPermanentRedirect || !strings.Contains(a.Error, "never followed") {
		t.Errorf("the attempt: %+v", a)
	}
	if n := f.came("/elsewhere"); n > 0 {
		t.Errorf("a redirect was followed %d times", n)
	}
}

// What the broker acknowledged is a webhook, though the hub is killed the moment after.
func TestHookBeforePuback(t *testing.T) {
	t.Parallel()
	r := newRig(t, "nginx", "ADIT_WEBHOOK_ALLOW=loopback", "ADIT_MQTT_ADDR="+hookMQTT)
	f := &receiver{status: http.StatusOK}
	r.serveHTTP(failAddress, f)
	r.newEndpoint("late", "http://"+failAddress+"/fine", ask{"topics": []string{"t/#"}, "format": "raw"})
	r.mustCall("PATCH", "/api/v1/hooks/endpoints/late", ask{"state": "paused"}, nil) // nothing leaves before the hub is killed
	const kills = 5
	for n := range kills {
		client, hub := r.mqttClient(), r.hubProcess()
		if err := client.Publish(t.Context(), mqtt.Message{Topic: "t/x", QoS: byte(1 + n%2), Payload: fmt.Append(nil, n)}); err != nil {
			t.Fatal(err)
		}
		if err := hub.Kill(); err != nil {
			t.Fatal(err)
		}
		r.stopped()
		r.startHub()
	}
	if came := f.all(); len(came) > 0 {
		t.Errorf("a paused endpoint was sent %d", len(came))
	}
	r.mustCall("PATCH", "/api/v1/hooks/endpoints/late", ask{"state": "active"}, nil)
	f.last(t, kills)
	var got []string
	for _, d := range f.all() {
		got = append(got, string(d.body))
	}
	slices.Sort(got)
	if want := []string{"0", "1", "2", "3", "4"}; !slices.Equal(slices.Compact(got), want) {
		t.Errorf("of what was acknowledged came %q", got)
	}
}
