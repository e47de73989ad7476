package conformance

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/aditdev/adit/internal/broker"
	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/storetest"
	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

// policy lets the tester do everything but write to $SYS. Everybody else whose password is right is a device of its
// username: it writes devices/NAME/# and reads cmds/NAME/# and devices/NAME/#, until it is revoked.
type policy struct {
	mu      sync.Mutex
	changed chan struct{}
	revoked map[string]bool
}

func newPolicy() *policy { return &policy{changed: make(chan struct{}), revoked: map[string]bool{}} }

// revoke takes what a device may do, but leaves it connected.
func (p *policy) revoke(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.revoked[name] = true
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *policy) Admit(_ context.Context, _ messaging.Door, username, password string) (messaging.Principal, error) {
	switch {
	case password != pass:
		return messaging.Principal{}, wire.Errorf(wire.Unauthenticated, "Wrong username or password.")
	case username == user:
		return messaging.Principal{Kind: messaging.KindUser, ID: "usr_1", Name: user, User: "usr_1"}, nil
	}
	return messaging.Principal{Kind: messaging.KindDevice, ID: "dev_" + username, Name: username, Device: "dev_" + username}, nil
}

func (p *policy) may(who messaging.Principal, filter string, trees ...string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if who.Kind == messaging.KindUser {
		return true
	}
	for _, tree := range trees {
		if mqtt.Contains(tree+who.Name+"/#", filter) && !p.revoked[who.Name] {
			return true
		}
	}
	return false
}

func (p *policy) MayPublish(who messaging.Principal, _, topic string) bool {
	return !strings.HasPrefix(topic, "$") && p.may(who, topic, "devices/")
}

func (p *policy) MaySubscribe(who messaging.Principal, _, filter string) bool {
	return p.may(who, filter, "devices/", "cmds/")
}

func (p *policy) MayReceive(who messaging.Principal, id, topic string) bool {
	return p.MaySubscribe(who, id, topic)
}

func (p *policy) Lives(messaging.Principal) bool { return true }

func (p *policy) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// ours runs our broker on a database, behind a TCP port and a WebSocket door.
func ours(t *testing.T) (target, *policy) {
	t.Helper()
	db, err := store.Open(t.Context(), storetest.Dir(t))
	if err != nil {
		t.Fatal(err)
	}
	access := newPolicy()
	b, err := broker.New(t.Context(), broker.Options{Access: access, Store: db, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { upgrade(b, w, r) }))
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		if err := b.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	work.Go(func() { accept(listener, b, &work) })
	t.Cleanup(func() {
		_ = listener.Close()
		cancel()
		web.Close()
		work.Wait()
		_ = db.Close()
	})
	g := target{url: "ws" + strings.TrimPrefix(web.URL, "http"), user: user, pass: pass}
	g.doors = map[string]dial{"tcp": dialTCP(listener.Addr().String()), "websocket": dialWebSocket(g.url)}
	return g, access
}

func accept(l net.Listener, b *broker.Broker, work *sync.WaitGroup) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		work.Go(func() { _ = b.Serve(context.Background(), conn, messaging.Door{Name: "tcp"}) })
	}
}

// upgrade is a WebSocket door as the hub's GET /mqtt is one.
func upgrade(b *broker.Broker, w http.ResponseWriter, r *http.Request) {
	conn, err := stream.Accept(w, r, wire.SubprotocolMQTT)
	if err != nil {
		return
	}
	_ = b.Serve(context.Background(), conn.NetConn(context.Background()), messaging.Door{Name: "websocket"})
}

// Each row holds for our broker, with the very Reason Codes.
func TestRowsHoldForOurs(t *testing.T) {
	t.Parallel()
	g, _ := ours(t)
	for _, w := range rows(t, "rows") {
		each(t, w, g, true)
	}
}
