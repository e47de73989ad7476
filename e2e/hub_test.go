//go:build linux

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	ownerEmail    = "ada@adit.test"
	ownerPassword = "correct horse battery"
	hubURL        = "https://" + hubName
)

// A rig is the hub's machine with a proxy in front of the hub, and a device's machine that reaches nothing but the
// proxy's port 443.
type rig struct {
	t      testing.TB
	dir    string // shared by the test and the hub's machine
	host   *machine
	device *machine
	ca     authority
	token  string // of the owner
	http   *http.Client
	env    []string // of the hub, beside what every one has
}

// newRig is newHub with an owner.
func newRig(t testing.TB, proxy string, env ...string) *rig {
	t.Helper()
	r := newHub(t, proxy, env...)
	r.makeOwner()
	return r
}

// newHub starts both machines, the proxy and a new hub. proxy is "nginx", "caddy" (Debian's) or "caddy-current".
func newHub(t testing.TB, proxy string, env ...string) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), env: env}
	r.host, r.device = newMachine(t, "hub", "host"), newMachine(t, "kitchen", "device")
	t.Cleanup(r.keepLogs) // before the machines end
	connect(r.host, r.device)
	r.ca = newAuthority(t, r.dir)
	r.fence()
	switch proxy {
	case "caddy":
		startCaddy(r.host, r.ca, "caddy")
	case "caddy-current":
		startCaddy(r.host, r.ca, built("caddy"))
	default:
		startNginx(r.host, r.ca)
	}
	r.http = &http.Client{Timeout: patience, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: r.ca.pool, ServerName: hubName},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return r.host.dial(ctx, "tcp", "10.77.0.1:443")
		},
	}}
	r.startHub()
	return r
}

// fence lets the device reach one port of one address, by TCP and only outward.
func (r *rig) fence() {
	r.device.sh(`iptables -P INPUT DROP; iptables -P OUTPUT DROP; iptables -P FORWARD DROP
iptables -A INPUT -i lo -j ACCEPT; iptables -A OUTPUT -o lo -j ACCEPT
iptables -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT
iptables -A OUTPUT -p tcp -d 10.77.0.1 --dport 443 -j ACCEPT
ip6tables -P INPUT DROP; ip6tables -P OUTPUT DROP
ip6tables -A INPUT -i lo -j ACCEPT; ip6tables -A OUTPUT -o lo -j ACCEPT`)
	r.device.write("/etc/ssl/certs/ca-certificates.crt", r.ca.pem, 0o644)
}

func (r *rig) hubEnv() []string {
	return append([]string{"PORT=8080", "ADIT_URL=" + hubURL, "ADIT_SECRET=for-this-test-only-0123456789abcdef",
		"ADIT_DATA=" + filepath.Join(r.dir, "data"), "ADIT_TRUSTED_PROXIES=127.0.0.1"}, r.env...)
}

func (r *rig) startHub() {
	r.t.Helper()
	r.host.daemon("hub", filepath.Join(r.dir, "hub.log"), r.hubEnv(), built("adit-hub"), "serve")
	r.hubReady()
}

// stopHub sends a signal and waits until the hub is gone, as whatever starts it again does.
func (r *rig) stopHub(signal string) {
	r.t.Helper()
	r.host.signal("hub", signal)
	r.stopped()
}

// stopped waits until the hub is gone.
func (r *rig) stopped() {
	r.t.Helper()
	eventually(r.t, patience, "the hub stopped", func() error {
		if out, err := r.host.try("bash", "-c", "! kill -0 $(cat /run/hub.pid) 2>&1"); err != nil {
			return errorText(out)
		}
		return nil
	})
}

func (r *rig) hubReady() {
	r.t.Helper()
	eventually(r.t, patience, "the hub ready", func() error {
		res, err := r.http.Get(hubURL + "/readyz")
		if err != nil {
			return err
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("readyz: %s", res.Status)
		}
		return nil
	})
}

