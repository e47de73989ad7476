package tunnelhub_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/agent/carrier"
	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
	"github.com/aditdev/adit/tunnelhub"
)

// peer is an agent written by hand, frame by frame.
type peer struct {
	t     *testing.T
	r     *rig
	ws    *stream.FrameConn
	hello wire.Hello
	raw   []byte // hello as sent
	auth  wire.Auth
}

// dialPeer connects and reads hello.
func (r *rig) dialPeer(t *testing.T) *peer {
	t.Helper()
	ws, err := stream.Dialer{}.Dial(context.Background(), r.server.URL+wire.PathTunnel, nil, wire.SubprotocolTunnel)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ws.CloseNow)
	p := &peer{t: t, r: r, ws: ws}
	m, raw := p.read()
	p.hello, p.raw = m.(wire.Hello), raw
	p.auth = wire.Auth{
		Purpose: wire.PurposeCarrier, Device: device, Host: r.options.Hosts[0], Nonce: wire.NewID(),
		Instance: wire.Instance{Counter: 5, Random: "a"}, Clock: time.Now().UnixMilli(), AgentVersion: "hand",
		Carriers: []string{p.hello.Nonce},
	}
	return p
}

func (p *peer) read() (wire.Message, []byte) {
	p.t.Helper()
	m, raw, err := p.tryRead()
	if err != nil {
		p.t.Fatal(err)
	}
	return m, raw
}

func (p *peer) tryRead() (wire.Message, []byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return p.ws.ReadMessage(ctx)
}

func (p *peer) send(m wire.Message) {
	p.t.Helper()
	if err := p.ws.WriteMessage(m); err != nil {
		p.t.Fatal(err)
	}
}

// authenticate sends auth, signed by key over transcript, and gives what the hub answers.
func (p *peer) authenticate(key ed25519.PrivateKey, transcript func(hello, auth []byte, host string) []byte) (wire.Message, error) {
	p.t.Helper()
	auth, err := wire.Encode(p.auth)
	if err != nil {
		p.t.Fatal(err)
	}
	signed := wire.AppendSignature(auth, ed25519.Sign(key, transcript(p.raw, auth, p.auth.Host)))
	if err := p.ws.WriteRaw(signed); err != nil {
		p.t.Fatal(err)
	}
	m, _, err := p.tryRead()
	return m, err
}

func (p *peer) ready() {
	p.t.Helper()
	if m, err := p.authenticate(p.r.key, wire.AgentTranscript); err != nil {
		p.t.Fatalf("not let in: %v", err)
	} else if _, ok := m.(wire.Ready); !ok {
		p.t.Fatalf("got %T", m)
	}
}

func TestHandshakeRefuses(t *testing.T) {
	_, other, _ := ed25519.GenerateKey(nil)
	for name, c := range map[string]struct {
		edit       func(*rig, *peer)
		key        func(*rig) ed25519.PrivateKey
		transcript func(hello, auth []byte, host string) []byte
		want       wire.Code
	}{
		"wrong key":         {key: func(*rig) ed25519.PrivateKey { return other }, want: wire.Unauthenticated},
		"unknown device":    {edit: func(_ *rig, p *peer) { p.auth.Device = "dev_OTHER" }, want: wire.Unauthenticated},
		"foreign host":      {edit: func(_ *rig, p *peer) { p.auth.Host = "evil.example" }, want: wire.Unauthenticated},
		"replayed hello":    {edit: func(_ *rig, p *peer) { p.raw = []byte(`{"type":"hello","nonce":"old"}`) }, want: wire.Unauthenticated},
		"the hub's label":   {transcript: func(h, a []byte, host string) []byte { return wire.HubTranscript(h, a, nil, host) }, want: wire.Unauthenticated},
		"signed other host": {transcript: func(h, a []byte, _ string) []byte { return wire.AgentTranscript(h, a, "evil.example") }, want: wire.Unauthenticated},
		"pending":           {edit: func(r *rig, _ *peer) { r.status = tunnelhub.StatusPending }, want: wire.Forbidden},
		"blocked":           {edit: func(r *rig, _ *peer) { r.status = "blocked" }, want: wire.Forbidden},
		"unknown purpose":   {edit: func(_ *rig, p *peer) { p.auth.Purpose = "tea" }, want: wire.Invalid},
		"mqtt, no broker":   {edit: func(_ *rig, p *peer) { p.auth.Purpose = wire.PurposeMQTT }, want: wire.NotFound},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			p := r.dialPeer(t)
			key, transcript := r.key, wire.AgentTranscript
			if c.edit != nil {
				c.edit(r, p)
			}
			if c.key != nil {
				key = c.key(r)
			}
			if c.transcript != nil {
				transcript = c.transcript
			}
			m, err := p.authenticate(key, transcript)
			if got := stream.CloseCause(err); m != nil || wire.CodeOf(got) != c.want {
				t.Fatalf("got %v, %v, want %s", m, got, c.want)
			}
		})
	}
}

