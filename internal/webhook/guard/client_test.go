package guard

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/leaktest"
	"github.com/aditdev/adit/internal/wire"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

var loopbackWord = prefixes("127.0.0.0/8", "::1/128")

// client is one that goes away with the test.
func client(t *testing.T, g *Guard, o ClientOptions) *http.Client {
	t.Helper()
	c := g.Client(o)
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func get(t *testing.T, c *http.Client, url string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(req)
	if err == nil {
		t.Cleanup(func() { _ = res.Body.Close() })
	}
	return res, err
}

// names is a DNS server on loopback. It gives the answers of a name one after the other, the last for ever.
type names struct {
	mu      sync.Mutex
	answers [][]netip.Addr
	asked   int
}

func (n *names) next() []netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	if len(n.answers) > 1 {
		defer func() { n.answers = n.answers[1:] }()
	}
	return n.answers[0]
}

// resolver asks the server and nobody else.
func (n *names) resolver(t *testing.T) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); n.serve(conn) }()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// serve answers questions for A (RFC 1035 §4.1) with what is next, and those for AAAA with nothing, so that each lookup counts once.
func (n *names) serve(conn net.PacketConn) {
	buf := make([]byte, 512)
	for {
		size, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		end := 12 + bytes.IndexByte(buf[12:size], 0) + 5 // of the question
		reply := append([]byte{}, buf[:end]...)
		reply[2], reply[3] = 0x84, 0 // an answer, authoritative
		copy(reply[6:12], []byte{0, 0, 0, 0, 0, 0})
		if binary.BigEndian.Uint16(buf[end-4:]) == 1 {
			addrs := n.next()
			binary.BigEndian.PutUint16(reply[6:], uint16(len(addrs)))
			for _, a := range addrs {
				reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4) // this name, A, IN, TTL 0
				reply = append(reply, a.AsSlice()...)
			}
		}
		_, _ = conn.WriteTo(reply, from)
	}
}

// A name that leads to a good address once and to a bad one then (DNS rebinding): what counts is where each connection goes.
// 127.0.0.1 stands for the good one, so that nothing leaves this machine.
func TestRebinding(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"127.0.0.2", "10.0.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "192.168.1.1"} {
		var served atomic.Int32
		server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served.Add(1) }))
		t.Cleanup(server.Close)
		url := "http://hook.example:" + server.URL[strings.LastIndexByte(server.URL, ':')+1:]
		n := &names{answers: [][]netip.Addr{{netip.MustParseAddr("127.0.0.1")}, {netip.MustParseAddr(bad)}}}
		g := New(prefixes("127.0.0.1/32"))
		g.resolver = n.resolver(t)
		if err := g.CheckURL(url); err != nil {
			t.Fatal(err)
		}
		c := client(t, g, ClientOptions{})
		res, err := get(t, c, url)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		// The connection that was checked may be used again; a new one is checked anew.
		if _, err := get(t, c, url); err != nil {
			t.Errorf("the same connection: %v", err)
		}
		c.CloseIdleConnections()
		server.CloseClientConnections()
		if _, err := get(t, c, url); wire.CodeOf(err) != wire.Forbidden || !strings.Contains(wire.MessageOf(err), bad) {
			t.Errorf("%s: %v", bad, err)
		}
		if served.Load() != 2 {
			t.Errorf("%s: %d requests were served", bad, served.Load())
		}
	}
}

// Of several addresses of a name, those that may not be are passed over, and where none is left the reason is told.
func TestNameWithSeveralAddresses(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(server.Close)
	url := "http://hook.example:" + server.URL[strings.LastIndexByte(server.URL, ':')+1:]
	g := New(prefixes("127.0.0.1/32"))
	g.resolver = (&names{answers: [][]netip.Addr{{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("127.0.0.1")}, {netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("127.0.0.2")}}}).resolver(t)
	c := client(t, g, ClientOptions{})
	if _, err := get(t, c, url); err != nil {
		t.Error(err)
	}
	c.CloseIdleConnections()
	server.CloseClientConnections()
	if _, err := get(t, c, url); wire.CodeOf(err) != wire.Forbidden {
		t.Error(err)
	}
}

