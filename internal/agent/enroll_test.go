package agent

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/wire"
)

const testCode = "abcdefghijklmnopqrstuvwx23"

// enrolHub answers POST /api/v1/enroll as a hub does, signature and all; the real hub has its own tests.
type enrolHub struct {
	t   *testing.T
	key ed25519.PrivateKey
	url string

	mu       sync.Mutex
	requests []api.EnrollRequest
	change   func(*api.EnrollResult)     // after signing
	answer   func(w http.ResponseWriter) // instead of everything
	status   string
	allow    []string
}

func newEnrolHub(t *testing.T) *enrolHub {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	h := &enrolHub{t: t, key: key, status: "active"}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	h.url = server.URL
	return h
}

func (h *enrolHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var request api.EnrollRequest
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil || r.URL.Path != "/api/v1/enroll" {
		h.t.Errorf("%s %v", r.URL.Path, err)
	}
	h.requests = append(h.requests, request)
	if h.answer != nil {
		h.answer(w)
		return
	}
	ca, err := newThrowAway()
	if err != nil {
		h.t.Error(err)
		return
	}
	result := api.EnrollResult{
		DeviceID: testDevice, Name: "kitchen", Status: api.DeviceStatus(h.status), HubName: "Test", HubUrls: []string{h.url},
		HubKeys: []string{wire.EncodeKey(h.key.Public().(ed25519.PublicKey))}, UserCa: authorizedLine(ca.PublicKey()), Allow: h.allow,
	}
	public, _ := wire.DecodeKey(request.PublicKey)
	signed := wire.Enrolled{
		PublicKey: public, DeviceID: result.DeviceID, Name: result.Name, Status: string(result.Status), HubName: result.HubName,
		HubURLs: result.HubUrls, HubKeys: result.HubKeys, UserCA: result.UserCa, Allow: result.Allow,
	}
	result.Signature = base64.RawURLEncoding.EncodeToString(ed25519.Sign(h.key, signed.Transcript()))
	if h.change != nil {
		h.change(&result)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(result)
}

// answerWith makes the hub say something else than a hub would; nil ends that.
func (h *enrolHub) answerWith(answer func(http.ResponseWriter)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer = answer
}

// heard are the requests so far.
func (h *enrolHub) heard() []api.EnrollRequest {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.requests)
}

func (h *enrolHub) fingerprint() string { return wire.Fingerprint(h.key.Public().(ed25519.PublicKey)) }

func (h *enrolHub) enrolment() Enrolment {
	return Enrolment{Hub: h.url, HubKey: h.fingerprint(), Code: testCode}
}

func problem(code wire.Code, detail string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(code.HTTPStatus())
		_ = json.NewEncoder(w).Encode(api.Problem{Code: api.ProblemCode(code), Detail: &detail, Status: code.HTTPStatus()})
	}
}

func newPlace(t *testing.T) Paths {
	t.Helper()
	return Paths{Dir: filepath.Join(t.TempDir(), "adit"), User: os.Geteuid() != 0}
}

func TestEnroll(t *testing.T) {
	t.Parallel()
	h := newEnrolHub(t)
	h.allow = []string{"192.168.1.10:80"}
	p := newPlace(t)
	e := h.enrolment()
	e.Allow = []string{"tcp:192.168.1.11:*"}
	c, enrolled, err := Enroll(t.Context(), p, e)
	if err != nil {
		t.Fatal(err)
	}
	back, err := LoadConfig(p.Config())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, back); diff != "" {
		t.Errorf("file differs from what was returned:\n%s", diff)
	}
	wantTargets := []string{"ssh", "mqtt", "http", "loopback", "tcp:192.168.1.11:*", "tcp:192.168.1.10:80"}
	if diff := cmp.Diff(wantTargets, c.Policy.Targets); diff != "" {
		t.Error(diff)
	}
	if c.Device != testDevice || c.Name != "kitchen" || c.Hub != h.url || enrolled.Status != "active" {
		t.Errorf("%+v %+v", c, enrolled)
	}
	if sent := h.heard()[0]; len(sent.SSHHostKeys) == 0 || sent.Hostname == "" {
		t.Errorf("sent %+v", sent)
	}
	for path, mode := range map[string]fs.FileMode{
		p.Config(): 0o600, p.Key(): 0o600, p.HostKey(): 0o600, p.Principals(): 0o644, p.UserCA(): 0o644,
	} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
	}
}

// A lost answer strands nobody: the key is on disk before it is sent, and sent again. The owner's policy stays.
func TestEnrollAgain(t *testing.T) {
	t.Parallel()
	h := newEnrolHub(t)
	p := newPlace(t)
	h.answerWith(func(http.ResponseWriter) { panic(http.ErrAbortHandler) })
	if _, _, err := Enroll(t.Context(), p, h.enrolment()); wire.CodeOf(err) != wire.Offline {
		t.Fatal(err)
	}
	h.answerWith(nil)
	c, _, err := Enroll(t.Context(), p, h.enrolment())
	if err != nil {
		t.Fatal(err)
	}
	c.Policy.Root = false
	if err := c.save(p.Config()); err != nil {
		t.Fatal(err)
	}
	c, _, err = Enroll(t.Context(), p, h.enrolment())
	if err != nil || c.Policy.Root {
		t.Errorf("%v, root %v", err, c.Policy.Root)
	}
	requests := h.heard()
	for _, r := range requests[1:] {
		if r.PublicKey != requests[0].PublicKey {
			t.Error("another key was sent")
		}
	}
	other := newEnrolHub(t)
	if _, _, err := Enroll(t.Context(), p, other.enrolment()); wire.CodeOf(err) != wire.Conflict || len(other.heard()) != 0 {
		t.Errorf("another hub: %v", err)
	}
}