// A signature that was seen once opens nothing again: each hello has its own nonce.
func TestReplayedAuth(t *testing.T) {
	r := newRig(t)
	first := r.dialPeer(t)
	auth, _ := wire.Encode(first.auth)
	signed := wire.AppendSignature(auth, ed25519.Sign(r.key, wire.AgentTranscript(first.raw, auth, first.auth.Host)))
	second := r.dialPeer(t)
	if err := second.ws.WriteRaw(signed); err != nil {
		t.Fatal(err)
	}
	if _, _, err := second.tryRead(); wire.CodeOf(stream.CloseCause(err)) != wire.Unauthenticated {
		t.Fatalf("got %v", err)
	}
}

func TestNewestWins(t *testing.T) {
	for _, c := range []struct {
		name          string
		first, second wire.Instance
		replaces      bool
		refused       bool
		cloned        int
	}{
		{"same life", wire.Instance{Counter: 5, Random: "a"}, wire.Instance{Counter: 5, Random: "a"}, false, false, 0},
		{"newer", wire.Instance{Counter: 5, Random: "a"}, wire.Instance{Counter: 6, Random: "b"}, true, false, 0},
		{"older", wire.Instance{Counter: 5, Random: "a"}, wire.Instance{Counter: 4, Random: "b"}, false, true, 0},
		{"clone", wire.Instance{Counter: 5, Random: "a"}, wire.Instance{Counter: 5, Random: "b"}, false, true, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			first := r.dialPeer(t)
			first.auth.Instance = c.first
			first.ready()
			second := r.dialPeer(t)
			second.auth.Instance = c.second
			second.auth.Carriers = append(second.auth.Carriers, first.hello.Nonce)
			_, err := second.authenticate(r.key, wire.AgentTranscript)
			if refused := err != nil; refused != c.refused {
				t.Fatalf("refused: %v (%v)", refused, err)
			}
			if c.refused && wire.CodeOf(stream.CloseCause(err)) != wire.Conflict {
				t.Fatalf("got %v", err)
			}
			if c.replaces {
				if _, _, err := first.tryRead(); wire.CodeOf(stream.CloseCause(err)) != wire.Conflict {
					t.Fatalf("the first carrier: %v", err)
				}
			}
			want := 1
			if c.name == "same life" {
				want = 2
			}
			r.waitCarriers(want)
			first.ws.CloseNow()
			second.ws.CloseNow()
			r.stopHub()
			if r.cloned != c.cloned {
				t.Fatalf("%d clones told", r.cloned)
			}
		})
	}
}

func (r *rig) waitCarriers(want int) {
	r.t.Helper()
	until(r.t, fmt.Sprintf("%d carriers", want), func() bool { return r.hub.Presence(device).Carriers == want })
}

// A device that moved to another network lists what it believes alive: the rest goes at once.
func TestUnlistedCarriersAreDropped(t *testing.T) {
	r := newRig(t)
	lost := r.dialPeer(t)
	lost.ready()
	fresh := r.dialPeer(t)
	fresh.ready()
	if _, _, err := lost.tryRead(); err == nil {
		t.Fatal("the lost carrier still reads")
	}
	r.waitCarriers(1)
}

