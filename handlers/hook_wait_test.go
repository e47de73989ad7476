package handlers

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/sshdtest"
	"github.com/aditdev/adit/internal/webhook/incoming"
	"github.com/aditdev/adit/internal/wire"
)

// opensslHMAC is an HMAC-SHA256 in hex by somebody else's code.
func opensslHMAC(t *testing.T, key, message string) string {
	t.Helper()
	cmd := exec.Command("openssl", "dgst", "-sha256", "-hmac", key, "-r")
	cmd.Stdin = strings.NewReader(message)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("openssl: %v", err)
	}
	sum, _, _ := strings.Cut(string(out), " ")
	return sum
}

// mosquitto gives arguments with which mosquitto's clients speak as a device.
func (r *rig) mosquitto(device string) []string {
	r.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	r.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	var listening sync.WaitGroup
	listening.Go(func() { _ = r.MQTT.Listen(ctx, l) })
	r.t.Cleanup(func() { cancel(); listening.Wait() })
	c, password, err := r.MQTT.Registry.CreateCredential(r.t.Context(), "test", messaging.CredentialRequest{Kind: messaging.KindDevice, Device: device})
	r.must(err)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return []string{"-h", "127.0.0.1", "-p", port, "-u", c.Username, "-P", password}
}

// responder runs mosquitto_sub, and for each line of it what answer says with mosquitto_pub. It returns when the hub knows the subscription.
func (r *rig) responder(args []string, topic, version, format string, answer func(line string) []string) {
	r.t.Helper()
	sub := exec.Command("mosquitto_sub", append(args, "-V", version, "-t", topic, "-q", "1", "-F", format)...)
	out, err := sub.StdoutPipe()
	r.must(err)
	r.must(sub.Start())
	var answering sync.WaitGroup
	answering.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			pub := append(append([]string{}, args...), append([]string{"-V", version, "-q", "1"}, answer(lines.Text())...)...)
			if text, err := exec.Command("mosquitto_pub", pub...).CombinedOutput(); err != nil {
				r.t.Errorf("mosquitto_pub: %v\n%s", err, text)
			}
		}
	})
	r.t.Cleanup(func() { _ = sub.Process.Kill(); answering.Wait(); _ = sub.Wait() })
	r.listened(topic)
}

// listened waits until somebody is subscribed.
func (r *rig) listened(topic string) {
	r.t.Helper()
	r.becomes(func() bool { return r.MQTT.Listens(topic, func(messaging.Principal) bool { return true }) })
}