// Whatever a proxy that ends TLS may do to the answer, nothing of it is believed.
func TestEnrollBelievesOnlyTheHub(t *testing.T) {
	t.Parallel()
	_, impostor, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	impostorKey := wire.EncodeKey(impostor.Public().(ed25519.PublicKey))
	for name, c := range map[string]struct {
		change func(*api.EnrollResult)
		answer func(http.ResponseWriter)
		pin    string
		code   wire.Code
		says   string
	}{
		"another key":      {change: func(r *api.EnrollResult) { r.HubKeys = []string{impostorKey} }, code: wire.Unauthenticated, says: "not the hub of the install line"},
		"further key":      {change: func(r *api.EnrollResult) { r.HubKeys = append(r.HubKeys, impostorKey) }, code: wire.Unauthenticated, says: "not signed"},
		"another CA":       {change: func(r *api.EnrollResult) { r.UserCa = "ssh-ed25519 AAAA" }, code: wire.Unauthenticated, says: "not signed"},
		"another device":   {change: func(r *api.EnrollResult) { r.DeviceID = "dev_x" }, code: wire.Unauthenticated, says: "not signed"},
		"another name":     {change: func(r *api.EnrollResult) { r.Name = "hall" }, code: wire.Unauthenticated, says: "not signed"},
		"more allowed":     {change: func(r *api.EnrollResult) { r.Allow = []string{"10.0.0.1:22"} }, code: wire.Unauthenticated, says: "not signed"},
		"no signature":     {change: func(r *api.EnrollResult) { r.Signature = "" }, code: wire.Unauthenticated, says: "not signed"},
		"no key":           {change: func(r *api.EnrollResult) { r.HubKeys = nil }, code: wire.Internal, says: "has no key"},
		"line of another":  {pin: wire.Fingerprint(impostor.Public().(ed25519.PublicKey)), code: wire.Unauthenticated, says: "not the hub of the install line"},
		"captive portal":   {answer: func(w http.ResponseWriter) { _, _ = w.Write([]byte("<html>Welcome to the hotel")) }, code: wire.Offline, says: "captive portal"},
		"used code":        {answer: problem(wire.Conflict, "This install code was used already."), code: wire.Conflict, says: "was used already"},
		"unknown code":     {answer: problem(wire.NotFound, "No such code.\x1b[31m"), code: wire.NotFound, says: "No such code.[31m"},
		"endless nonsense": {answer: func(w http.ResponseWriter) { _, _ = w.Write(bytes.Repeat([]byte("x"), 2*replyLimit)) }, code: wire.Offline, says: ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newEnrolHub(t)
			h.change, h.answer = c.change, c.answer
			p := newPlace(t)
			e := h.enrolment()
			if c.pin != "" {
				e.HubKey = c.pin
			}
			_, _, err := Enroll(t.Context(), p, e)
			if wire.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %s %q", err, c.code, c.says)
			}
			for _, path := range []string{p.Config(), p.UserCA(), p.Principals()} {
				if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s was written", path)
				}
			}
			// The keys stay for another try where the hub may have counted the code for them and its answer was lost.
			// Where it said no, or somebody else answered, nothing was changed here.
			_, err = os.Stat(p.Dir)
			if gone := errors.Is(err, fs.ErrNotExist); gone != (c.code != wire.Offline && c.code != wire.Internal) {
				t.Errorf("directory gone: %v", gone)
			}
		})
	}
}

// Keys that were there before a refusal are there after it.
func TestRefusedEnrolmentKeepsOldKeys(t *testing.T) {
	t.Parallel()
	h, p := newEnrolHub(t), newPlace(t)
	h.answerWith(func(http.ResponseWriter) { panic(http.ErrAbortHandler) })
	if _, _, err := Enroll(t.Context(), p, h.enrolment()); wire.CodeOf(err) != wire.Offline {
		t.Fatal(err)
	}
	if err := os.Remove(p.HostKey()); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(p.Key())
	if err != nil {
		t.Fatal(err)
	}
	h.answerWith(problem(wire.Conflict, "This install code was used already."))
	if _, _, err := Enroll(t.Context(), p, h.enrolment()); wire.CodeOf(err) != wire.Conflict {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(p.Key()); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the device's key: %v", err)
	}
	if _, err := os.Stat(p.HostKey()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the host key made for nothing: %v", err)
	}
}

