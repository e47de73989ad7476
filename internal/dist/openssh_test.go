package dist

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/sshdtest"
	"github.com/aditdev/adit/internal/sshsig"
	"github.com/aditdev/adit/internal/wire"
)

// stockHub is a hub as the install script for machines without our agent meets it: its part of the API over real HTTPS,
// and its SSH gate. The register itself has its own tests.
type stockHub struct {
	*gate
	Hub
	key    ed25519.PrivateKey // the tunnel key
	ca     ssh.Signer         // the user CA
	change func(*api.EnrollResult)
	status int    // other than 0: the hub says no
	says   string // and this

	mu      sync.Mutex
	request api.EnrollRequest
}

const (
	stockDevice = "dev_01K0000000000000000000TEST"
	stockAllow  = "127.0.0.2:110" // where nothing listens
)

func newStockHub(t *testing.T) *stockHub {
	t.Helper()
	h := &stockHub{gate: newGate(t, "localhost")}
	_, key, err := ed25519.GenerateKey(nil)
	must(t, err)
	h.key = key
	_, ca, err := ed25519.GenerateKey(nil)
	must(t, err)
	h.ca, err = ssh.NewSignerFromKey(ca)
	must(t, err)
	h.Hub = Hub{URL: h.url.String(), Key: wire.Fingerprint(key.Public().(ed25519.PublicKey)), Form: FormUpgrade}
	h.pages = h
	return h
}

func (h *stockHub) script(t *testing.T) string {
	t.Helper()
	script, err := OpenSSHScript(h.Hub, "")
	must(t, err)
	return script
}

func (h *stockHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.RequestURI() == "/i?via=openssh":
		_, _ = w.Write([]byte(h.script(h.t)))
	case r.URL.Path == "/api/v1/enroll" && r.Method == http.MethodPost && r.Header.Get("Content-Type") == "application/json":
		h.enroll(w, r)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (h *stockHub) enroll(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.request = api.EnrollRequest{}
	if err := json.NewDecoder(r.Body).Decode(&h.request); err != nil || h.request.Code != testCode {
		h.t.Errorf("the request is %+v, %v", h.request, err)
	}
	if h.status != 0 {
		w.WriteHeader(h.status)
		_ = json.NewEncoder(w).Encode(api.Problem{Title: "No", Status: h.status, Code: "conflict", Detail: &h.says})
		return
	}
	key, err := wire.ParseKey(h.request.PublicKey)
	if err != nil {
		h.t.Error(err)
	}
	_ = json.NewEncoder(w).Encode(h.answer(key))
}

func (h *stockHub) answer(key ed25519.PublicKey) api.EnrollResult {
	e := wire.Enrolled{PublicKey: key, DeviceID: stockDevice, Name: "kitchen", Status: "active", Allow: []string{stockAllow},
		GateKey: line(h.hostKey.PublicKey()), UserCA: line(h.ca.PublicKey()) + " adit-user-ca"}
	if h.says == "pending" {
		e.Status = "pending"
	}
	signer, err := ssh.NewSignerFromKey(h.key)
	must(h.t, err)
	signature, err := sshsig.Sign(signer, wire.NamespaceEnroll, []byte(e.SSHText()))
	must(h.t, err)
	r := api.EnrollResult{DeviceID: e.DeviceID, Name: e.Name, Status: api.DeviceStatus(e.Status), HubName: `The "hub" \ of {"device_id":"dev_x"}`,
		HubUrls: []string{h.URL}, HubKeys: []string{wire.EncodeKey(h.key.Public().(ed25519.PublicKey))}, UserCa: e.UserCA, Allow: e.Allow,
		SSHGateKey: &e.GateKey, SSHSignature: new(base64.StdEncoding.EncodeToString(signature))}
	if h.change != nil {
		h.change(&r)
	}
	return r
}

func (h *stockHub) asked() api.EnrollRequest {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.request
}

func line(key ssh.PublicKey) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) }

// stockTools are what a machine without our agent has.
var stockTools = []string{"sh", "ssh", "ssh-keygen", "openssl", "uname", "id", "sed", "tr", "grep", "cat", "cp", "mv", "rm", "mkdir", "rmdir",
	"chmod", "mktemp", "tail", "wc", "sleep"}