// Nothing is allowed by chance: loopback in every form, at the socket.
func TestLoopbackIsRefused(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was reached") }))
	t.Cleanup(server.Close)
	port := server.URL[strings.LastIndexByte(server.URL, ':'):]
	c := client(t, New(privateWord), ClientOptions{})
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", "[64:ff9b::127.0.0.1]"} {
		if _, err := get(t, c, "http://"+host+port); wire.CodeOf(err) != wire.Forbidden {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestRedirectsAreGivenBack(t *testing.T) {
	t.Parallel()
	var followed atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/inside" {
			followed.Store(true)
		}
		code := http.StatusFound
		if r.URL.Path == "/307" {
			code = http.StatusTemporaryRedirect
		}
		http.Redirect(w, r, "/inside", code)
	}))
	t.Cleanup(server.Close)
	c := client(t, New(loopbackWord), ClientOptions{})
	for path, status := range map[string]int{"/": 302, "/307": 307} {
		res, err := get(t, c, server.URL+path)
		if err != nil || res.StatusCode != status || followed.Load() {
			t.Errorf("%s: %v %v, followed %v", path, res, err, followed.Load())
		}
	}
}

// A proxy of the environment would connect for the hub, behind the guard's back.
func TestNoProxy(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the proxy was asked") }))
	t.Cleanup(proxy.Close)
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"} {
		t.Setenv(name, proxy.URL)
	}
	c := client(t, New(nil), ClientOptions{})
	for _, url := range []string{"http://10.0.0.1/", "https://10.0.0.1/"} {
		if _, err := get(t, c, url); wire.CodeOf(err) != wire.Forbidden {
			t.Error(err)
		}
	}
	if c.Transport.(*http.Transport).Proxy != nil {
		t.Error("there is a proxy")
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		highest uint16
		works   bool
	}{{tls.VersionTLS11, false}, {tls.VersionTLS12, true}, {tls.VersionTLS13, true}} {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }))
		server.EnableHTTP2 = true
		server.Config.ErrorLog = nil
		server.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: test.highest}
		server.StartTLS()
		t.Cleanup(server.Close)
		c := client(t, New(loopbackWord), ClientOptions{})
		if _, err := get(t, c, server.URL); err == nil {
			t.Error("a certificate of nobody is believed")
		}
		c.Transport.(*http.Transport).TLSClientConfig.RootCAs = server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
		res, err := get(t, c, server.URL)
		if (err == nil) != test.works {
			t.Errorf("%x: %v", test.highest, err)
		}
		if err == nil && res.ProtoMajor != 2 {
			t.Errorf("%x: %s", test.highest, res.Proto)
		}
	}
}

// Receivers that are slow, silent or without end cost a bounded time and memory.
func TestBadReceivers(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/header":
			w.Header().Set("X-Long", strings.Repeat("x", 64<<10))
		case "/early":
			w.WriteHeader(http.StatusEarlyHints)
		case "/endless":
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			<-release
		case "/silent":
			<-release
		case "/gzip":
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = io.WriteString(w, "not unpacked")
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(release) })
	c := client(t, New(loopbackWord), ClientOptions{Timeout: time.Minute})
	if _, err := get(t, c, server.URL+"/header"); err == nil || timedOut(err) {
		t.Errorf("a header of 64 KiB is taken: %v", err)
	}
	res, err := get(t, c, server.URL+"/gzip")
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "not unpacked" || res.Uncompressed {
		t.Errorf("%q %v", body, err)
	}
	if _, err := get(t, client(t, New(loopbackWord), ClientOptions{Timeout: 300 * time.Millisecond}), server.URL+"/silent"); !timedOut(err) {
		t.Errorf("silent: %v", err)
	}
	for timeout := 300 * time.Millisecond; ; timeout *= 2 { // on a busy machine what comes before the silence takes its time too
		res, err = get(t, client(t, New(loopbackWord), ClientOptions{Timeout: timeout}), server.URL+"/endless")
		if err == nil {
			break
		}
		if timeout > time.Minute {
			t.Fatal(err)
		}
	}
	if _, err := io.ReadAll(res.Body); !timedOut(err) {
		t.Errorf("endless: %v", err)
	}
}

func timedOut(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

func TestIdleConnectionsAreFew(t *testing.T) {
	t.Parallel()
	const many = 20
	var open atomic.Int32
	var arrived sync.WaitGroup
	arrived.Add(many)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrived.Done(); arrived.Wait() }))
	closed := make(chan struct{}, many)
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			closed <- struct{}{}
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	c := client(t, New(loopbackWord), ClientOptions{IdlePerHost: 4})
	var group sync.WaitGroup
	for range many {
		group.Go(func() {
			req, err := http.NewRequestWithContext(t.Context(), "GET", server.URL, nil)
			if err != nil {
				t.Error(err)
				return
			}
			res, err := c.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		})
	}
	group.Wait()
	for range int(open.Load()) - 4 { // hangs, and so fails, where more are kept
		<-closed
	}
}