// makeOwner makes the owner and a token with the hub's own commands, beside the running hub.
func (r *rig) makeOwner() {
	r.t.Helper()
	r.hubCommand(ownerPassword, "user", "create", "--email", ownerEmail, "--role", "owner", "--password-stdin", "--json")
	var token struct{ Token string }
	out := r.hubCommand("", "token", "create", "--user", ownerEmail, "--json")
	if err := json.Unmarshal([]byte(out), &token); err != nil || !strings.HasPrefix(token.Token, "adit_") {
		r.t.Fatalf("token create --json: %v\n%s", err, out)
	}
	r.token = token.Token
}

func (r *rig) hubCommand(stdin string, args ...string) string {
	r.t.Helper()
	env := append(r.hubEnv(), "SSL_CERT_FILE="+filepath.Join(r.dir, "ca.pem"))
	cmd := r.host.command(context.Background(), env, append([]string{built("adit-hub")}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		r.t.Fatalf("adit-hub %s: %v\n%s%s", strings.Join(args, " "), err, &out, &errs)
	}
	return out.String()
}

// call does one request of the API with the owner's token and decodes the answer into result.
func (r *rig) call(method, path string, body, result any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(method, hubURL+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+r.token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	} else {
		req.Body, req.ContentLength = http.NoBody, 0
	}
	res, err := r.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	data, err = io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, data)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(data, result)
}

// device as the API shows it; only what the tests look at.
type device struct {
	ID     string
	Name   string
	Online bool
	Status string
	Tags   []string
	Cause  string
	Facts  struct {
		SSH struct{ Server, Trust, Note string } `json:"ssh"`
	}
}

func (r *rig) look(name string) (device, error) {
	var d device
	err := r.call("GET", "/api/v1/devices/"+name, nil, &d)
	return d, err
}

// online is a check for eventually.
func (r *rig) online(name string, want bool) func() error {
	return func() error {
		d, err := r.look(name)
		if err == nil && d.Online != want {
			err = fmt.Errorf("%s: online is %v, status %s %s", name, d.Online, d.Status, d.Cause)
		}
		return err
	}
}

// adit prepares the command line client on the hub's machine, with the owner's home.
func (r *rig) adit(ctx context.Context, args ...string) *cli {
	return &cli{r.host.command(ctx, r.userEnv(), append([]string{built("adit")}, args...)...)}
}

// userEnv is the environment of a person on the hub's machine.
func (r *rig) userEnv() []string {
	return []string{"HOME=" + filepath.Join(r.dir, "home"), "SSL_CERT_FILE=" + filepath.Join(r.dir, "ca.pem")}
}

// login signs the CLI in with the owner's token.
func (r *rig) login() {
	r.t.Helper()
	if err := os.MkdirAll(filepath.Join(r.dir, "home", ".ssh"), 0o700); err != nil {
		r.t.Fatal(err)
	}
	cmd := r.adit(context.Background(), "login", hubURL, "--token-stdin")
	cmd.Stdin = strings.NewReader(r.token + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("adit login: %v\n%s", err, out)
	}
}

// keepLogs shows the end of every log when the test failed.
func (r *rig) keepLogs() {
	if !r.t.Failed() {
		return
	}
	if out, err := r.device.try("cat", "/etc/adit/agent.log"); err == nil {
		r.t.Logf("end of the agent's log:\n%s", tail(out))
	}
	logs, _ := filepath.Glob(filepath.Join(r.dir, "*.log"))
	for _, log := range logs {
		data, err := os.ReadFile(log)
		if err != nil || len(data) == 0 {
			continue
		}
		r.t.Logf("end of %s:\n%s", filepath.Base(log), tail(string(data)))
	}
}

// tail is the end of a log, without the requests that went well.
func tail(log string) string {
	var lines []string
	for line := range strings.Lines(log) {
		if !strings.Contains(line, "msg=request") || !strings.Contains(line, "status=2") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-40):], "")
}