// A device that speaks MQTT 5 answers by response topic and correlation data, one of 3.1.1 by the envelope, or on a topic of its own.
func TestHookWaitsForMosquitto(t *testing.T) {
	t.Parallel()
	sshdtest.NeedTools(t, "mosquitto_pub", "mosquitto_sub")
	r := newRig(t)
	args := r.mosquitto("kitchen")
	r.responder(args, "cmds/kitchen/v5", "5", "%R %D %p", func(line string) []string {
		f := strings.SplitN(line, " ", 3)
		return []string{"-t", f[0], "-m", "heard " + f[2], "-D", "publish", "correlation-data", f[1], "-D", "publish", "content-type", "text/x-door",
			"-D", "publish", "user-property", "status", "201"}
	})
	r.responder(args, "cmds/kitchen/old", "311", "%p", func(line string) []string {
		var e struct {
			ID, Reply string
			Payload   json.RawMessage
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Reply == "" {
			t.Errorf("no envelope: %s", line)
		}
		return []string{"-t", e.Reply, "-m", fmt.Sprintf(`{"id":%q,"status":418,"payload":{"heard":%s}}`, e.ID, e.Payload)}
	})
	r.responder(args, "cmds/kitchen/topic/+", "311", "%t %p", func(line string) []string {
		topic, payload, _ := strings.Cut(line, " ")
		return []string{"-t", "devices/kitchen/replies/" + topic[strings.LastIndex(topic, "/")+1:], "-m", "plain " + payload}
	})
	for _, row := range []struct {
		action     object
		status     int
		kind, want string
	}{
		{object{"kind": "publish", "topic": "cmds/kitchen/v5"}, 201, "text/x-door", `heard {"door":"open"}`},
		{object{"kind": "publish", "topic": "cmds/kitchen/old", "correlation": "envelope"}, 418, "application/json", `{"heard":{"door":"open"}}`},
		{object{"kind": "publish", "topic": "cmds/kitchen/topic/{{.id}}", "correlation": "topic"}, 200, "application/octet-stream", `plain {"door":"open"}`},
	} {
		path, _ := r.openSource(row.action)
		got := r.do("", "POST", path+"?wait=30s", object{"door": "open"}, "Idempotency-Key", "k1")
		if got.status != row.status || got.header.Get("Content-Type") != row.kind || got.body != row.want {
			t.Errorf("%v: %d %s %s", row.action, got.status, got.header.Get("Content-Type"), got.body)
		}
		again := r.do("", "POST", path+"?wait=30s", object{"door": "open"}, "Idempotency-Key", "k1")
		if again.status != row.status || again.body != row.want || again.header.Get("adit-duplicate") != "true" {
			t.Errorf("a repeat of %v: %d %s", row.action, again.status, again.body)
		}
	}
}

// Nobody there is 503 at once, silence is 504 in time, and an answer that comes late is kept for whoever has the id.
func TestHookOfflineSilentAndLate(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	path, made := r.openSource(object{"kind": "publish", "topic": "cmds/kitchen/door"})
	began := time.Now()
	if got := r.do("", "POST", path+"?wait=30s", "x"); got.status != 503 || got.header.Get("Retry-After") == "" || time.Since(began) >= incoming.MaxWait {
		t.Errorf("offline: %d after %v\n%s", got.status, time.Since(began), got.body)
	}
	var page HookRequestPage
	r.call("admin", "GET", v1("hooks/requests"), nil, 200, &page)
	if len(page.Requests) != 0 {
		t.Errorf("what was refused was kept: %+v", page)
	}
	r.call("admin", "PATCH", v1("hooks/sources/%s", made.Source.ID), object{"offline": "queue"}, 200, nil)
	r.accepted(r.do("", "POST", path+"?wait=30s", "x"))

	c, password, err := r.MQTT.Registry.CreateCredential(t.Context(), "test", messaging.CredentialRequest{Kind: messaging.KindDevice, Device: "kitchen"})
	r.must(err)
	device, got, err := r.speak(mqtt.Options{ClientID: "door", Username: c.Username, Password: password, Clean: true})
	r.must(err)
	r.subscribe(device, "cmds/kitchen/door")
	silent := r.do("", "POST", path+"?wait=5s", "x") // it expires with the wait, in which a busy machine is to have published it
	location := silent.header.Get("Location")
	id := silent.header.Get("Adit-Request")
	if silent.status != 504 || !strings.Contains(silent.body, id) || !strings.HasPrefix(id, "req_") {
		t.Fatalf("silent: %d %q %s", silent.status, location, silent.body)
	}
	if wait := r.do("", "GET", location, nil); wait.status != 202 {
		t.Errorf("before the answer: %d", wait.status)
	}
	m := next(t, got)
	r.must(device.Publish(t.Context(), mqtt.Message{Topic: m.ResponseTopic, Correlation: m.Correlation, Payload: []byte("late"), QoS: 1}))
	r.opensForTheSenderAlone(location, id)
	r.becomes(func() bool { late := r.do("", "GET", location, nil); return late.status == 200 && late.body == "late" })
	if d := r.hookRequest(id); d.Answer == nil || string(*d.Answer.Body) != "late" || d.Request.State != "done" {
		t.Errorf("%+v", d)
	}
}

// The id is published with the message: it opens no answer, nor does any key but the one that its sender was given.
func (r *rig) opensForTheSenderAlone(location, id string) {
	r.t.Helper()
	path, key, _ := strings.Cut(location, "?key=")
	if path != "/hook/requests/"+id || len(key) != 22 {
		r.t.Fatalf("Location: %s", location)
	}
	for _, query := range []string{"", "?key=", "?key=" + key[:21], "?key=" + key + "A", "?key=" + strings.ToUpper(key), "?KEY=" + key, "?key=&key=" + key} {
		if got := r.do("", "GET", path+query, nil); got.status != 404 || strings.Contains(got.body, "late") {
			r.t.Errorf("%s: %d %s", query, got.status, got.body)
		}
	}
	if got := r.do("", "GET", "/hook/requests/req_another?key="+key, nil); got.status != 404 {
		r.t.Errorf("the key of another: %d", got.status)
	}
}

// Only who may receive the request may answer it.
func TestHookAnswerOfAStranger(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	path, _ := r.openSource(object{"kind": "publish", "topic": "cmds/kitchen/door"})
	speakAs := func(name string) (*mqtt.Client, <-chan mqtt.Message) {
		c, password, err := r.MQTT.Registry.CreateCredential(t.Context(), "test", messaging.CredentialRequest{Kind: messaging.KindDevice, Device: name})
		r.must(err)
		client, got, err := r.speak(mqtt.Options{Version: mqtt.V5, ClientID: name, Username: c.Username, Password: password, Clean: true})
		r.must(err)
		return client, got
	}
	kitchen, got := speakAs("kitchen")
	shed, _ := speakAs("shed")
	r.subscribe(kitchen, "cmds/kitchen/door")
	answered := make(chan reply, 1)
	go func() { answered <- r.do("", "POST", path+"?wait=30s", "x") }()
	m := next(t, got)
	_ = shed.Publish(t.Context(), mqtt.Message{Topic: m.ResponseTopic, Correlation: m.Correlation, Payload: []byte("forged"), QoS: 1})
	r.must(kitchen.Publish(t.Context(), mqtt.Message{Topic: m.ResponseTopic, Correlation: m.Correlation, Payload: []byte("true"), QoS: 1}))
	if got := <-answered; got.body != "true" {
		t.Errorf("answered %s", got.body)
	}
}

// Eight wait on a device, the ninth is told to come again; whoever goes away makes room.
func TestHookWaitingIsBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	path, _ := r.openSource(object{"kind": "publish", "topic": "cmds/kitchen/door"})
	c, password, err := r.MQTT.Registry.CreateCredential(t.Context(), "test", messaging.CredentialRequest{Kind: messaging.KindDevice, Device: "kitchen"})
	r.must(err)
	device, got, err := r.speak(mqtt.Options{ClientID: "door", Username: c.Username, Password: password, Clean: true})
	r.must(err)
	r.subscribe(device, "cmds/kitchen/door")
	ctx, goAway := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	for range 8 {
		waiting.Go(func() {
			req, err := http.NewRequestWithContext(ctx, "POST", r.url+path+"?wait=30s", strings.NewReader("x"))
			if err != nil {
				t.Error(err)
				return
			}
			if res, err := http.DefaultTransport.RoundTrip(req); err == nil {
				t.Errorf("answered %d", res.StatusCode)
				_ = res.Body.Close()
			}
		})
	}
	for range 8 {
		next(t, got)
	}
	if ninth := r.do("", "POST", path+"?wait=1s", "x"); ninth.status != 429 || ninth.header.Get("Retry-After") == "" {
		t.Errorf("the ninth: %d", ninth.status)
	}
	goAway()
	waiting.Wait()
	r.becomes(func() bool { return r.do("", "POST", path+"?wait=10ms", "x").status == 504 })
}