// newStock makes a machine with these tools, of which the senders write down how they were called.
func newStock(t *testing.T, senders ...string) *machine {
	t.Helper()
	m := newMachine(t, append(slices.Clone(stockTools), senders...)...)
	for _, name := range append([]string{"openssl", "ssh", "ssh-keygen"}, senders...) {
		real, err := filepath.EvalSymlinks(filepath.Join(m.bin, name))
		must(t, err)
		must(t, os.Remove(filepath.Join(m.bin, name)))
		m.program(name, `printf '%s\n' "`+name+` $*" >>"$ADIT_TEST_LOG"; case $(export -p) in *`+testCode[:20]+`*) echo "the code is in the environment" >>"$ADIT_TEST_LOG" ;; esac; exec `+real+` "$@"`)
	}
	return m
}

// env is what the line sets. The machine's own variable with the code in it would be what newStock looks for.
func (h *stockHub) env(more ...string) []string {
	return append([]string{"ADIT_TEST_CODE=", "SSL_CERT_FILE=" + h.gate.ca.file, "ADIT_CODE=" + testCode, "ADIT_HUB_KEY=" + h.Key}, more...)
}

// sshdOf runs the machine's sshd, whose only key is what the script adds.
func (h *stockHub) sshdOf(t *testing.T, m *machine) *sshdtest.Server {
	t.Helper()
	_, other, err := ed25519.GenerateKey(nil)
	must(t, err)
	public, err := ssh.NewPublicKey(other.Public())
	must(t, err)
	return sshdtest.Start(t, sshdtest.Options{CA: public, Device: "dev_other", Keys: filepath.Join(m.home, ".ssh/authorized_keys")})
}

// login is a connection to a device's sshd by a certificate of the hub's.
func (h *stockHub) login(t *testing.T, s *sshdtest.Server, principal string) (*ssh.Client, error) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	must(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	must(t, err)
	cert := &ssh.Certificate{Key: signer.PublicKey(), CertType: ssh.UserCert, ValidPrincipals: []string{principal},
		ValidBefore: uint64(time.Now().Add(time.Hour).Unix()), Permissions: ssh.Permissions{Extensions: map[string]string{"permit-port-forwarding": ""}}}
	must(t, cert.SignCert(rand.Reader, h.ca))
	with, err := ssh.NewCertSigner(cert, signer)
	must(t, err)
	return ssh.Dial("tcp", s.Address, &ssh.ClientConfig{User: s.Login, Auth: []ssh.AuthMethod{ssh.PublicKeys(with)},
		HostKeyCallback: ssh.FixedHostKey(s.HostKey), Timeout: patience})
}

// admits checks that certificates of the hub open exactly this device's account, and reach what the policy allows.
func (h *stockHub) admits(t *testing.T, s *sshdtest.Server) {
	t.Helper()
	for _, principal := range []string{"dev_other/" + s.Login, stockDevice + "/somebody", s.Login} {
		if c, err := h.login(t, s, principal); err == nil {
			_ = c.Close()
			t.Errorf("a certificate for %s gets in", principal)
		}
	}
	client, err := h.login(t, s, stockDevice+"/"+s.Login)
	if err != nil {
		t.Errorf("the hub's certificate: %v", err)
		return
	}
	defer func() { _ = client.Close() }()
	_, port, _ := net.SplitHostPort(s.Address)
	conn, err := client.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Errorf("-L to loopback: %v", err)
	} else {
		_ = conn.Close()
	}
	for target, reason := range map[string]ssh.RejectionReason{"192.0.2.1:80": ssh.Prohibited, "127.0.0.2:111": ssh.Prohibited, stockAllow: ssh.ConnectionFailed} {
		var refused *ssh.OpenChannelError
		if _, err := client.Dial("tcp", target); !errors.As(err, &refused) || refused.Reason != reason {
			t.Errorf("-L to %s: %v", target, err)
		}
	}
}

// ends takes the installation back and checks that nothing is left.
func (m *machine) ends(t *testing.T, shell []string, script string, env []string, before []string, args ...string) {
	t.Helper()
	out, err := m.run(shell, script, env, append([]string{"--uninstall"}, args...)...)
	if err != nil || !strings.Contains(out, "kitchen is no device any more") {
		t.Errorf("--uninstall: %v\n%s", err, out)
	}
	_ = m.calls()
	await(t, patience, func() error {
		if diff := cmp.Diff(before, m.files()); diff != "" {
			return fmt.Errorf("left behind (-before +after):\n%s", diff)
		}
		if left := (&laptop{t: t, dir: m.bin}).processes(); len(left) > 0 {
			return fmt.Errorf("still running: %v", left)
		}
		return nil
	})
}

