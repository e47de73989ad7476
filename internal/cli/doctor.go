package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

const doctorUsage = `Usage: adit doctor [URL] [--json]

Looks, step by step, whether this machine reaches the hub, and says what to do where it does not: name, connection,
proxy, TLS, HTTP, clock, WebSocket, sign-in. Without a URL it looks at the hub that you are signed in at.

  --json   print an array of {check, ok, message}
`

func doctorCommand() command.Command {
	return command.Command{Name: "doctor", Summary: "Find out why the hub is not reached", Usage: doctorUsage, Run: runDoctor}
}

// finding is what one check found.
type finding struct {
	Check   string `json:"check"`
	OK      bool   `json:"ok"`
	Message string `json:"message"`
}

// patient is the hub as a doctor sees it.
type patient struct {
	account
	url    *url.URL
	proxy  *url.URL // nil: none on the way
	client *http.Client
	reply  *http.Response // of the HTTP check
}

func runDoctor(ctx context.Context, args []string, stdio command.Stdio) error {
	f := command.NewFlags("adit doctor", doctorUsage)
	asJSON := f.Bool("json", false, "")
	if err := parse(f, args, 0, 1, stdio); err != nil {
		return err
	}
	p, err := newPatient(f.Arg(0))
	if err != nil {
		return err
	}
	findings := p.examine(ctx)
	if *asJSON {
		if err := writeJSON(stdio.Out, findings); err != nil {
			return err
		}
	} else {
		for _, f := range findings {
			word := "ok  "
			if !f.OK {
				word = "FAIL"
			}
			fmt.Fprintf(stdio.Out, "%s  %-10s %s\n", word, f.Check, wire.Printable(f.Message, 500))
		}
	}
	if last := findings[len(findings)-1]; !last.OK {
		return &command.Exit{Status: wire.Offline.ExitCode()}
	}
	return nil
}

func newPatient(typed string) (*patient, error) {
	a, err := readAccount()
	if typed != "" {
		hub, wrong := parseHubURL(typed)
		if wrong != nil {
			return nil, wrong
		}
		if a.Hub != hub {
			a = account{Hub: hub}
		}
	} else if err != nil {
		return nil, err
	}
	u, err := url.Parse(a.Hub)
	if err != nil {
		return nil, wire.Wrap(err, wire.Invalid, "%q is no URL", a.Hub)
	}
	p := &patient{account: a, url: u, client: newHTTPClient()}
	if p.proxy, err = http.ProxyFromEnvironment(&http.Request{URL: u}); err != nil {
		return nil, wire.Wrap(err, wire.Invalid, "The proxy that the environment names is no URL")
	}
	return p, nil
}

// examine makes the checks in the order of a dial, and stops at the first that fails.
func (p *patient) examine(ctx context.Context) []finding {
	var findings []finding
	for _, check := range []struct {
		name string
		run  func(context.Context) (string, error)
	}{
		{"proxy", p.checkProxy}, {"dns", p.checkDNS}, {"tcp", p.checkTCP}, {"tls", p.checkTLS},
		{"http", p.checkHTTP}, {"clock", p.checkClock}, {"websocket", p.checkWebSocket}, {"sign-in", p.checkSignIn},
	} {
		message, err := check.run(ctx)
		if err != nil {
			return append(findings, finding{Check: check.name, Message: command.Message(err)})
		}
		findings = append(findings, finding{Check: check.name, OK: true, Message: message})
	}
	return findings
}

// next is the host and port that a connection from here goes to.
func (p *patient) next() string {
	u := p.url
	if p.proxy != nil {
		u = p.proxy
	}
	if u.Port() != "" {
		return u.Host
	}
	port := map[string]string{"http": "80", "https": "443"}[u.Scheme]
	return net.JoinHostPort(u.Hostname(), port)
}

func (p *patient) checkProxy(context.Context) (string, error) {
	if p.proxy == nil {
		return "none on the way", nil
	}
	return "through " + p.proxy.Host + ", as HTTPS_PROXY says", nil
}

