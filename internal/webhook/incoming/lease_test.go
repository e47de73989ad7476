package incoming

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/wire"
)

// slow is a body that takes its time, by the rig's clock.
type slow struct {
	io.Reader
	b    *rig
	take time.Duration
}

func (s *slow) Read(p []byte) (int, error) {
	s.b.forward(s.take)
	s.take = 0
	return s.Reader.Read(p)
}

// A body may take longer to come than a lease lasts. What is done with it is leased from when it is kept on, or the queue would do the
// same beside whoever accepted it.
func TestLeaseBeginsBehindTheBody(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t)) // does not run: what it accepts stays leased
	s := r.publishing(nil)
	_, err := r.Receive(t.Context(), Request{Slug: s.Slug, Method: http.MethodPost, URL: &url.URL{Path: "/hook/" + s.Slug}, Header: http.Header{},
		Length: 1, Body: &slow{strings.NewReader("x"), r, 2 * lease}})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := r.claim(t.Context()); err != nil || n != 0 {
		t.Errorf("claimed %d beside whoever works on it, %v", n, err)
	}
}

// Who waits half a minute waits from when the body is there: a slow one is not over before it began.
func TestWaitBeginsBehindTheBody(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t))
	r.run()
	s := r.publishing(nil)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	received := make(chan error, 1)
	go func() {
		_, err := r.Receive(ctx, Request{Slug: s.Slug, Method: http.MethodPost, URL: &url.URL{Path: "/hook/" + s.Slug, RawQuery: "wait=30s"}, Header: http.Header{},
			Length: 1, Body: &slow{strings.NewReader("x"), r, 2 * MaxWait}})
		received <- err
	}()
	select {
	case m := <-r.broker.got:
		if m.Expiry <= 0 {
			t.Errorf("it expires in %v", m.Expiry)
		}
	case err := <-received:
		t.Errorf("nothing was published: %v", err)
		return
	}
	leave()
	<-received
}

// Who waits is told by the try that has the request, and not by one that has lost it.
func TestLostTryTellsNobody(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.Dir(t)) // does not run: what it accepts stays leased
	s := r.publishing(nil)
	if _, err := r.send(s, "x"); err != nil {
		t.Fatal(err)
	}
	row, err := r.row(t.Context(), r.only().ID)
	if err != nil {
		t.Fatal(err)
	}
	j, err := r.jobOf(row)
	if err != nil {
		t.Fatal(err)
	}
	w := r.awaited.enter(row.ID)
	j.owner = "lost/1"
	r.finish(t.Context(), j, outcome{err: wire.Errorf(wire.Forbidden, "no")})
	select {
	case <-w.done:
		t.Errorf("told %v by a try that has lost it", w.err)
	default:
	}
	j.owner = row.Owner
	r.finish(t.Context(), j, outcome{err: wire.Errorf(wire.Forbidden, "no")})
	<-w.done
}

// A try that ends late does not end the lease of the next one, which has begun in the same process.
func TestLateTryLeavesTheLease(t *testing.T) {
	t.Parallel()
	r := running{jobs: map[string]string{}}
	r.add("req_1", "me/1")
	r.add("req_1", "me/2")
	r.remove("req_1", "me/1")
	if all := r.all(); all["req_1"] != "me/2" {
		t.Errorf("%v", all)
	}
	r.remove("req_1", "me/2")
	if all := r.all(); len(all) != 0 {
		t.Errorf("%v", all)
	}
}
