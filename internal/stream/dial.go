package stream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/coder/websocket"

	"github.com/aditdev/adit/internal/wire"
)

// stepTimeout bounds each step of a dial: name and connection, TLS, the answer.
const stepTimeout = 10 * time.Second

// Dialer opens WebSockets to a hub. The zero value dials directly or through the proxy that HTTPS_PROXY and NO_PROXY
// name, and trusts the system's roots.
type Dialer struct {
	Address  string                 // host:port to connect to instead of the URL's, past any proxy; name, SNI and Host stay the URL's
	CAFile   string                 // PEM file of further roots
	Sessions tls.ClientSessionCache // resumes TLS sessions between dials; nil does not
	Now      func() time.Time       // the time at which certificates must be valid; nil means the clock's

	// Proxy overrides the environment's proxies; nil does not.
	Proxy func(*url.URL) (*url.URL, error)
}

// Dial opens a WebSocket at rawURL (http, https, ws or wss). Errors are *DialError; where the hub itself answered with
// problem details, the *wire.Error in its chain has their code and message.
func (d Dialer) Dial(ctx context.Context, rawURL string, header http.Header, subprotocol string) (*FrameConn, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, dialError(CauseDNS, err, "%q is no URL.", rawURL)
	}
	var out *Spill
	transport, err := d.transport(&out)
	if err != nil {
		return nil, err
	}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := &progress{plain: u.Scheme == "http" || u.Scheme == "ws", proxy: time.AfterFunc(time.Hour, cancel)}
	defer p.proxy.Stop()
	var conn *FrameConn
	heard := func() {
		if conn != nil {
			conn.Hear()
		}
	}
	ws, resp, err := websocket.Dial(trace(ctx, p), rawURL, &websocket.DialOptions{
		HTTPClient:     &http.Client{Transport: transport, CheckRedirect: keepRedirect},
		HTTPHeader:     header,
		Subprotocols:   []string{subprotocol},
		OnPingReceived: func(context.Context, []byte) bool { heard(); return true },
		OnPongReceived: func(context.Context, []byte) { heard() },
	})
	switch {
	case err == nil && ws.Subprotocol() != subprotocol:
		_ = ws.CloseNow()
		return nil, dialError(CauseNot101, nil, "%s opened a WebSocket that does not speak %s.", u.Host, subprotocol)
	case err == nil:
		conn = NewFrameConn(ws, out)
		return conn, nil
	case resp != nil:
		return nil, explainAnswer(resp, u.Host, err)
	}
	return nil, explain(err, u.Host, p)
}

// keepRedirect leaves a redirect to be explained: a hub has none, a captive portal does.
func keepRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// trace notes the progress of a dial, and bounds the step that the library does not: a proxy's answer to CONNECT.
func trace(ctx context.Context, p *progress) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		ConnectDone:       func(_, _ string, err error) { p.connects(err) },
		TLSHandshakeStart: func() { p.proxy.Stop(); p.through.Store(true) },
		TLSHandshakeDone:  func(_ tls.ConnectionState, err error) { p.secured.Store(err == nil) },
	})
}

// transport is good for one WebSocket; *out becomes the writer of its network connection.
func (d Dialer) transport(out **Spill) (*http.Transport, error) {
	roots, err := d.roots()
	if err != nil {
		return nil, err
	}
	// The hub's pings keep the connection and notice its end; TCP's own would cost an idle device 13 KB an hour more.
	direct := &net.Dialer{Timeout: stepTimeout, KeepAlive: -1}
	return &http.Transport{
		Proxy: d.proxy,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if d.Address != "" {
				address = d.Address
			}
			conn, err := direct.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			*out = NewSpill(conn, spillLimit, nil)
			return *out, nil
		},
		TLSClientConfig: &tls.Config{
			RootCAs:            roots,
			ClientSessionCache: d.Sessions,
			Time:               d.Now,
			MinVersion:         tls.VersionTLS12,
			NextProtos:         []string{"http/1.1"},
		},
		TLSHandshakeTimeout:    stepTimeout,
		ResponseHeaderTimeout:  stepTimeout,
		DisableKeepAlives:      true,
		OnProxyConnectResponse: proxyAnswer,
	}, nil
}

func (d Dialer) proxy(r *http.Request) (*url.URL, error) {
	switch {
	case d.Address != "":
		return nil, nil
	case d.Proxy != nil:
		return d.Proxy(r.URL)
	}
	return http.ProxyFromEnvironment(r) // x/net/http/httpproxy would bring tables of its own, 0.2 MB
}

func (d Dialer) roots() (*x509.CertPool, error) {
	if d.CAFile == "" {
		return nil, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	pem, err := os.ReadFile(d.CAFile)
	if err != nil {
		return nil, dialError(CauseTLSUntrusted, err, "The CA file %s cannot be read.", d.CAFile)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, dialError(CauseTLSUntrusted, nil, "The CA file %s holds no certificate in PEM.", d.CAFile)
	}
	return pool, nil
}

func proxyAnswer(_ context.Context, proxy *url.URL, _ *http.Request, resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusProxyAuthRequired:
		return dialError(CauseProxy407, nil, "The proxy %s wants a user name and password; put them in HTTPS_PROXY.", proxy.Host)
	}
	return dialError(CauseTCP, nil, "The proxy %s refuses to connect (status %d).", proxy.Host, resp.StatusCode)
}

// explainAnswer explains an HTTP answer that is no upgrade, by the problem details of a hub where there are some.
func explainAnswer(resp *http.Response, host string, err error) *DialError {
	failure := refusal(resp.StatusCode, host, err)
	failure.RetryAfter = retryAfter(resp.Header.Get("Retry-After"))
	var problem struct {
		Code   wire.Code `json:"code"`
		Detail string    `json:"detail"`
	}
	body, readErr := io.ReadAll(io.LimitReader(resp.Body, 1024))
	if readErr == nil && json.Unmarshal(body, &problem) == nil && problem.Code != "" {
		failure.Err = wire.Wrap(fmt.Errorf("status %d: %w", resp.StatusCode, err), problem.Code, "%s", wire.Printable(problem.Detail, 300))
		if code := problem.Code; code == wire.Unauthenticated || code == wire.Forbidden {
			failure.Cause = CauseAuth
		}
	}
	return failure
}

// retryAfter reads the header of RFC 9110 §10.2.3, up to an hour.
func retryAfter(value string) time.Duration {
	if seconds, err := strconv.Atoi(value); err == nil && seconds > 0 {
		return min(time.Duration(seconds)*time.Second, time.Hour)
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, min(time.Until(at), time.Hour))
	}
	return 0
}
