//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A speaker is an MQTT client of somebody's, by one version of the protocol, at one door.
type speaker interface {
	// hear subscribes and returns once the broker has said yes.
	hear(t testing.TB, h hearing) *ear
	// say publishes and returns once the broker has all of it as safely as its QoS asks.
	say(t testing.TB, all ...saying)
}

// hearing is what somebody listens for. Where will is not empty, "gone" is published there when the connection is lost.
type hearing struct {
	Filter string `json:"filter"`
	QoS    int    `json:"qos"`
	Will   string `json:"will"`
}

type saying struct {
	Topic   string `json:"topic"`
	QoS     int    `json:"qos"`
	Retain  bool   `json:"retain"`
	Payload string `json:"payload"`
}

// An ear is a subscription: lines are "TOPIC QOS RETAIN PAYLOAD".
type ear struct {
	name  string
	lines chan string
	stop  func() // ends it, and returns when the broker knows nothing of it any more or soon will
	kill  func() // loses the connection without a word
}

// next is the next message.
func (e *ear) next(t testing.TB) string {
	t.Helper()
	select {
	case line := <-e.lines:
		return line
	case <-time.After(patience):
		t.Fatalf("%s: no message within %v", e.name, patience)
		return ""
	}
}

// all are messages up to the one whose payload is last, sorted, without it.
func (e *ear) all(t testing.TB, last string) []string {
	t.Helper()
	var all []string
	for {
		select {
		case line := <-e.lines:
			if strings.HasSuffix(line, " "+last) {
				slices.Sort(all)
				return all
			}
			all = append(all, line)
		case <-time.After(patience):
			t.Fatalf("%s: no message %q within %v, after %q", e.name, last, patience, all)
		}
	}
}

// mqttCredential is a username and password, and where they hold.
type mqttCredential struct{ url, username, password string }

// mqttCredential makes one, by an answer of POST /api/v1/mqtt/credentials.
func (r *rig) mqttCredential(request ask) mqttCredential {
	r.t.Helper()
	var made struct {
		Credential    struct{ Username string }
		Password, URL string
	}
	if err := r.call("POST", "/api/v1/mqtt/credentials", request, &made); err != nil {
		r.t.Fatal(err)
	}
	return mqttCredential{made.URL, made.Credential.Username, made.Password}
}

// newID is a ClientID that nobody else has.
func newID() string { return "e2e-" + strings.ToLower(rand.Text()[:12]) }

// A voice is a speaker that is a program on a machine. Each of its runs is one connection.
type voice struct {
	name string
	m    *machine
	env  []string
	sub  func(id string, h hearing) []string // prints the lines of an ear
	pub  func(id string, all []saying) [][]string
	run  func(id string, what ask) []string // of scripts only
	// ready tells from a line that the broker has accepted the subscription. nil: `hears` of the rig says so.
	ready func(line string) bool
	hears func(id string) error
}

func (v *voice) hear(t testing.TB, h hearing) *ear {
	t.Helper()
	id := newID()
	pid := "/run/" + id + ".pid"
	cmd := v.m.command(context.Background(), v.env, append([]string{"sh", "-c", "echo $$ >" + pid + `; exec "$@"`, "-"}, v.sub(id, h)...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var problem bytes.Buffer
	cmd.Stderr = &problem
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	e := &ear{name: v.name, lines: make(chan string, 10_000)}
	ready, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		v.listen(e, out, ready)
		_ = cmd.Wait()
	}()
	end := func(signal string) func() {
		return func() {
			_, _ = v.m.try("sh", "-c", "kill -"+signal+" $(cat "+pid+")")
			<-ended
		}
	}
	e.stop, e.kill = end("TERM"), end("KILL")
	t.Cleanup(e.kill)
	v.await(t, id, ready, ended, &problem)
	return e
}

// listen reads what a subscriber prints.
func (v *voice) listen(e *ear, out io.Reader, ready chan struct{}) {
	said := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		line := lines.Text()
		switch {
		case v.ready != nil && !said && v.ready(line):
			said = true
			close(ready)
		case isMessage(line):
			e.lines <- line
		}
	}
}

// isMessage tells a message from what programs say beside: its second and third word are a QoS and the retain flag.
func isMessage(line string) bool {
	words := strings.SplitN(line, " ", 4)
	return len(words) == 4 && slices.Contains([]string{"0", "1", "2"}, words[1]) && slices.Contains([]string{"0", "1"}, words[2])
}

// await returns when the subscription is there.
func (v *voice) await(t testing.TB, id string, ready, ended chan struct{}, problem *bytes.Buffer) {
	t.Helper()
	late := time.After(patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ready:
			return
		case <-ended:
			t.Fatalf("%s ended: %s", v.name, problem)
		case <-late:
			t.Fatalf("%s has not subscribed within %v", v.name, patience)
		case <-tick.C:
			if v.ready == nil && v.hears(id) == nil {
				return
			}
		}
	}
}

func (v *voice) say(t testing.TB, all ...saying) {
	t.Helper()
	for _, args := range v.pub(newID(), all) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		out, err := v.m.command(ctx, v.env, args...).CombinedOutput()
		cancel()
		if err != nil {
			t.Fatalf("%s: %s: %v\n%s", v.name, strings.Join(args, " "), err, out)
		}
	}
}