func TestEnrollCommand(t *testing.T) {
	h := newEnrolHub(t)
	h.status = "pending"
	p := newPlace(t)
	run := func(stdin string, args ...string) (int, string) {
		var errs bytes.Buffer
		err := Command().Run(t.Context(), append([]string{"enroll"}, args...), command.Stdio{In: strings.NewReader(stdin), Out: &errs, Err: &errs})
		return command.Report(&errs, err), errs.String()
	}
	for _, c := range []struct {
		stdin, says string
		args        []string
	}{
		{"", "needs --hub URL and --code-stdin", nil},
		{"", "no install code", []string{"--hub", h.url, "--code-stdin"}},
		{testCode + "x", "no install code", []string{"--hub", h.url, "--code-stdin"}},
		{testCode, "must begin with https://", []string{"--hub", "http://hub.example", "--code-stdin"}},
		{testCode, "is no fingerprint", []string{"--hub", h.url, "--code-stdin", "--hub-key", "SHA256:short"}},
		{testCode, "is not HOST:PORT", []string{"--hub", h.url, "--code-stdin", "--allow", "nonsense"}},
		{testCode, "cannot be read", []string{"--hub", h.url, "--code-stdin", "--ca-file", "/nonexistent"}},
		{testCode, "did you mean --code-stdin?", []string{"--hub", h.url, "--code-stdn"}},
	} {
		if status, says := run(c.stdin, append(c.args, "--dir", p.Dir)...); c.args != nil && (status != 2 || !strings.Contains(says, c.says)) {
			t.Errorf("%v: status %d, %q", c.args, status, says)
		}
	}
	status, says := run(testCode+"\n", "--hub", h.url, "--hub-key", h.fingerprint(), "--code-stdin", "--short", "--dir", p.Dir)
	key, err := loadKey(p.Key())
	if err != nil || status != 0 || !strings.Contains(says, "waiting for approval") || !strings.Contains(says, publicFingerprint(key)) {
		t.Errorf("status %d, %v: %s", status, err, says)
	}
	requests := h.heard()
	if r := requests[len(requests)-1]; r.Short == nil || !*r.Short {
		t.Error("the hub was not told that the code had been in a URL")
	}
}

// A hub that was taken over must not open the LAN by an install code: it allows single addresses only, and they are said.
func TestEnrollAllowsSingleNeighbours(t *testing.T) {
	t.Parallel()
	for _, wide := range []string{"*:*", "192.168.1.10:*", "*:80", "10.0.0.1:80,*:*", "ssh", "192.168.1.0/24:80", ""} {
		h, p := newEnrolHub(t), newPlace(t)
		h.allow = []string{"192.168.1.10:80", wide}
		if _, _, err := Enroll(t.Context(), p, h.enrolment()); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%q: %v", wide, err)
		}
		if _, err := os.Stat(p.Config()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: settings were written", wide)
		}
	}
	h, p := newEnrolHub(t), newPlace(t)
	h.allow = []string{"192.168.1.10:80"}
	e := h.enrolment()
	e.Allow = []string{"tcp:nas.lan:*"}
	c, enrolled, err := Enroll(t.Context(), p, e)
	if says := enrolledText(c, enrolled); err != nil || !strings.Contains(says, "reach through this machine: nas.lan:*, 192.168.1.10:80\n") {
		t.Errorf("%v %q", err, says)
	}
	if says := enrolledText(Config{Policy: DefaultPolicy()}, enrolled); strings.Contains(says, "Neighbours") {
		t.Error(says)
	}
}

// A certificate that is not trusted here is named as the cause; with the CA in a file it is trusted.
func TestEnrollOverTLS(t *testing.T) {
	t.Parallel()
	h := newEnrolHub(t)
	server := httptest.NewTLSServer(h)
	t.Cleanup(server.Close)
	h.url = server.URL
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	p := newPlace(t)
	_, _, err := Enroll(t.Context(), p, h.enrolment())
	if wire.CodeOf(err) != wire.Offline || !strings.Contains(err.Error(), "tls-untrusted") {
		t.Errorf("without its CA: %v", err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	e := h.enrolment()
	e.CAFile = ca
	c, _, err := Enroll(t.Context(), p, e)
	if err != nil || c.CAFile != ca {
		t.Errorf("with its CA: %v", err)
	}
	e.Dial = strings.TrimPrefix(server.URL, "https://")
	e.Hub = "https://example.com" // the name in httptest's certificate, found by nobody
	if _, _, err := Enroll(t.Context(), newPlace(t), e); err != nil {
		t.Errorf("connecting elsewhere than the name leads: %v", err)
	}
}

// A board that starts in 1970 still knows that the hub was heard in 2026.
func TestClockNeverBeforeWhatIsKnown(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	if err := makeDir(p); err != nil {
		t.Fatal(err)
	}
	future := time.Now().Add(1000 * time.Hour).Truncate(time.Second)
	if err := writeHubTime(p.HubTime(), future); err != nil {
		t.Fatal(err)
	}
	if got := earliestTime(p)(); !got.Equal(future) {
		t.Errorf("clock says %v, want %v", got, future)
	}
	if err := os.WriteFile(p.HubTime(), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := earliestTime(p)(); time.Since(got).Abs() > time.Minute {
		t.Errorf("clock says %v", got)
	}
}
