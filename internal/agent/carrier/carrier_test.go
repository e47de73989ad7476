package carrier

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/leaktest"
	"github.com/aditdev/adit/internal/porttest"
	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

var hubKey = ed25519.NewKeyFromSeed([]byte("the hub's key, the hub's key, 32"))

func config(at string) Config {
	_, key, _ := ed25519.GenerateKey(nil)
	return Config{
		Log: slog.New(slog.DiscardHandler), URL: at, Device: "dev_1", Key: key,
		HubKeys:  []ed25519.PublicKey{hubKey.Public().(ed25519.PublicKey)},
		Instance: wire.Instance{Counter: 1, Random: "r"}, AgentVersion: "test", Handler: refuseAll{},
	}
}

type refuseAll struct{}

func (refuseAll) Open(context.Context, wire.Open) (net.Conn, error) {
	return nil, wire.Errorf(wire.Forbidden, "no")
}
func (refuseAll) Call(context.Context, string, json.RawMessage) (any, error) { return nil, nil }

// hub answers a handshake as a hub with this key does, or closes with an error.
func hub(key ed25519.PrivateKey, refuse error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ws, err := stream.Accept(w, r, wire.SubprotocolTunnel)
		if err != nil {
			return
		}
		defer ws.CloseNow()
		hello, _ := wire.Encode(wire.Hello{Nonce: wire.NewID(), Hub: "test", Version: "1"})
		_ = ws.WriteRaw(hello)
		m, raw, err := ws.ReadMessage(context.Background())
		if err != nil {
			return
		}
		if refuse != nil {
			ws.Close(refuse)
			return
		}
		auth, _, _ := wire.CutSignature(raw)
		ready, _ := wire.Encode(wire.Ready{PingSeconds: 15, Now: 1_900_000_000_000})
		transcript := wire.HubTranscript(hello, auth, ready, m.(wire.Auth).Host)
		_ = ws.WriteRaw(wire.AppendSignature(ready, ed25519.Sign(key, transcript)))
		for err == nil {
			_, _, err = ws.ReadMessage(context.Background())
		}
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", code) }
}

func TestCauses(t *testing.T) {
	_, otherKey, _ := ed25519.GenerateKey(nil)
	for name, c := range map[string]struct {
		serve http.HandlerFunc
		want  Cause
	}{
		"all is well":    {hub(hubKey, nil), CauseNone},
		"another hub":    {hub(otherKey, nil), CauseHubKey},
		"unknown device": {hub(hubKey, wire.Errorf(wire.Unauthenticated, "who?")), CauseAuth},
		"blocked":        {hub(hubKey, wire.Errorf(wire.Forbidden, "blocked")), CauseAuth},
		"pending":        {hub(hubKey, wire.Errorf(wire.Forbidden, "pending: wait")), CausePending},
		"clone":          {hub(hubKey, wire.Errorf(wire.Conflict, "clone: two")), causeClone},
		"portal's page":  {status(200), CauseCaptivePortal},
		"portal's redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://portal.test/", http.StatusFound)
		}, CauseCaptivePortal},
		"network sign-in":  {status(511), CauseCaptivePortal},
		"bad gateway":      {status(502), CauseNot101},
		"upgrade stripped": {status(426), CauseNot101},
		"another subprotocol": {func(w http.ResponseWriter, r *http.Request) {
			if ws, err := stream.Accept(w, r, "chat"); err == nil {
				ws.CloseNow()
			}
		}, CauseNot101},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(c.serve)
			defer server.Close()
			at, err := Probe(context.Background(), config(server.URL))
			if got := CauseOf(err); got != c.want || (c.want == CauseNone) != (err == nil) {
				t.Fatalf("cause %q of %v", got, err)
			}
			if err == nil && at.UnixMilli() != 1_900_000_000_000 {
				t.Fatalf("hub time %v", at)
			}
		})
	}
}