func (p *patient) checkDNS(ctx context.Context) (string, error) {
	host, _, err := net.SplitHostPort(p.next())
	if err != nil {
		return "", err
	}
	addresses, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return "", wire.Wrap(err, wire.Offline, "The name %s cannot be resolved. Is this machine online, and the name right?", host)
	}
	return host + " is " + strings.Join(addresses, ", "), nil
}

func (p *patient) checkTCP(ctx context.Context) (string, error) {
	began := time.Now()
	conn, err := (&net.Dialer{Timeout: stepTimeout}).DialContext(ctx, "tcp", p.next())
	if err != nil {
		return "", wire.Wrap(err, wire.Offline, "No connection to %s. A firewall on the way? Is the hub running?", p.next())
	}
	_ = conn.Close()
	return fmt.Sprintf("connected to %s in %v", conn.RemoteAddr(), time.Since(began).Round(time.Millisecond)), nil
}

func (p *patient) checkTLS(ctx context.Context) (string, error) {
	if p.url.Scheme != "https" {
		return "none: this hub is on this machine", nil
	}
	err := p.get(ctx)
	if untrusted, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "", wire.Wrap(untrusted, wire.Offline, "The certificate of %s is not trusted here. If somebody inspects TLS on the way, "+
			"install their CA; if this machine's clock is wrong, set it", p.url.Host)
	}
	if err != nil {
		return "", wire.Wrap(err, wire.Offline, "No HTTPS answer from %s", p.url.Host)
	}
	cert := p.reply.TLS.PeerCertificates[0]
	return fmt.Sprintf("issued by %q, valid until %s", wire.Printable(cert.Issuer.String(), 100), cert.NotAfter.Format(time.DateOnly)), nil
}

func (p *patient) get(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url.String()+"/healthz", nil)
	if err != nil {
		return err
	}
	reply, err := p.client.Do(r)
	if err != nil {
		return err
	}
	p.reply = reply
	return reply.Body.Close()
}

func (p *patient) checkHTTP(ctx context.Context) (string, error) {
	if p.reply == nil {
		if err := p.get(ctx); err != nil {
			return "", wire.Wrap(err, wire.Offline, "No HTTP answer from %s", p.url.Host)
		}
	}
	switch status := p.reply.StatusCode; {
	case status == http.StatusOK:
		return "the hub is alive", nil
	case status >= 300 && status < 400:
		return "", wire.Errorf(wire.Offline, "%s sends you to %q instead of answering. A captive portal, or not a hub's address?",
			p.url.Host, p.reply.Header.Get("Location"))
	default:
		return "", wire.Errorf(wire.Offline, "%s answered with status %d. Is a hub running behind it?", p.url.Host, status)
	}
}

// clockTolerance is how far this machine's clock may be off; certificates for devices go by theirs, not by this one.
const clockTolerance = 5 * time.Minute

func (p *patient) checkClock(context.Context) (string, error) {
	there, err := http.ParseTime(p.reply.Header.Get("Date"))
	if err != nil {
		return "the hub's is not known", nil
	}
	off := time.Since(there).Truncate(time.Second)
	if off.Abs() > clockTolerance {
		return "", wire.Errorf(wire.Invalid, "This machine's clock is %v off. Set it: TLS depends on it.", off)
	}
	return fmt.Sprintf("%v apart from the hub's", off.Abs()), nil
}

func (p *patient) checkWebSocket(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*stepTimeout)
	defer cancel()
	conn, err := stream.Dialer{}.Dial(ctx, p.Hub+wire.PathTunnel, http.Header{}, wire.SubprotocolTunnel)
	if err != nil {
		return "", wire.Wrap(err, wire.Offline, "No WebSocket to the hub. The proxy before it must pass Upgrade (docs/deploy.md)")
	}
	conn.CloseNow()
	return "opens", nil
}

func (p *patient) checkSignIn(ctx context.Context) (string, error) {
	if p.Token == "" {
		return "not signed in there: adit login " + p.Hub, nil
	}
	email, err := p.whoami(ctx)
	if wire.CodeOf(err) == wire.Unauthenticated {
		return "", wire.Wrap(err, wire.CodeOf(err), "The sign-in no longer works. Sign in again: adit login %s", p.Hub)
	}
	return "as " + email, err
}