func TestOpensRetryOnce(t *testing.T) {
	for name, misbehave := range map[string]func(*peer, wire.Open){
		"carrier dies":     func(p *peer, _ wire.Open) { p.ws.CloseNow() },
		"foreign stream":   func(p *peer, o wire.Open) { p.send(wire.Opened{Stream: o.Stream + 1}) },
		"unexpected hello": func(p *peer, o wire.Open) { p.send(wire.Open{Stream: o.Stream, Target: "ssh"}) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			bad, good := r.dialPeer(t), r.dialPeer(t)
			bad.ready()
			good.auth.Carriers = append(good.auth.Carriers, bad.hello.Nonce)
			good.ready()
			r.waitCarriers(2)
			var serving sync.WaitGroup
			serving.Go(func() { first(t, bad, good, misbehave) })
			conn, err := r.hub.Dial(context.Background(), tunnelhub.Request{Device: device, Target: "ssh", User: "usr_1"})
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 5)
			if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
				t.Fatalf("%q, %v", got, err)
			}
			conn.Reset(net.ErrClosed)
			serving.Wait()
		})
	}
}

// first lets whichever peer is asked first misbehave, and the other one serve.
func first(t *testing.T, a, b *peer, misbehave func(*peer, wire.Open)) {
	type asked struct {
		p    *peer
		open wire.Open
	}
	opens := make(chan asked, 2)
	for _, p := range []*peer{a, b} {
		go func() {
			m, _, err := p.tryRead()
			if open, ok := m.(wire.Open); err == nil && ok {
				opens <- asked{p, open}
			}
		}()
	}
	bad := <-opens
	misbehave(bad.p, bad.open)
	good := <-opens
	good.p.send(wire.Opened{Stream: good.open.Stream})
	if err := good.p.ws.WriteData([]byte("hello")); err != nil {
		t.Error(err)
	}
}

func TestOpenTimesOutOnBothCarriers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for range 2 {
		p := r.dialPeer(t)
		p.auth.Carriers = nil
		p.auth.Instance = wire.Instance{Counter: 5, Random: "a"}
		for nonce := range r.nonces {
			p.auth.Carriers = append(p.auth.Carriers, nonce)
		}
		r.nonces[p.hello.Nonce] = true
		p.ready()
	}
	r.waitCarriers(2)
	start := time.Now()
	_, err := r.hub.Dial(context.Background(), r.request("ssh"))
	if took := time.Since(start); wire.CodeOf(err) != wire.Offline || took < 2*wire.OpenTimeout-time.Second || took > 2*wire.OpenTimeout+patience {
		t.Fatalf("after %v: %v", took, err)
	}
}

func TestDialOfflineDevice(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.hub.Dial(ctx, r.request("ssh")); wire.CodeOf(err) != wire.Offline {
		t.Fatalf("got %v", err)
	}
}

func TestManyOpensAtOnce(t *testing.T) {
	r := newRig(t)
	target := listen(t, echo)
	r.agent(nil)
	r.waitOnline(true)
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			conn, err := r.hub.Dial(context.Background(), r.request(target))
			if err != nil {
				t.Errorf("open %d: %v", i, err)
				return
			}
			defer conn.Close()
			said := fmt.Sprintf("stream %d", i)
			_, _ = io.WriteString(conn, said)
			_ = conn.CloseWrite()
			if got, err := io.ReadAll(conn); err != nil || string(got) != said {
				t.Errorf("open %d: %q, %v", i, got, err)
			}
		})
	}
	all.Wait()
}

func TestCalls(t *testing.T) {
	r := newRig(t)
	started := make(chan *carrier.Pool, 1)
	r.pool(func(p *carrier.Pool) { started <- p })
	pool := <-started
	r.waitOnline(true)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var got map[string]string
	if err := r.hub.Call(ctx, device, "echo", map[string]string{"a": "<b>"}, &got); err != nil || got["a"] != "<b>" {
		t.Fatalf("%v, %v", got, err)
	}
	if err := r.hub.Call(ctx, device, "nothing", nil, nil); wire.CodeOf(err) != wire.NotFound {
		t.Fatalf("got %v", err)
	}
	var answer struct {
		Device, Method string
		Params         json.RawMessage
	}
	if err := pool.Call(ctx, "facts", []int{1}, &answer); err != nil || answer.Device != device || string(answer.Params) != "[1]" {
		t.Fatalf("%+v, %v", answer, err)
	}
	if err := pool.Call(ctx, "fail", nil, nil); wire.CodeOf(err) != wire.Forbidden {
		t.Fatalf("got %v", err)
	}
}

