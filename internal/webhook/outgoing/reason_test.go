package outgoing

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Why there is no answer is said in words for people, of real failures: no address but the receiver's, no resolver, no names of system calls.
func TestReasonsOfRealFailures(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	gone := httptest.NewServer(nil)
	gone.Close()
	plain := newReceiver(t, nil)
	silent := log.New(io.Discard, "", 0)
	unknown := httptest.NewUnstartedServer(http.NotFoundHandler())
	unknown.Config.ErrorLog = silent
	unknown.StartTLS()
	t.Cleanup(unknown.Close)
	picky := httptest.NewUnstartedServer(http.NotFoundHandler())
	picky.Config.ErrorLog, picky.TLS = silent, &tls.Config{MaxVersion: tls.VersionTLS10, MinVersion: tls.VersionTLS10}
	picky.StartTLS()
	t.Cleanup(picky.Close)
	cut := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		must(t, err)
		must(t, c.(*net.TCPConn).SetLinger(0)) // a reset
		_ = c.Close()
	})
	at := func(raw string) string { u, err := url.Parse(raw); must(t, err); return u.Host }
	for to, want := range map[string]string{
		gone.URL: "Nothing listens at " + at(gone.URL) + ".", cut.URL: "It closed the connection before it had answered.",
		"https://" + at(plain.URL): "It speaks no TLS there: its URL may be http://.",
		unknown.URL:                "Its certificate is signed by nobody whom the hub's system trusts.",
		picky.URL:                  "It ended TLS: protocol version not supported.",
	} {
		_, err := r.client.Post(to, "text/plain", strings.NewReader("x"))
		if err == nil {
			t.Fatalf("%s answered", to)
		}
		if got := reason(err, time.Second); got != want {
			t.Errorf("%s: %q, want %q (%v)", to, got, want, err)
		}
	}
}

func TestReason(t *testing.T) {
	t.Parallel()
	address := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443}
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Addr: address, Err: err} }
	lookup := func(e net.DNSError) error {
		e.Name, e.Server, e.Err = "nosuch.invalid", "10.255.255.53:53", "server misbehaving"
		return &net.OpError{Op: "dial", Net: "tcp", Err: &e}
	}
	for want, err := range map[string]error{
		"There is no host nosuch.invalid.":                         lookup(net.DNSError{IsNotFound: true}),
		"The name nosuch.invalid was not resolved in time.":        lookup(net.DNSError{IsTimeout: true}),
		"The name nosuch.invalid cannot be resolved.":              lookup(net.DNSError{}),
		"Nothing listens at 192.0.2.1:443.":                        dial(syscall.ECONNREFUSED),
		"There is no way to 192.0.2.1:443.":                        dial(syscall.EHOSTUNREACH),
		"Nothing at 192.0.2.1:443 took the connection in time.":    dial(syscall.ETIMEDOUT),
		"It did not answer within 15s.":                            context.DeadlineExceeded,
		"Its certificate is not for shop.example.":                 x509.HostnameError{Certificate: &x509.Certificate{}, Host: "shop.example"},
		"Its certificate has expired, or is not valid yet.":        x509.CertificateInvalidError{Reason: x509.Expired},
		"Its certificate is not valid.":                            &tls.CertificateVerificationError{Err: errors.New("x")},
		"It closed the connection before it had answered.":         io.EOF,
		"There is no answer: malformed HTTP response \"SSH-2.0\".": errors.New("malformed HTTP response \"SSH-2.0\""),
	} {
		if got := reason(&url.Error{Op: "Post", URL: "https://192.0.2.1/secret", Err: err}, 15*time.Second); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