// runs is a device that runs commands; it remembers ids.
type runs struct {
	anyAddress
	mu   sync.Mutex
	runs map[string]int
}

func (d *runs) Call(_ context.Context, method string, params json.RawMessage) (any, error) {
	var run wire.Run
	if err := json.Unmarshal(params, &run); err != nil || method != wire.MethodRun {
		return nil, wire.Errorf(wire.NotFound, "none")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.runs[run.ID]++
	if run.Command != "door" {
		return nil, wire.Errorf(wire.NotFound, "This device has no command %s.", run.Command)
	}
	return wire.RunResult{ExitCode: 3, Stdout: append([]byte("door "+run.Arguments["to"]+" "), run.Stdin...), Stderr: []byte("creaks")}, nil
}

// A command waits for its device, runs by the request's id, reads the body (which once it did only where a transform made it), and its exit
// status is an answer.
func TestHookRunsCommand(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	action := object{"kind": "command", "device": "kitchen", "command": "door", "arguments": object{"to": "{{.body.door}}"}}
	path, _ := r.openSource(action)
	if got := r.do("", "POST", path+"?wait=30s", object{"door": "open"}); got.status != 503 {
		t.Fatalf("offline: %d %s", got.status, got.body)
	}
	early := r.accepted(r.do("", "POST", path, object{"door": "early"}))
	device := &runs{runs: map[string]int{}}
	r.connectAs("kitchen", device)
	if d := r.hookState(early.ID, "done"); d.Answer == nil || value(d.Answer.ExitCode) != 3 || value(d.Request.ExitCode) != 3 {
		t.Errorf("what waited for the device: %+v", d)
	}
	got := r.do("", "POST", path+"?wait=30s", object{"door": "open"})
	if want := `{"exit_code":3,"stdout":"door open {\"door\":\"open\"}","stderr":"creaks"}`; got.status != 200 || strings.TrimSpace(got.body) != want {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := r.do("", "POST", path, object{"door": "open", "more": strings.Repeat("x", wire.MaxRunStdin)}); got.status != 413 {
		t.Errorf("more than a command reads: %d %s", got.status, got.body)
	}
	action["command"] = "window"
	path, _ = r.openSource(action)
	if got := r.do("", "POST", path+"?wait=30s", object{"door": "open"}); got.status != 502 || !strings.Contains(got.body, "no command window") {
		t.Errorf("no such command: %d %s", got.status, got.body)
	}
}

// What was accepted is counted as that alone, whatever its device makes of it: a refused command and a silence count as refused requests no more.
func TestHookIsCountedOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.connectAs("kitchen", &runs{runs: map[string]int{}})
	path, made := r.openSource(object{"kind": "command", "device": "kitchen", "command": "window"})
	if got := r.do("", "POST", path+"?wait=30s", "x"); got.status != 502 {
		t.Errorf("no such command: %d %s", got.status, got.body)
	}
	counts := func(source string, accepted, refused int64) {
		t.Helper()
		var view HookSource
		r.call("admin", "GET", v1("hooks/sources/%s", source), nil, 200, &view)
		if view.Accepted != accepted || view.Refused != refused || (view.LastRefused != nil) != (refused > 0) {
			t.Errorf("accepted %d, refused %d, want %d and %d", view.Accepted, view.Refused, accepted, refused)
		}
	}
	counts(made.Source.ID, 1, 0)
	if got := r.do("", "POST", path+"?wait=x", "x"); got.status != 400 {
		t.Errorf("%d %s", got.status, got.body)
	}
	counts(made.Source.ID, 1, 1)

	c, password, err := r.MQTT.Registry.CreateCredential(t.Context(), "test", messaging.CredentialRequest{Kind: messaging.KindDevice, Device: "kitchen"})
	r.must(err)
	device, _, err := r.speak(mqtt.Options{ClientID: "door", Username: c.Username, Password: password, Clean: true})
	r.must(err)
	r.subscribe(device, "cmds/kitchen/door")
	path, made = r.openSource(object{"kind": "publish", "topic": "cmds/kitchen/door"})
	if got := r.do("", "POST", path+"?wait=100ms", "x"); got.status != 504 {
		t.Errorf("silent: %d", got.status)
	}
	counts(made.Source.ID, 1, 0)
}

// Whoever listens gets each request in order, also what came while it was away, and answers those that wait.
func TestHookListen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	path, made := r.openSource(object{"kind": "store"})
	if got := r.do("", "POST", path+"?wait=1s", "x"); got.status != 503 {
		t.Errorf("nobody listens: %d", got.status)
	}
	listen := func(after string) (<-chan HookRequestDetail, <-chan string) {
		return r.listenHook(made.Source.ID, after, "")
	}
	heard, ids := listen("")
	begin := <-ids                                  // from where to go on if the connection is cut before anything came
	if _, ids := listen("999999"); <-ids != begin { // else who knows a hub that was since restored goes on in the middle of nowhere, and misses what comes
		t.Error("who was told of requests that do not exist is not told where they begin")
	}
	answered := make(chan reply, 1)
	go func() { answered <- r.do("", "POST", path+"/a?wait=30s", "one") }()
	one := <-heard
	if string(one.Body) != "one" {
		t.Fatalf("%+v", one)
	}
	answer := object{"status": 203, "content_type": "text/javascript", "body": []byte("done")}
	r.call("admin", "POST", v1("hooks/requests/%s/answer", one.Request.ID), answer, 204, nil)
	r.call("admin", "POST", v1("hooks/requests/%s/answer", one.Request.ID), answer, 409, nil)
	if got := <-answered; got.status != 203 || got.body != "done" || got.header.Get("Content-Type") != "text/plain; charset=utf-8" ||
		!strings.Contains(got.header.Get("Content-Security-Policy"), "sandbox") {
		t.Errorf("answer %d %s %v", got.status, got.body, got.header)
	}
	for _, text := range []string{"two", "three"} {
		r.accepted(r.do("", "POST", path, text))
		if got := <-heard; string(got.Body) != text {
			t.Errorf("heard %s, want %s", got.Body, text)
		}
	}
	for after, want := range map[string][]string{begin: {"one", "two", "three"}, <-ids: {"two", "three"}} {
		again, _ := listen(after)
		for _, text := range want {
			if got := <-again; string(got.Body) != text {
				t.Errorf("after it came back: %s, want %s", got.Body, text)
			}
		}
	}
}