// Without root, with whatever can send a request: an ordinary device afterwards, and nothing of it after --uninstall.
func TestOpenSSHInstallsForAUser(t *testing.T) {
	t.Parallel()
	sshdtest.NeedTools(t, "ssh", "ssh-keygen", "openssl", "curl", "wget")
	for name, shell := range shells {
		for _, sender := range []string{"curl", "wget", "openssl"} {
			t.Run(name+" "+sender, func(t *testing.T) {
				t.Parallel()
				h := newStockHub(t)
				h.start()
				m := newStock(t, slices.DeleteFunc([]string{sender}, func(s string) bool { return s == "openssl" })...)
				m.link(map[string]string{"curl": "setsid", "wget": "nohup", "openssl": "date"}[sender])
				sshd := h.sshdOf(t, m)
				env := h.env("ADIT_SSHD="+sshd.Address, "ADIT_FORWARD=1883,22 1883", "ADIT_ALLOW=[fd00::1]:8080,tcp:mailserver:110 "+stockAllow)
				if sender == "wget" { // Debian's does not know SSL_CERT_FILE
					env = append(env, "ADIT_CA_FILE="+h.gate.ca.file)
				}
				out, err := m.run(shell, h.script(t), env, "--user")
				if err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				h.registered(t, m, sshd, sender, out)
				h.admits(t, sshd)
				m.ends(t, shell, h.script(t), env, nil, "--user")
			})
		}
	}
}

// registered checks what a user's installation asked, wrote and said.
func (h *stockHub) registered(t *testing.T, m *machine, sshd *sshdtest.Server, sender, out string) {
	t.Helper()
	calls := m.calls()
	if strings.Contains(calls, testCode) || strings.Contains(calls, "in the environment") {
		t.Errorf("the code is visible:\n%s", calls)
	}
	if sender != "openssl" && !strings.Contains(calls, sender+" ") {
		t.Errorf("%s was not asked:\n%s", sender, calls)
	}
	for _, says := range []string{"Registered as kitchen at " + h.URL, "by one line in " + m.home + "/.ssh/authorized_keys", "Neighbours that people may reach through this machine: [fd00::1]:8080 mailserver:110 127.0.0.2:110",
		"Ports of this machine that people may reach: 1883", "kitchen is online.", "Its log: " + m.home + "/.config/adit-ssh/log"} {
		if !strings.Contains(out, says) {
			t.Errorf("not said: %q in\n%s", says, out)
		}
	}
	asked := h.asked()
	key, err := os.ReadFile(filepath.Join(m.home, ".config/adit-ssh/id_ed25519.pub"))
	must(t, err)
	if asked.Via == nil || *asked.Via != api.EnrollRequestViaOpenssh || asked.PublicKey+" adit\n" != string(key) || asked.Short == nil || *asked.Short {
		t.Errorf("asked %+v", asked)
	}
	facts := asked.Facts
	if facts.SSH == nil || facts.SSH.Server != "openssh" || *facts.SSH.Trust != "authorized_keys" || *facts.SSH.Address != sshd.Address ||
		!strings.HasPrefix(*facts.SSH.Version, "OpenSSH_") || *facts.Install != "user" || *facts.Login != sshd.Login || *facts.Os == "" || *facts.Arch == "" {
		t.Errorf("facts %+v %+v", facts, facts.SSH)
	}
	want := []string{"localhost:22", "localhost:1883", "fd00::1:8080", "mailserver:110", stockAllow}
	await(t, patience, func() error { // once to try, once for good
		if users := h.noted(&h.users); len(users) != 2 || users[1] != stockDevice+" "+asked.PublicKey {
			return fmt.Errorf("logged in: %v", users)
		}
		if diff := cmp.Diff(append(want, want...), h.noted(&h.forwards)); diff != "" {
			return fmt.Errorf("forwards (-want +got):\n%s", diff)
		}
		return nil
	})
	for file, mode := range map[string]os.FileMode{"id_ed25519": 0o600, "run": 0o700, "config": 0o600, "../../.ssh/authorized_keys": 0o600} {
		if info, err := os.Stat(filepath.Join(m.home, ".config/adit-ssh", file)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v", file, info, err)
		}
	}
}
