//go:build linux

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// endpoint is one as the API shows it; only what the tests look at.
type endpoint struct {
	ID, Name, State, Breaker string
	DisabledReason           string `json:"disabled_reason"`
	LastError                string `json:"last_error"`
	PublicKey                string `json:"public_key"`
	Waiting, Dead            int
	Failed                   int `json:"failed_24h"`
	secret                   string
}

// newEndpoint makes one that may send as fast as it can.
func (r *rig) newEndpoint(name, url string, more ask) endpoint {
	r.t.Helper()
	request := ask{"name": name, "url": url, "rate": 1000}
	for key, value := range more {
		request[key] = value
	}
	var made struct {
		Endpoint endpoint
		Secret   string
	}
	r.mustCall("POST", "/api/v1/hooks/endpoints", request, &made)
	made.Endpoint.secret = made.Secret
	return made.Endpoint
}

func (r *rig) endpoint(name string) (e endpoint) {
	r.t.Helper()
	r.mustCall("GET", "/api/v1/hooks/endpoints/"+name, nil, &e)
	return e
}

// hookSource is an address of the hub: path is what follows its name.
type hookSource struct{ path, secret string }

// newSource makes one that knows its senders by a bearer token and takes what comes, however fast.
func (r *rig) newSource(slug string, more ask) hookSource {
	r.t.Helper()
	request := ask{"slug": slug, "verify": ask{"kind": "bearer"}, "rate": 10000, "burst": 10000}
	for key, value := range more {
		request[key] = value
	}
	var made struct {
		Source struct{ URL string }
		Secret string
	}
	r.mustCall("POST", "/api/v1/hooks/sources", request, &made)
	return hookSource{strings.TrimPrefix(made.Source.URL, hubURL), made.Secret}
}

// hookReply is what a door of hooks answered.
type hookReply struct {
	status int
	header http.Header
	body   string
	took   time.Duration
}

// id is of a request that was accepted.
func (a hookReply) id(t testing.TB) string {
	t.Helper()
	var accepted struct{ ID string }
	if err := json.Unmarshal([]byte(a.body), &accepted); err != nil || a.status != http.StatusAccepted || accepted.ID == "" {
		t.Fatalf("not accepted: %d %s", a.status, a.body)
	}
	return accepted.ID
}

// curl is Debian's, on the hub's machine, through the proxy. path is below the hub's name.
func (r *rig) curl(path string, args ...string) hookReply {
	r.t.Helper()
	a, err := r.tryCurl(path, args...)
	if err != nil {
		r.t.Fatalf("curl %s %s: %v", path, strings.Join(args, " "), err)
	}
	return a
}

func (r *rig) tryCurl(path string, args ...string) (a hookReply, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	fixed := []string{"curl", "-sS", "-i", "-H", "Expect:", "--cacert", filepath.Join(r.dir, "ca.pem"), "-w", "\n%{time_total}", hubURL + path}
	out, err := r.host.command(ctx, nil, append(fixed, args...)...).CombinedOutput()
	if err != nil {
		return a, fmt.Errorf("%w\n%s", err, out)
	}
	cut := strings.LastIndexByte(string(out), '\n')
	seconds, err := strconv.ParseFloat(string(out[cut+1:]), 64)
	if err != nil {
		return a, err
	}
	// As curl writes them, the status line of HTTP/2 has no minor version, and chunks are put together.
	text := strings.NewReplacer("HTTP/2 ", "HTTP/1.1 ", "Transfer-Encoding: chunked\r\n", "").Replace(string(out[:cut]))
	res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(text)), nil)
	if err != nil {
		return a, fmt.Errorf("%w in %q", err, out)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return hookReply{res.StatusCode, res.Header, string(body), time.Duration(seconds * float64(time.Second))}, err
}

// send posts a body as somebody who knows the secret.
func (r *rig) send(s hookSource, query, body string, args ...string) hookReply {
	r.t.Helper()
	return r.curl(s.path+query, append([]string{"-H", "Authorization: Bearer " + s.secret, "-H", "Content-Type: application/json", "-d", body}, args...)...)
}

// serveHTTP is a server of the test's at an address of the hub's machine.
func (r *rig) serveHTTP(address string, h http.Handler) {
	r.t.Helper()
	l, err := r.host.listen(address)
	if err != nil {
		r.t.Fatal(err)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: patience}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(l) }()
	r.t.Cleanup(func() { server.Close(); <-served })
}

// hookAttempt is one as the API shows it.
type hookAttempt struct {
	At      time.Time
	TookMS  int64 `json:"took_ms"`
	Status  int
	Error   string
	Address string
	Body    []byte `json:"response_body"`
	Cut     bool   `json:"response_cut"`
}