// What was kept comes again to whoever asks for it: since a time, or from a request on.
func TestHookListenSince(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	path, made := r.openSource(object{"kind": "store"})
	other, _ := r.openSource(object{"kind": "store"})
	r.accepted(r.do("", "POST", path, "one"))
	two := r.accepted(r.do("", "POST", path, "two")).ID
	elsewhere := r.accepted(r.do("", "POST", other, "elsewhere")).ID
	for since, want := range map[string][]string{two: {"two"}, "2001-01-31T18:00:00Z": {"one", "two"}} {
		past, _ := r.listenHook(made.Source.ID, "", "since="+since)
		for _, text := range want {
			if got := <-past; string(got.Body) != text {
				t.Errorf("since %s: %s, want %s", since, got.Body, text)
			}
		}
	}
	for since, status := range map[string]int{"req_none": 404, elsewhere: 404, "yesterday": 400} {
		if got := r.do("admin", "GET", v1("hooks/sources/%s/listen?since=%s", made.Source.ID, since), nil); got.status != status {
			t.Errorf("since %s: %d %s", since, got.status, got.body)
		}
	}
}

// listenHook gives the requests of a stream and the ids in it.
func (r *rig) listenHook(source, after, query string) (<-chan HookRequestDetail, <-chan string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), "GET", r.url+v1("hooks/sources/%s/listen?%s", source, query), nil)
	r.must(err)
	req.Header.Set("Authorization", "Bearer "+r.tokens["admin"])
	req.Header.Set("Last-Event-ID", after)
	res, err := http.DefaultTransport.RoundTrip(req)
	r.must(err)
	r.t.Cleanup(func() { _ = res.Body.Close() })
	heard, ids := make(chan HookRequestDetail, 10), make(chan string, 10)
	reader := bufio.NewReader(res.Body)
	if line, err := reader.ReadString('\n'); line != ": live\n" {
		r.t.Fatal(line, err)
	}
	go readEvents(reader, heard, ids)
	return heard, ids
}

// Rule 17: who managed the hub when they began to listen, and does not any more, reads no request of others.
func TestHookListenAfterManaging(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	path, made := r.openSource(object{"kind": "store"})
	req, err := http.NewRequestWithContext(t.Context(), "GET", r.url+v1("hooks/sources/%s/listen", made.Source.ID), nil)
	r.must(err)
	req.Header.Set("Authorization", "Bearer "+r.tokens["admin"])
	res, err := http.DefaultTransport.RoundTrip(req)
	r.must(err)
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Scan() // it has begun
	r.call("owner", "PATCH", v1("users/admin"), object{"role": "viewer"}, 200, nil)
	r.accepted(r.do("", "POST", path, "pin 1234"))
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "data: ") {
			t.Fatalf("a viewer reads %s", lines.Text())
		}
	}
}

func readEvents(r *bufio.Reader, heard chan<- HookRequestDetail, ids chan<- string) {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if id, ok := strings.CutPrefix(line, "id: "); ok {
			ids <- strings.TrimSpace(id)
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			var d HookRequestDetail
			if json.Unmarshal([]byte(data), &d) == nil {
				heard <- d
			}
		}
	}
}
