package outgoing

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

// reason says for a person why there is no answer. What Go says names the hub's resolver and its own addresses, and the words of system calls.
func reason(err error, timeout time.Duration) string {
	var slow interface{ Timeout() bool }
	switch {
	case wire.CodeOf(err) != wire.Internal:
		return wire.MessageOf(err)
	case connecting(err) != "":
		return connecting(err)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &slow) && slow.Timeout():
		return fmt.Sprintf("It did not answer within %s.", timeout)
	case certificate(err) != "":
		return certificate(err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "It closed the connection before it had answered."
	}
	text := err.Error()
	if i := strings.Index(text, `": `); i >= 0 && strings.HasPrefix(text, "Post ") {
		text = text[i+3:] // behind the URL, which people see already
	}
	return "There is no answer: " + text + "."
}

// connecting says why there is no connection; "" where there was one.
func connecting(err error) string {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		host := wire.Printable(strings.TrimSuffix(dns.Name, "."), 253)
		switch {
		case dns.IsNotFound:
			return "There is no host " + host + "."
		case dns.IsTimeout:
			return "The name " + host + " was not resolved in time."
		}
		return "The name " + host + " cannot be resolved."
	}
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "dial" || op.Addr == nil {
		return ""
	}
	at := op.Addr.String()
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "Nothing listens at " + at + "."
	case op.Timeout():
		return "Nothing at " + at + " took the connection in time."
	}
	return "There is no way to " + at + "."
}

// certificate says what is wrong with TLS; "" where that is not it.
func certificate(err error) string {
	if name, ok := errors.AsType[x509.HostnameError](err); ok {
		return "Its certificate is not for " + wire.Printable(name.Host, 253) + "."
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return "Its certificate has expired, or is not valid yet."
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "Its certificate is signed by nobody whom the hub's system trusts."
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "Its certificate is not valid."
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || errors.Is(err, http.ErrSchemeMismatch) {
		return "It speaks no TLS there: its URL may be http://."
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" { // as crypto/tls calls an alert
		return "It ended TLS: " + strings.TrimPrefix(op.Err.Error(), "tls: ") + "."
	}
	return ""
}
