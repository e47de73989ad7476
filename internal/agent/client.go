package agent

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/wire"
)

const (
	stepTimeout  = 10 * time.Second // each step of a dial
	replyTimeout = 30 * time.Second
	replyLimit   = 1 << 20
)

// postEnroll asks the hub to take this machine in, through the proxy and with the roots that c names. It is in the place of
// the generated client, whose every operation and type is bytes that devices fetch and keep.
func postEnroll(ctx context.Context, p Paths, c Config, request api.EnrollRequest) (*api.EnrollResult, error) {
	transport, err := newTransport(p, c)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("ask the hub: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(c.Hub, "/")+"/api/v1/enroll", bytes.NewReader(body))
	if err != nil {
		return nil, wire.Wrap(err, wire.Invalid, "%q is no URL of a hub.", c.Hub)
	}
	r.Header.Set("Content-Type", "application/json")
	client := &http.Client{
		Transport:     transport,
		Timeout:       replyTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	reply, err := client.Do(r)
	if err != nil {
		return nil, wire.Wrap(err, wire.Offline, "The hub at %s cannot be reached (%s)", c.Hub, dialCause(err))
	}
	defer func() { _ = reply.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(reply.Body, replyLimit))
	if err != nil {
		return nil, wire.Wrap(err, wire.Offline, "The hub's answer broke off")
	}
	return enrollResult(reply, text)
}

// enrollResult reads the hub's answer. One that is neither a result nor a problem document came from something else.
func enrollResult(reply *http.Response, text []byte) (*api.EnrollResult, error) {
	kind, _, _ := strings.Cut(reply.Header.Get("Content-Type"), ";")
	result, problem := &api.EnrollResult{}, &api.Problem{}
	switch {
	case reply.StatusCode == http.StatusOK && kind == "application/json" && json.Unmarshal(text, result) == nil:
		return result, nil
	case kind != "application/problem+json" || json.Unmarshal(text, problem) != nil || problem.Code == "":
		problem = nil
	}
	return nil, problemError(reply.StatusCode, problem)
}

func newTransport(p Paths, c Config) (*http.Transport, error) {
	roots, err := rootsWith(c.CAFile)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: stepTimeout}
	proxy := http.ProxyFromEnvironment
	if c.Dial != "" {
		proxy = nil // connects past it, as carriers do
	}
	return &http.Transport{
		Proxy: proxy,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if c.Dial != "" {
				address = c.Dial
			}
			return dialer.DialContext(ctx, network, address)
		},
		TLSClientConfig:     &tls.Config{RootCAs: roots, Time: earliestTime(p), MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: stepTimeout,
		DisableKeepAlives:   true,
	}, nil
}

// earliestTime is a clock that never shows less than what is known to be past: boards without a battery begin in 1970.
func earliestTime(p Paths) func() time.Time {
	floor := command.Built()
	if t := readHubTime(p.HubTime()); t.After(floor) {
		floor = t
	}
	return func() time.Time {
		if now := time.Now(); now.After(floor) {
			return now
		}
		return floor
	}
}

// rootsWith are the system's roots and those in file; nil stands for the system's alone.
func rootsWith(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, wire.Wrap(err, wire.Invalid, "The file of further roots cannot be read")
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, wire.Errorf(wire.Invalid, "%s holds no certificate in PEM form.", file)
	}
	return pool, nil
}

// proxyEnvironment is what to remember of the proxy for a service that has no such environment.
func proxyEnvironment() (proxy, noProxy string) {
	first := func(names ...string) string {
		for _, n := range names {
			if v := os.Getenv(n); v != "" {
				return v
			}
		}
		return ""
	}
	return first("HTTPS_PROXY", "https_proxy"), first("NO_PROXY", "no_proxy")
}

func environ(name string) string { return os.Getenv(name) }

const codeLimit = 256

// readCode reads the install code: one line, at most codeLimit bytes.
func readCode(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, codeLimit)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the install code: %w", err)
	}
	code := strings.TrimSpace(line)
	if !validCode(code) {
		return "", wire.Errorf(wire.Invalid,
			"What came on stdin is no install code: it has 26 letters a-z and digits 2-7. The hub's page \"Add device\" shows one.")
	}
	return code, nil
}

func validCode(code string) bool {
	if len(code) != 26 {
		return false
	}
	for _, r := range code {
		if (r < 'a' || r > 'z') && (r < '2' || r > '7') {
			return false
		}
	}
	return true
}

// dialCause puts a failed dial into the words that `adit agent status` uses, with what to do about it.
func dialCause(err error) string {
	var (
		dns       *net.DNSError
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		hostname  x509.HostnameError
		op        *net.OpError
	)
	switch {
	case errors.As(err, &dns):
		return "dns: its name cannot be found here"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "clock: its certificate is not valid at this machine's time, " + time.Now().UTC().Format(time.DateTime)
	case errors.As(err, &authority), errors.As(err, &hostname), errors.As(err, &invalid):
		return "tls-untrusted: its certificate is not trusted here; ca-certificates may be missing, and where a network inspects TLS, ADIT_CA_FILE names its CA"
	case strings.Contains(err.Error(), "Proxy Authentication Required"):
		return "proxy-407: the proxy wants a user name and password, HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT"
	case errors.As(err, &op), errors.Is(err, context.DeadlineExceeded):
		return "tcp: nothing answers there"
	}
	return "http"
}