func TestCausesBelowHTTP(t *testing.T) {
	closed := porttest.Address(t)
	secure := httptest.NewTLSServer(hub(hubKey, nil))
	defer secure.Close()
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	plain := httptest.NewServer(status(200))
	defer plain.Close()
	roots := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	if err := os.WriteFile(roots, block, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		edit func(*Config)
		want Cause
	}{
		"no such name":    {func(c *Config) { c.URL = "http://hub.invalid" }, CauseDNS},
		"nobody listens":  {func(c *Config) { c.URL = "http://" + closed }, CauseTCP},
		"unknown issuer":  {func(*Config) {}, CauseTLSUntrusted},
		"trusted by file": {func(c *Config) { c.Dialer.CAFile = roots }, CauseNone},
		"file is missing": {func(c *Config) { c.Dialer.CAFile = roots + "x" }, CauseTLSUntrusted},
		"wrong name": {func(c *Config) {
			c.Dialer.CAFile, c.Dialer.Address, c.URL = roots, secure.Listener.Addr().String(), "https://other.test"
		}, CauseTLSUntrusted},
		"right name there": {func(c *Config) {
			c.Dialer.CAFile, c.Dialer.Address, c.URL = roots, secure.Listener.Addr().String(), "https://example.com"
		}, CauseNone},
		"no TLS there":    {func(c *Config) { c.URL = strings.Replace(plain.URL, "http:", "https:", 1) }, CauseTLSUntrusted},
		"before it began": {func(c *Config) { c.Dialer.CAFile, c.Dialer.Now = roots, func() time.Time { return time.Unix(-1e8, 0) } }, CauseClock},
	} {
		t.Run(name, func(t *testing.T) {
			config := config(secure.URL)
			c.edit(&config)
			_, err := Probe(context.Background(), config)
			if got := CauseOf(err); got != c.want || (c.want == CauseNone) != (err == nil) {
				t.Fatalf("cause %q of %v", got, err)
			}
		})
	}
}

// A board whose clock says 1970 goes by the time of its program's build, or by what a hub told it last.
func TestClockFallback(t *testing.T) {
	p := New(Config{BuildTime: time.Now().Add(time.Hour), HubTime: time.Now().Add(2 * time.Hour)})
	if ahead := time.Until(p.now()); ahead < 119*time.Minute {
		t.Errorf("certificates are verified %v ahead of the clock", ahead)
	}
	if late := time.Since(New(Config{BuildTime: time.Unix(1, 0)}).now()); late > time.Minute {
		t.Errorf("an old build holds the time back by %v", late)
	}
}

// proxy is an HTTP proxy that tunnels CONNECT, or answers it with a status.
func proxy(t *testing.T, answer int) (*url.URL, *int) {
	connects := 0
	var tunnels sync.WaitGroup
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		connects++
		if answer != http.StatusOK {
			w.WriteHeader(answer)
			return
		}
		to, err := net.Dial("tcp", r.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.WriteHeader(http.StatusOK)
		conn, rw, _ := http.NewResponseController(w).Hijack()
		tunnels.Go(func() { defer to.Close(); defer conn.Close(); pipe(to, rw.Reader) })
		tunnels.Go(func() { defer to.Close(); defer conn.Close(); _, _ = io.Copy(conn, to) })
	}))
	t.Cleanup(func() { server.Close(); tunnels.Wait() })
	u, _ := url.Parse(server.URL)
	return u, &connects
}

func pipe(to net.Conn, from *bufio.Reader) { _, _ = io.Copy(to, from) }

func TestProxy(t *testing.T) {
	secure := httptest.NewTLSServer(hub(hubKey, nil))
	defer secure.Close()
	roots := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	if err := os.WriteFile(roots, block, 0o600); err != nil {
		t.Fatal(err)
	}
	for answer, want := range map[int]Cause{200: CauseNone, 407: CauseProxy407, 403: CauseTCP} {
		at, connects := proxy(t, answer)
		c := config(secure.URL)
		c.Dialer.CAFile = roots
		c.Dialer.Proxy = func(*url.URL) (*url.URL, error) { return at, nil }
		_, err := Probe(context.Background(), c)
		if got := CauseOf(err); got != want || *connects != 1 {
			t.Errorf("a proxy that answers %d: cause %q, %d connects, %v", answer, got, *connects, err)
		}
	}
}

