package agent

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

// Rule 30, by the whole agent: its clock is wrong by decades (the bubble's starts in 2000), and for hours a captive
// portal answers in the hub's place. Then the portal is gone, and the device is there.
func TestAgentOutlastsAWrongClockAndAPortal(t *testing.T) {
	const away = 3 * time.Hour
	hub := newLateHub(t)
	hub.answer = func(ws *stream.FrameConn) {
		for err := error(nil); err == nil; {
			_, _, err = ws.ReadMessage(context.Background())
		}
	}
	p, c, _ := installed(t)
	hub.pin(p, &c)
	// A bubble's clock stands still while somebody waits at a socket: the agent's own cannot be made here.
	if err := os.MkdirAll(p.Socket()+"/in the way", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writeHubTime(p.HubTime(), time.Now()); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		if y := time.Now().Year(); y != 2000 {
			t.Fatalf("the clock says %d", y)
		}
		began := time.Now()
		time.AfterFunc(away, func() { hub.open.Store(true) })
		ctx, cancel := context.WithTimeout(t.Context(), away+time.Hour)
		defer cancel()
		if err := Run(ctx, p, &lineWaiter{want: "hub reached", found: cancel}); err != nil {
			t.Errorf("it ended: %v", err)
		}
		if waited := time.Since(began); waited < away || waited > away+2*time.Minute {
			t.Errorf("there after %v, where the portal stood for %v", waited, away)
		}
	})
	// Full jitter below 30 s: four dials a minute.
	if n := hub.portals.Load(); n < int64(away/time.Minute) || n > int64(away/time.Second) {
		t.Errorf("%d dials in %v", n, away)
	}
}

// A hub that died without a word is noticed: here it reads nothing, answers no ping and closes nothing. In 45 seconds, if the
// machine has nothing else to do.
func TestDeadHubIsNoticed(t *testing.T) {
	t.Parallel()
	hub := newLateHub(t)
	dead := make(chan struct{})
	t.Cleanup(func() { close(dead) })
	hub.answer = func(*stream.FrameConn) { <-dead }
	hub.open.Store(true)
	p, c, _ := installed(t)
	hub.pin(p, &c)
	ctx, cancel := context.WithTimeout(t.Context(), wire.DeadAfter+3*time.Minute)
	defer cancel()
	var reached time.Time
	lost := &lineWaiter{want: "hub lost", found: cancel}
	logs := &lineWaiter{want: "hub reached", found: func() { reached = time.Now() }}
	err := Run(ctx, p, io.MultiWriter(logs, lost))
	if took := time.Since(reached); err != nil || reached.IsZero() || took > wire.DeadAfter+2*time.Minute {
		t.Errorf("noticed after %v: %v", took, err)
	}
}

// lateHub answers as a captive portal until it is opened, with a certificate that is valid now and was not in 2000.
type lateHub struct {
	*httptest.Server
	t       *testing.T
	key     ed25519.PrivateKey
	portals atomic.Int64
	shakes  atomic.Int64 // handshakes
	cap     atomic.Int64 // as the last one said
	open    atomic.Bool
	answer  func(*stream.FrameConn) // after the handshake
}

func newLateHub(t *testing.T) *lateHub {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	h := &lateHub{t: t, key: key}
	h.Server = httptest.NewUnstartedServer(h)
	h.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	h.TLS = &tls.Config{Certificates: []tls.Certificate{validNow(t)}}
	h.StartTLS()
	t.Cleanup(h.Close)
	return h
}

// pin makes h the hub of the device that p holds.
func (h *lateHub) pin(p Paths, c *Config) {
	h.t.Helper()
	c.Hub, c.HubKeys, c.CAFile = h.URL, []string{encodeKey(h.key.Public().(ed25519.PublicKey))}, p.file("ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw})
	if err := os.WriteFile(c.CAFile, block, 0o600); err != nil {
		h.t.Fatal(err)
	}
	if err := c.save(p.Config()); err != nil {
		h.t.Fatal(err)
	}
}

func (h *lateHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.open.Load() {
		h.portals.Add(1)
		http.Redirect(w, r, "http://portal.example/sign-in", http.StatusFound)
		return
	}
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
	h.cap.Store(int64(m.(wire.Auth).Cap))
	h.shakes.Add(1)
	auth, _, _ := wire.CutSignature(raw)
	ready, _ := wire.Encode(wire.Ready{PingSeconds: 15, Now: time.Now().UnixMilli()})
	transcript := wire.HubTranscript(hello, auth, ready, m.(wire.Auth).Host)
	_ = ws.WriteRaw(wire.AppendSignature(ready, ed25519.Sign(h.key, transcript)))
	h.answer(ws)
}

// validNow is a certificate for 127.0.0.1, valid from an hour ago.
func validNow(t *testing.T) tls.Certificate {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
}
