package dist

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/wire"
)

// authority is a certificate authority with one certificate for this machine's names.
type authority struct {
	file string // of its own certificate, PEM
	cert tls.Certificate
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	must(t, err)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	caRaw, err := x509.CreateCertificate(rand.Reader, ca, ca, public, private)
	must(t, err)
	leafPublic, leafPrivate, err := ed25519.GenerateKey(nil)
	must(t, err)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "hub"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	leafRaw, err := x509.CreateCertificate(rand.Reader, leaf, ca, leafPublic, private)
	must(t, err)
	a := authority{file: filepath.Join(t.TempDir(), "ca.pem"), cert: tls.Certificate{Certificate: [][]byte{leafRaw}, PrivateKey: leafPrivate}}
	must(t, os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caRaw}), 0o644))
	return a
}

// gate is a TLS server at whose /ssh a real SSH server answers, as a hub's does. Other requests go to pages. It echoes
// what a session sends, admits every key, and takes tcpip-forward.
type gate struct {
	t        *testing.T
	listener net.Listener
	url      *url.URL
	ca       authority
	hostKey  ssh.Signer
	pages    http.Handler

	early   chan error    // what was wrong with a request, or nil, for each one
	patient time.Duration // how long no byte may follow a request before it is answered
	stalled bool          // nothing is read after the answer
	chunked bool          // pages come in chunks

	mu       sync.Mutex
	conns    map[net.Conn]bool
	users    []string
	forwards []string
	over     sync.WaitGroup
}

// newGate makes a gate that the test may change before it lets it start.
func newGate(t *testing.T, host string) *gate {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	must(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	must(t, err)
	g := &gate{t: t, ca: newAuthority(t), hostKey: signer, early: make(chan error, 100), conns: map[net.Conn]bool{}}
	g.listener, err = net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	_, port, _ := net.SplitHostPort(g.listener.Addr().String())
	g.url = &url.URL{Scheme: "https", Host: net.JoinHostPort(host, port)}
	return g
}

func (g *gate) start() *gate {
	g.over.Go(func() {
		for {
			raw, err := g.listener.Accept()
			if err != nil {
				return
			}
			conn := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{g.ca.cert}})
			g.over.Go(func() { g.serve(conn) })
		}
	})
	g.t.Cleanup(func() {
		_ = g.listener.Close()
		g.closeAll()
		g.over.Wait()
	})
	return g
}

// knownHosts is the line that pins the gate's key.
func (g *gate) knownHosts() string {
	return g.url.Hostname() + " " + string(ssh.MarshalAuthorizedKey(g.hostKey.PublicKey()))
}

// closeAll ends every connection, as a hub that restarts does.
func (g *gate) closeAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for conn := range g.conns {
		_ = conn.Close()
	}
}

// resetAll ends every connection without a word of TLS, as a machine that falls over does.
func (g *gate) resetAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for conn := range g.conns {
		raw := conn.(*tls.Conn).NetConn().(*net.TCPConn)
		_ = raw.SetLinger(0)
		_ = raw.Close()
	}
}

func (g *gate) track(conn net.Conn, here bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if here {
		g.conns[conn] = true
	} else {
		delete(g.conns, conn)
	}
}

func (g *gate) serve(conn net.Conn) {
	g.track(conn, true)
	defer g.track(conn, false)
	defer func() { _ = conn.Close() }()
	r := bufio.NewReader(conn)
	request, err := http.ReadRequest(r)
	if err != nil {
		return // it came to look at the certificate, or did not like it
	}
	if request.URL.Path != "/ssh" {
		g.page(conn, request)
		return
	}
	err = g.check(conn, r, request)
	g.early <- err
	if err != nil {
		return
	}
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", request.Header.Get("Upgrade"))
	if g.stalled {
		<-g.t.Context().Done()
		return
	}
	g.speak(bufferedConn{conn, r})
}

func (g *gate) check(conn net.Conn, r *bufio.Reader, request *http.Request) error {
	raw := request.URL.RawQuery == "raw"
	want := map[bool]string{false: "ssh", true: "websocket"}[raw]
	if request.Host != g.url.Host || request.Header.Get("Upgrade") != want || request.Header.Get("Connection") != "Upgrade" {
		return fmt.Errorf("host %q, %v", request.Host, request.Header)
	}
	if raw && (request.Header.Get("Sec-WebSocket-Version") != "13" || len(request.Header.Get("Sec-WebSocket-Key")) != 24) {
		return fmt.Errorf("no WebSocket handshake: %v", request.Header)
	}
	if g.patient == 0 {
		return nil
	}
	_ = conn.SetReadDeadline(time.Now().Add(g.patient))
	defer func() { _ = conn.SetReadDeadline(time.Time{}) }()
	if _, err := r.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("something was sent before the 101: %w", err)
	}
	return nil
}

func (g *gate) page(conn net.Conn, request *http.Request) {
	w := &plainResponse{header: http.Header{}, status: http.StatusOK}
	g.pages.ServeHTTP(w, request)
	length, body := fmt.Sprintf("Content-Length: %d", w.body.Len()), w.body.String()
	if g.chunked {
		length, body = "Transfer-Encoding: chunked", ""
		for part := range slices.Chunk([]byte(w.body.String()), 100) {
			body += fmt.Sprintf("%x\r\n%s\r\n", len(part), part)
		}
		body += "0\r\n\r\n"
	}
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\nConnection: close\r\n%s\r\n", w.status, http.StatusText(w.status), length)
	_ = w.header.Write(conn)
	_, _ = io.WriteString(conn, "\r\n"+body)
}

// plainResponse collects a page.
type plainResponse struct {
	header http.Header
	status int
	body   strings.Builder
}

func (w *plainResponse) Header() http.Header         { return w.header }
func (w *plainResponse) Write(p []byte) (int, error) { return w.body.Write(p) }
func (w *plainResponse) WriteHeader(status int)      { w.status = status }

type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c bufferedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

// speak is the SSH server.
func (g *gate) speak(conn net.Conn) {
	config := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		return &ssh.Permissions{Extensions: map[string]string{"key": wire.Printable(string(ssh.MarshalAuthorizedKey(key)), 200)}}, nil
	}}
	config.AddHostKey(g.hostKey)
	c, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	g.note(&g.users, c.User()+" "+c.Permissions.Extensions["key"])
	g.over.Go(func() { g.answer(requests) })
	for channel := range channels {
		ch, in, err := channel.Accept()
		if err != nil {
			continue
		}
		g.over.Go(func() {
			for r := range in {
				_ = r.Reply(true, nil)
			}
		})
		g.over.Go(func() {
			_, _ = io.Copy(ch, ch)
			_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{}))
			_ = ch.Close()
		})
	}
}

func (g *gate) answer(requests <-chan *ssh.Request) {
	for r := range requests {
		var forward struct {
			Host string
			Port uint32
		}
		if r.Type == "tcpip-forward" && ssh.Unmarshal(r.Payload, &forward) == nil {
			g.note(&g.forwards, fmt.Sprintf("%s:%d", forward.Host, forward.Port))
		}
		_ = r.Reply(r.Type == "tcpip-forward", nil)
	}
}

func (g *gate) note(list *[]string, text string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	*list = append(*list, text)
}

// noted is what note has collected.
func (g *gate) noted(list *[]string) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]string{}, *list...)
}

// patience is how long a test waits for what must come: only what never comes is a fault here, on a machine that does other
// things too.
const patience = time.Minute

// await waits for check to say nil.
func await(t *testing.T, within time.Duration, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not within %v: %v", within, err)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