// A call without the hub's signature, as whoever ends TLS could send one, is not run.
func TestUnsignedCallEndsCarrier(t *testing.T) {
	r := newRig(t)
	_, r.options.Key, _ = ed25519.GenerateKey(nil)
	p := r.dialPeer(t)
	p.ready()
	err := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		err <- r.hub.Call(ctx, device, "echo", nil, nil)
	}()
	m, _ := p.read()
	call := m.(wire.Call)
	hub := []ed25519.PublicKey{r.hubKey.Public().(ed25519.PublicKey)}
	if !wire.VerifyCall(hub, device, p.hello.Nonce, p.auth.Nonce, call) {
		t.Fatal("the hub's own signature does not verify")
	}
	call.Params = json.RawMessage(`{"evil":true}`)
	if wire.VerifyCall(hub, device, p.hello.Nonce, p.auth.Nonce, call) || wire.VerifyCall(hub, device, "other", p.auth.Nonce, call) {
		t.Fatal("a changed call verifies")
	}
	p.send(wire.Result{ID: call.ID, Result: json.RawMessage("null")})
	if err := <-err; err != nil {
		t.Fatal(err)
	}
}

func TestCloseStreams(t *testing.T) {
	r := newRig(t)
	target := listen(t, echo)
	r.agent(nil)
	mine, err := r.hub.Dial(context.Background(), tunnelhub.Request{Device: device, Target: target, User: "usr_1"})
	if err != nil {
		t.Fatal(err)
	}
	defer mine.Close()
	other, err := r.hub.Dial(context.Background(), tunnelhub.Request{Device: device, Target: target, User: "usr_2"})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	relayed := r.dialDevice(target, stream.DeviceOptions{})
	defer relayed.Close()
	if n := len(r.hub.Streams()); n != 3 {
		t.Fatalf("%d streams listed", n)
	}
	if n := r.hub.CloseStreams(func(i tunnelhub.Info) bool { return i.User == "usr_1" }); n != 2 {
		t.Fatalf("%d streams closed", n)
	}
	for _, conn := range []net.Conn{mine, relayed} {
		if _, err := io.ReadAll(conn); err == nil {
			t.Fatal("a withdrawn stream ended well")
		}
	}
	_, _ = io.WriteString(other, "still here")
	buf := make([]byte, 10)
	if _, err := io.ReadFull(other, buf); err != nil {
		t.Fatal(err)
	}
}

// A consumer that does not read keeps neither pings nor other streams from passing, and loses nothing.
func TestSlowConsumer(t *testing.T) {
	r := newRig(t)
	const size = 8 << 20
	flood := listen(t, func(conn net.Conn) { _, _ = conn.Write(make([]byte, size)) })
	target := listen(t, echo)
	r.agent(nil)
	slow := r.dialDevice(flood, stream.DeviceOptions{})
	defer slow.Close()
	conn := r.dialDevice(target, stream.DeviceOptions{})
	defer conn.Close()
	exchange(t, conn, 4<<20, 0, nil)
	if n, err := io.Copy(io.Discard, slow); n != size || err != nil {
		t.Fatalf("read %d of %d: %v", n, size, err)
	}
}

// What a source sends before its reader joins is acknowledged all the same.
func TestJoinAfterWindowFilled(t *testing.T) {
	r := newRig(t)
	const size = 16 << 20
	flood := listen(t, func(conn net.Conn) { _, _ = conn.Write(make([]byte, size)) })
	r.agent(nil)
	conn := r.dialDevice(flood, stream.DeviceOptions{})
	until(t, "a window has come", func() bool {
		running := r.hub.Streams()
		return len(running) == 1 && running[0].BytesIn >= wire.Window
	})
	near, far := tcpPair(t)
	var joined sync.WaitGroup
	joined.Go(func() { _ = conn.Join(far) })
	if n, err := io.Copy(io.Discard, near); n != size || err != nil {
		t.Fatalf("read %d of %d: %v", n, size, err)
	}
	near.Close()
	joined.Wait()
}

func tcpPair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if near, err = net.Dial("tcp", l.Addr().String()); err == nil {
		far, err = l.Accept()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

func TestHubStopSendsAgentsAway(t *testing.T) {
	r := newRig(t)
	p := r.dialPeer(t)
	p.ready()
	r.waitCarriers(1)
	go r.stopHub()
	if _, _, err := p.tryRead(); stream.CloseCause(err) != stream.Restarting {
		t.Fatalf("got %v", err)
	}
}