func TestTLSSessionIsResumed(t *testing.T) {
	secure := httptest.NewUnstartedServer(nil)
	resumed := make(chan bool, 2)
	secure.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		resumed <- r.TLS.DidResume
		hub(hubKey, nil)(w, r)
	})
	secure.StartTLS()
	defer secure.Close()
	roots := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	if err := os.WriteFile(roots, block, 0o600); err != nil {
		t.Fatal(err)
	}
	c := config(secure.URL)
	c.Dialer.CAFile, c.Dialer.Sessions = roots, tls.NewLRUClientSessionCache(1)
	for i := range 2 {
		if _, err := Probe(context.Background(), c); err != nil {
			t.Fatal(err)
		}
		if got := <-resumed; got != (i == 1) {
			t.Errorf("dial %d resumed: %v", i, got)
		}
	}
}

func TestNextInstance(t *testing.T) {
	file := filepath.Join(t.TempDir(), "instance")
	first, err := NextInstance(file)
	if err != nil {
		t.Fatal(err)
	}
	second, err := NextInstance(file)
	if err != nil || second.Counter != first.Counter+1 || second.Random == first.Random {
		t.Fatalf("%+v after %+v, %v", second, first, err)
	}
	if err := os.WriteFile(file, []byte("\x00\x00"), 0o600); err != nil { // as a power cut leaves it
		t.Fatal(err)
	}
	third, err := NextInstance(file)
	if err != nil || third.Counter < first.Counter {
		t.Fatalf("%+v after %+v, %v", third, second, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
}

func TestBackoff(t *testing.T) {
	lost := wire.Errorf(wire.Offline, "lost")
	for name, c := range map[string]struct {
		meet func(*backoff)
		most time.Duration
	}{
		"after a long life": {func(b *backoff) { b.lost(lost, time.Hour, false) }, afterLife},
		"others live":       {func(b *backoff) { b.lost(lost, time.Hour, true) }, 0},
		"hub restarts":      {func(b *backoff) { b.lost(stream.Restarting, time.Hour, true) }, afterRestart},
		"after a short one": {func(b *backoff) { b.lost(lost, time.Second, true) }, firstRetry},
		"first failure":     {func(b *backoff) { b.failed(lost) }, firstRetry},
		"many failures":     {func(b *backoff) { b.failures = 40; b.failed(lost) }, slowestRetry},
		"pending": {func(b *backoff) {
			b.failures = 40
			b.failed(&stream.DialError{Cause: CausePending, Err: lost})
		}, whilePending},
	} {
		longest := time.Duration(0)
		for range 500 {
			b := backoff{}
			c.meet(&b)
			longest = max(longest, time.Until(b.at))
		}
		if longest > c.most || longest < c.most*9/10 {
			t.Errorf("%s: waits up to %v, want up to %v", name, longest, c.most)
		}
	}
	b, before := backoff{}, time.Now()
	b.failed(&stream.DialError{Cause: CauseNot101, RetryAfter: time.Minute, Err: lost})
	if b.at.Sub(before) < time.Minute || time.Until(b.at) > 75*time.Second {
		t.Errorf("Retry-After of a minute waits %v", b.at.Sub(before))
	}
}

// No trouble of a network ends the pool, and it says which trouble it is.
func TestRunOutlastsTrouble(t *testing.T) {
	var mu sync.Mutex
	serve := status(502)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		now := serve
		mu.Unlock()
		now(w, r)
	}))
	defer server.Close()
	news := make(chan Status, 64)
	c := config(server.URL)
	c.Status = func(s Status) { news <- s }
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, c) }()
	waitStatus(t, news, func(s Status) bool { return s.Cause == CauseNot101 && !s.Online })
	mu.Lock()
	serve = hub(hubKey, nil)
	mu.Unlock()
	s := waitStatus(t, news, func(s Status) bool { return s.Online && s.Parked == 1 })
	if s.Cause != CauseNone || s.Attempts != 0 {
		t.Errorf("online with %+v", s)
	}
	server.CloseClientConnections()
	cancel()
	if err := <-done; err != context.Canceled {
		t.Errorf("ended by %v", err)
	}
}

func waitStatus(t *testing.T, news <-chan Status, want func(Status) bool) Status {
	t.Helper()
	timeout := time.After(time.Minute)
	for {
		select {
		case s := <-news:
			if want(s) {
				return s
			}
		case <-timeout:
			t.Fatal("the status never came")
		}
	}
}