// mosquitto are mosquitto_pub and mosquitto_sub on a machine.
func mosquitto(m *machine, version, host, port string, more ...string) *voice {
	flags := append([]string{"-V", version, "-h", host, "-p", port}, more...)
	return &voice{
		name: "mosquitto " + version + " at " + strings.TrimSpace(m.run("hostname")) + ":" + port, m: m,
		ready: func(line string) bool { return strings.Contains(line, "received SUBACK") },
		sub: func(id string, h hearing) []string {
			args := append([]string{"stdbuf", "-oL", "mosquitto_sub", "-d", "-i", id, "-t", h.Filter, "-q", fmt.Sprint(h.QoS), "-F", "%t %q %r %p"}, flags...)
			if h.Will != "" {
				args = append(args, "--will-topic", h.Will, "--will-payload", "gone", "--will-qos", "1")
			}
			return args
		},
		pub: func(id string, all []saying) (runs [][]string) {
			for _, s := range all {
				runs = append(runs, pubArgs(append([]string{"mosquitto_pub", "-i", id}, flags...), s))
			}
			return runs
		},
	}
}

// pubArgs adds a message by mosquitto_pub's flags.
func pubArgs(args []string, s saying) []string {
	args = append(slices.Clone(args), "-t", s.Topic, "-q", fmt.Sprint(s.QoS))
	if s.Retain {
		args = append(args, "-r")
	}
	if s.Payload == "" {
		return append(args, "-n")
	}
	return append(args, "-m", s.Payload)
}

// aditMQTT are `adit mqtt pub` and `adit mqtt sub` of whom r.login signed in; more are flags, such as --device.
func (r *rig) aditMQTT(version string, more ...string) *voice {
	adit := func(verb, id string) []string {
		return append([]string{built("adit"), "mqtt", verb, "-V", version, "-i", id}, more...)
	}
	return &voice{
		name: "adit mqtt " + strings.Join(append(more, version), " "), m: r.host, env: r.userEnv(), hears: r.hears,
		sub: func(id string, h hearing) []string {
			args := append(adit("sub", id), "-t", h.Filter, "-q", fmt.Sprint(h.QoS), "-F", "%t %q %r %p")
			if h.Will != "" {
				args = append(args, "--will-topic", h.Will, "--will-payload", "gone", "--will-qos", "1")
			}
			return args
		},
		pub: func(id string, all []saying) (runs [][]string) {
			for _, s := range all {
				runs = append(runs, pubArgs(adit("pub", id), s))
			}
			return runs
		},
	}
}

// hears reports whether the client has a subscription at the hub's broker.
func (r *rig) hears(id string) error {
	var clients []struct {
		ClientID      string `json:"client_id"`
		Subscriptions json.RawMessage
	}
	if err := r.call("GET", "/api/v1/mqtt/clients", nil, &clients); err != nil {
		return err
	}
	for _, c := range clients {
		if c.ClientID == id && len(c.Subscriptions) > len("[]") {
			return nil
		}
	}
	return errNotYet
}

// scripted is a client library in a script beside this file, which is given JSON as its argument.
func (r *rig) scripted(name string, version int, c mqttCredential, program ...string) *voice {
	script, err := filepath.Abs(program[len(program)-1])
	if err != nil {
		r.t.Fatal(err)
	}
	path, err := exec.LookPath(program[0]) // node may lie anywhere
	if err != nil {
		r.t.Fatal(err)
	}
	run := func(id string, what ask) []string {
		options, err := json.Marshal(ask{"url": c.url, "username": c.username, "password": c.password, "version": version, "id": id, "do": what})
		if err != nil {
			r.t.Fatal(err)
		}
		return []string{path, script, string(options)}
	}
	return &voice{
		name: fmt.Sprintf("%s %d", name, version), m: r.host, run: run,
		env:   append(r.userEnv(), "NODE_EXTRA_CA_CERTS="+filepath.Join(r.dir, "ca.pem"), "PYTHONUNBUFFERED=1"),
		ready: func(line string) bool { return line == "subscribed" },
		sub:   func(id string, h hearing) []string { return run(id, ask{"hear": h}) },
		pub:   func(id string, all []saying) [][]string { return [][]string{run(id, ask{"say": all})} },
	}
}

// forwardProxy is an HTTP proxy (CONNECT) out of the hub's machine, for clients in this process. cut loses what goes
// through it and lets nothing through again.
func (r *rig) forwardProxy(t testing.TB) (proxy *url.URL, cut func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		far, err := r.host.dial(ctx, "tcp", "10.77.0.1:443")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer far.Close()
		near, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer near.Close()
		stop := context.AfterFunc(ctx, func() { near.Close(); far.Close() })
		defer stop()
		_, _ = io.WriteString(near, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(far, near); far.Close() }()
		_, _ = io.Copy(near, far)
	})}
	go func() { _ = server.Serve(l) }()
	cut = func() { cancel(); server.Close() }
	t.Cleanup(cut)
	return &url.URL{Scheme: "http", Host: l.Addr().String()}, cut
}
