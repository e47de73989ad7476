package external

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/wire"
)

// listeners are readers of overlapping filters, with what each was given.
type listeners struct {
	t       *testing.T
	r       *rig
	filters []string
	got     []chan string
	cancels []func()
}

func (r *rig) listen(t *testing.T, filters ...string) *listeners {
	t.Helper()
	l := &listeners{t: t, r: r, filters: filters}
	for _, f := range filters {
		got := make(chan string, 100)
		cancel, err := r.Subscribe(f, func(m messaging.Received) {
			if !strings.HasPrefix(m.Topic, "$SYS") {
				got <- fmt.Sprintf("%s %d %v", m.Payload, m.QoS, m.Retain)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		l.got, l.cancels = append(l.got, got), append(l.cancels, cancel)
	}
	return l
}

// hear publishes a/b, and has each reader from index from to index to given it as its filter wants.
func (l *listeners) hear(from, to int) {
	l.t.Helper()
	for n := range 6 {
		m := mqtt.Message{Topic: "a/b", Payload: []byte{'0' + byte(n)}, QoS: byte(n % 3), Retain: n == 5}
		if err := l.r.Publish(l.t.Context(), m, ""); err != nil {
			l.t.Fatal(err)
		}
	}
	for i := from; i < to; i++ {
		for n := 0; n < 6 && mqtt.Match(l.filters[i], "a/b"); n++ {
			want := fmt.Sprintf("%d %d %v", n, n%3, n == 5)
			select {
			case m := <-l.got[i]:
				if m != want {
					l.t.Errorf("%s: %s, want %s", l.filters[i], m, want)
				}
			case <-time.After(patience):
				l.t.Fatalf("%s: nothing came", l.filters[i])
			}
		}
	}
}

// Each reader is given each message once and in order, however their filters overlap, and none that was retained before.
func TestSubscribe(t *testing.T) {
	t.Parallel()
	r := start(t, newMosquitto(t).Address).connected(t)
	if err := r.Publish(t.Context(), mqtt.Message{Topic: "a/b", Payload: []byte("old"), QoS: 1, Retain: true}, ""); err != nil {
		t.Fatal(err)
	}
	l := r.listen(t, "a/#", "+/b", "a/+", "a/b", "a/b", "b", "$SYS/#", "#", "#", "+/#")
	const wide = 7 // from here on they hold the others
	l.hear(0, len(l.filters))
	if n := r.Stats().Subscriptions; n != 2 {
		t.Errorf("the broker was asked for %d subscriptions", n)
	}
	for _, cancel := range l.cancels[wide:] {
		cancel()
	}
	eventually(t, "the broker is asked for the narrower ones", func() bool {
		r.hub.mu.Lock()
		defer r.hub.mu.Unlock()
		return slices.Equal(slices.Sorted(maps.Keys(r.hub.asked)), r.hub.filters())
	})
	l.hear(0, wide)
	for i, cancel := range l.cancels {
		cancel()
		if len(l.got[i]) > 0 {
			t.Errorf("%s was given %s too", l.filters[i], <-l.got[i])
		}
	}
	if n := r.Stats().Subscriptions; n != 0 {
		t.Errorf("%d subscriptions are left", n)
	}
	for _, f := range []string{"", "a/#/b", "$share/g/a", "a+"} {
		if _, err := r.Subscribe(f, nil); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%q: %v", f, err)
		}
	}
}

// What is retained is listed whole and in order, page by page, however much it is; and it follows a device's name.
func TestRetained(t *testing.T) {
	t.Parallel()
	r := start(t, newMosquitto(t).Address).connected(t)
	const many = 3000
	for i := range many {
		m := mqtt.Message{Topic: fmt.Sprintf("devices/kitchen/%04d", i), Payload: []byte("xy"), QoS: byte(i % 3), Retain: true, ContentType: "text/plain"}
		if err := r.Publish(t.Context(), m, ""); err != nil {
			t.Fatal(err)
		}
	}
	list := func(filter string, limit int, may func(string) bool) (all []messaging.Received) {
		t.Helper()
		for after, more := "", true; more; {
			page, err := r.Retained(t.Context(), filter, after, limit, may)
			if err != nil {
				t.Fatal(err)
			}
			if n := page.Total; len(all) == 0 && int64(n)*2 != page.TotalBytes {
				t.Errorf("%d have %d bytes", n, page.TotalBytes)
			}
			all = append(all, page.Messages...)
			after, more = all[len(all)-1].Topic, page.More
		}
		return all
	}
	all := list("devices/#", 700, nil)
	if len(all) != many || !slices.IsSortedFunc(all, func(a, b messaging.Received) int { return strings.Compare(a.Topic, b.Topic) }) {
		t.Fatalf("%d of %d", len(all), many)
	}
	if got := list("#", 10, func(topic string) bool { return strings.HasSuffix(topic, "99") }); len(got) != many/100 {
		t.Errorf("%d may be seen", len(got))
	}
	if err := r.Moved(t.Context(), "devices/kitchen", "devices/galley"); err != nil {
		t.Fatal(err)
	}
	moved := list("#", 1000, nil)
	if len(moved) != many {
		t.Fatalf("%d were moved", len(moved))
	}
	for i, m := range moved {
		if m.Topic != fmt.Sprintf("devices/galley/%04d", i) || m.QoS != byte(i%3) || m.ContentType != "text/plain" || !m.Retain {
			t.Fatalf("%d: %+v", i, m)
		}
	}
	if err := r.Moved(t.Context(), "devices/galley", ""); err != nil {
		t.Fatal(err)
	}
	if page, err := r.Retained(t.Context(), "#", "", 10, nil); err != nil || page.Total != 0 || page.More || page.Messages == nil {
		t.Errorf("%+v %v", page, err)
	}
}

// However much is retained, a page is bounded and has no gaps: the next goes on where it ended.
func TestGatheringIsBounded(t *testing.T) {
	t.Parallel()
	payload := make([]byte, 1<<20)
	const many = 100
	var all []string
	for after, more := "", true; more; {
		g := &gathering{after: after, limit: 1000}
		take := g.take(&Broker{now: time.Now})
		for i := range many {
			take(&mqtt.Publish{Topic: fmt.Sprintf("%03d", i*37%many), Payload: payload, Retain: true}, func() {})
			if g.bytes > 2*maxRetained+len(payload)+3 {
				t.Fatalf("%d bytes are kept", g.bytes)
			}
		}
		page := g.page()
		if page.Total != many || len(page.Messages) == 0 {
			t.Fatalf("%d of %d", len(page.Messages), page.Total)
		}
		for _, m := range page.Messages {
			all = append(all, m.Topic)
		}
		after, more = all[len(all)-1], page.More
	}
	if len(all) != many || !slices.IsSorted(all) {
		t.Errorf("%d: %v", len(all), all)
	}
}