// hookDelivery is one with its attempts.
type hookDelivery struct {
	Delivery struct {
		ID, State, Type string
		MessageID       string `json:"message_id"`
		LastError       string `json:"last_error"`
		Attempts        int
	}
	Attempts []hookAttempt
}

// deliveries are those of an endpoint, the newest first.
func (r *rig) deliveries(endpoint string) []hookDelivery {
	r.t.Helper()
	var page struct{ Deliveries []struct{ ID string } }
	r.mustCall("GET", "/api/v1/hooks/deliveries?endpoint="+endpoint, nil, &page)
	all := make([]hookDelivery, len(page.Deliveries))
	for i, d := range page.Deliveries {
		r.mustCall("GET", "/api/v1/hooks/deliveries/"+d.ID, nil, &all[i])
	}
	return all
}

// tested sends an endpoint a test and gives its first attempt.
func (r *rig) tested(endpoint string) hookAttempt {
	r.t.Helper()
	var queued struct{ ID string }
	r.mustCall("POST", "/api/v1/hooks/endpoints/"+endpoint+"/test", nil, &queued)
	return r.attempt(queued.ID, 1)
}

// attempt waits for the nth of a delivery.
func (r *rig) attempt(delivery string, n int) hookAttempt {
	r.t.Helper()
	var d hookDelivery
	eventually(r.t, patience, fmt.Sprintf("attempt %d of %s", n, delivery), func() error {
		if err := r.call("GET", "/api/v1/hooks/deliveries/"+delivery, nil, &d); err != nil {
			return err
		}
		if len(d.Attempts) < n {
			return fmt.Errorf("%d attempts, state %s %s", len(d.Attempts), d.Delivery.State, d.Delivery.LastError)
		}
		return nil
	})
	return d.Attempts[n-1]
}

// A footprint watches what memory the hub's process and the workers of its transforms take.
type footprint struct {
	r      *rig
	before int // of the hub, kB
}

// watchMemory begins to, and has the kernel forget what was.
func (r *rig) watchMemory() footprint {
	r.t.Helper()
	r.host.sh(`for p in $(cat /run/hub.pid) $(pgrep -f '[t]ransform-worker'); do echo 5 >/proc/$p/clear_refs; done`)
	return footprint{r, r.memory("VmRSS", "cat /run/hub.pid")}
}

// The bounds of a footprint. The hub's is what it may have more than before, ever: its 64 MiB for bodies, and what is not collected
// yet. A worker's is its limit of data, and the program itself.
const (
	hubMayGrow    = 96 << 10 // kB
	workerMayTake = 320 << 10
)

// flat reports whether it stayed within.
func (f footprint) flat(what string) {
	f.r.t.Helper()
	peak := f.r.memory("VmHWM", "cat /run/hub.pid")
	workers := f.r.memory("VmHWM", "pgrep -f '[t]ransform-worker' || true")
	f.r.t.Logf("%s: the hub had %d kB, and at most %d kB; the workers that are left had at most %d kB together", what, f.before, peak, workers)
	if peak > f.before+hubMayGrow {
		f.r.t.Errorf("%s: the hub had %d kB before and up to %d kB meanwhile", what, f.before, peak)
	}
	if workers > 2*workerMayTake {
		f.r.t.Errorf("%s: workers have %d kB", what, workers)
	}
}

// memory is a sum over the processes that a line of shell names, in kB.
func (r *rig) memory(field, pids string) int {
	r.t.Helper()
	out := r.host.sh(fmt.Sprintf(`for p in $(%s); do sed -n 's/^%s:[^0-9]*\([0-9]*\) kB/\1/p' /proc/$p/status 2>/dev/null || :; done`, pids, field))
	sum := 0
	for _, word := range strings.Fields(out) {
		n, err := strconv.Atoi(word)
		if err != nil {
			r.t.Fatal(err)
		}
		sum += n
	}
	return sum
}

// hubProcess is the hub's process as this one counts.
func (r *rig) hubProcess() *os.Process {
	r.t.Helper()
	place, err := os.Readlink("/proc/" + r.host.pid + "/ns/pid")
	if err != nil {
		r.t.Fatal(err)
	}
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range lines {
		line, _ := os.ReadFile(file) // it may have ended
		dir := filepath.Dir(file)
		there, _ := os.Readlink(dir + "/ns/pid")
		if there != place || string(line) != built("adit-hub")+"\x00serve\x00" {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			r.t.Fatal(err)
		}
		process, err := os.FindProcess(pid)
		if err != nil {
			r.t.Fatal(err)
		}
		return process
	}
	r.t.Fatal("the hub's process is not there")
	return nil
}
