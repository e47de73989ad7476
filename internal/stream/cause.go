package stream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

// Cause is why a hub is not reached, or not fully.
type Cause string

// The causes, in the order in which a dial meets them.
const (
	CauseNone          Cause = ""
	CauseDNS           Cause = "dns"
	CauseTCP           Cause = "tcp"
	CauseProxy407      Cause = "proxy-407"
	CauseTLSUntrusted  Cause = "tls-untrusted"
	CauseClock         Cause = "clock"
	CauseNot101        Cause = "not-101"
	CauseCaptivePortal Cause = "captive-portal"
	CauseAuth          Cause = "auth"
	CauseHubKey        Cause = "hub-key"
	CauseConnectionCap Cause = "connection-cap"
	CausePending       Cause = "pending"
)

// DialError says why a hub was not reached. Its chain holds a *wire.Error with a sentence for a person.
type DialError struct {
	Cause      Cause
	RetryAfter time.Duration // that the hub, or what stands before it, asked for; 0 for none
	Err        error
}

func (e *DialError) Error() string { return string(e.Cause) + ": " + e.Err.Error() }

func (e *DialError) Unwrap() error { return e.Err }

// CauseOf is the cause of the first DialError in err's chain.
func CauseOf(err error) Cause {
	if e, ok := errors.AsType[*DialError](err); ok {
		return e.Cause
	}
	return CauseNone
}

func dialError(cause Cause, err error, format string, args ...any) *DialError {
	return &DialError{Cause: cause, Err: wire.Wrap(err, wire.Offline, format, args...)}
}

// progress is how far a dial came. Connections to several addresses of a name are tried side by side.
type progress struct {
	plain     bool        // without TLS
	proxy     *time.Timer // ends the dial where the proxy does not answer
	connected atomic.Bool // to the hub, or to its proxy
	through   atomic.Bool // the proxy, where there is one
	secured   atomic.Bool // by TLS
}

func (p *progress) connects(err error) {
	if err != nil {
		return
	}
	p.connected.Store(true)
	p.through.Store(p.plain)
	p.secured.Store(p.plain)
	if !p.plain {
		p.proxy.Reset(stepTimeout)
	}
}

// explain finds the cause of a dial that got no HTTP answer.
func explain(err error, host string, p *progress) *DialError {
	if e, ok := errors.AsType[*DialError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return dialError(CauseDNS, err, "The name %s cannot be resolved.", e.Name)
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
		return dialError(CauseClock, err, "The certificate of %s is valid from %s to %s, and this machine's clock says otherwise.",
			host, e.Cert.NotBefore.Format(time.DateOnly), e.Cert.NotAfter.Format(time.DateOnly))
	}
	if message := untrusted(err); message != "" {
		return dialError(CauseTLSUntrusted, err, message, host)
	}
	switch {
	case !p.connected.Load():
		return dialError(CauseTCP, err, "No connection to %s.", host)
	case !p.through.Load():
		return dialError(CauseTCP, err, "The proxy does not connect to %s: it gave no answer.", host)
	case !p.secured.Load():
		return dialError(CauseTLSUntrusted, err, "%s does not complete a TLS handshake.", host)
	}
	return dialError(CauseNot101, err, "%s took the request and gave no HTTP answer.", host)
}

func untrusted(err error) (message string) {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "The certificate of %s is not signed by an authority that this machine trusts."
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "The certificate presented is not one of %s."
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "The certificate of %s cannot be verified."
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "%s does not speak TLS there."
	}
	return ""
}

// refusal finds the cause of an HTTP answer that is no upgrade.
func refusal(status int, host string, err error) *DialError {
	switch {
	case status == 200, status >= 300 && status < 400, status == 511:
		return dialError(CauseCaptivePortal, err, "Something between here and %s answers in its place with status %d, as a log-in page of a network does.", host, status)
	case status == 407:
		return dialError(CauseProxy407, err, "A proxy before %s wants a user name and password; put them in HTTP_PROXY.", host)
	case status == 429, status == 503:
		return dialError(CauseNot101, err, "%s is busy (status %d).", host, status)
	}
	return dialError(CauseNot101, err, "%s answered %s instead of opening a WebSocket.", host, describe(status))
}

func describe(status int) string {
	if status == 426 {
		return "as if the Upgrade header had been stripped by a proxy"
	}
	return fmt.Sprintf("with status %d", status)
}
