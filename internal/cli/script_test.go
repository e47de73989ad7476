//go:build unix

package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/agent"
	"github.com/aditdev/adit/internal/cli"
	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/mqtttest"
	"github.com/aditdev/adit/internal/porttest"
	"github.com/aditdev/adit/internal/sshdtest"
)

// TestMain makes the test binary be `adit` in scripts, and wherever adit runs itself.
func TestMain(m *testing.M) {
	testscript.Main(withHub{m}, map[string]func(){"adit": func() {
		table := slices.Concat(cli.Commands(), []command.Command{agent.Command()})
		stdio := command.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err := command.Dispatch(ctx, "adit", "adit\n", table, os.Args[1:], stdio)
		os.Exit(command.Report(os.Stderr, err))
	}})
}

// withHub builds the hub before the tests run. Its path is in the environment, where PATH has that of `adit`.
type withHub struct{ *testing.M }

const hubProgram = "TEST_ADIT_HUB"

func (m withHub) Run() int {
	dir, err := os.MkdirTemp("", "hub")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "adit-hub")
	if out, err := exec.Command("go", "build", "-o", file, "github.com/aditdev/adit").CombinedOutput(); err != nil {
		os.Stderr.Write(out)
		return 1
	}
	if err := os.Setenv(hubProgram, file); err != nil {
		panic(err)
	}
	return m.M.Run()
}

// world is a hub, a real sshd and a device's agent, as processes of their own.
type world struct {
	t     *testing.T
	dir   string
	port  string
	first string // of the two dedicated ports
	last  string
	token string
	id    string // the device's
	sshd  *sshdtest.Server
	mqtt  string           // port of the agent's own listener
	mosq  *mqtttest.Broker // the device's broker

	mu    sync.Mutex
	hub   *process
	agent *process
}

const patience = time.Minute

// promptly is for what must come within two seconds (rule 17), counted likewise: nothing that ends by itself ends as soon.
const promptly = 30 * time.Second

func newWorld(t *testing.T) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "world")
	must(t, err)
	w := &world{t: t, dir: dir, port: freePort(t)}
	w.first, w.last = twoPorts(t)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, os.Mkdir(w.path("home"), 0o700))
	w.startHub()
	t.Cleanup(func() { w.hub.end(t) })
	out, err := w.command("adit-hub", "token", "create", "--user", "owner", "--json").Output()
	must(t, err)
	var token struct{ Token string }
	must(t, json.Unmarshal(out, &token))
	w.token = token.Token
	w.enroll()
	return w
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }
func (w *world) url() string             { return "http://localhost:" + w.port }

func freePort(t *testing.T) string {
	t.Helper()
	return strconv.Itoa(porttest.Free(t))
}

// twoPorts are two free ports, one after the other.
func twoPorts(t *testing.T) (first, last string) {
	t.Helper()
	n := porttest.Row(t, 2)
	return strconv.Itoa(n), strconv.Itoa(n + 1)
}

func (w *world) command(program string, args ...string) *exec.Cmd {
	if program == "adit-hub" {
		program = os.Getenv(hubProgram)
	}
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "PORT="+w.port, "ADIT_DATA="+w.path("data"), "HOME="+w.path("home"),
		"ADIT_TCP_PORTS="+w.first+"-"+w.last)
	cmd.Stderr = os.Stderr
	return cmd
}

// process is a program in the background.
type process struct {
	cmd  *exec.Cmd
	log  *os.File
	gone chan struct{}
}

func (w *world) start(log string, cmd *exec.Cmd) *process {
	w.t.Helper()
	f, err := os.OpenFile(w.path(log), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(w.t, err)
	cmd.Stdout, cmd.Stderr = f, f
	must(w.t, cmd.Start())
	p := &process{cmd, f, make(chan struct{})}
	go func() {
		defer close(p.gone)
		_ = cmd.Wait()
		_ = f.Close()
	}()
	return p
}

func (p *process) stop(signal os.Signal) {
	_ = p.cmd.Process.Signal(signal)
	<-p.gone
}

func (p *process) end(t *testing.T) {
	p.stop(syscall.SIGTERM)
	if t.Failed() {
		data, _ := os.ReadFile(p.log.Name())
		t.Logf("%s:\n%s", filepath.Base(p.log.Name()), data[max(0, len(data)-6000):])
	}
}

func (w *world) startHub() {
	w.t.Helper()
	hub := w.start("hub.log", w.command("adit-hub", "serve", "--dev"))
	w.mu.Lock()
	w.hub = hub
	w.mu.Unlock()
	await(w.t, "the hub to be ready", func() bool {
		reply, err := http.Get(w.url() + "/readyz")
		if err != nil {
			return false
		}
		defer reply.Body.Close()
		return reply.StatusCode == http.StatusOK
	})
}

// restartHub ends the hub with a signal and starts the next one on its data.
func (w *world) restartHub(signal os.Signal) {
	w.t.Helper()
	w.hub.stop(signal)
	w.startHub()
}

// enroll registers this machine as a device whose SSH server is a real sshd.
func (w *world) enroll() {
	w.t.Helper()
	var code struct{ Code string }
	w.call("POST", "/api/v1/install-codes", map[string]any{"name": "kitchen", "tags": []string{"edge"}}, &code)
	enroll := w.command("adit", "agent", "enroll", "--hub", w.url(), "--code-stdin", "--dir", w.path("agent"))
	enroll.Stdin = strings.NewReader(code.Code + "\n")
	if out, err := enroll.Output(); err != nil {
		w.t.Fatalf("enroll: %v\n%s", err, out)
	}
	settings, err := os.ReadFile(w.path("agent/agent.toml"))
	must(w.t, err)
	w.id = string(regexp.MustCompile(`dev_[0-9A-Z]{26}`).Find(settings))
	w.startSSHD()
	settings = bytes.Replace(settings, []byte(`ssh = "auto"`), []byte("ssh = \""+w.sshd.Address+"\""), 1)
	settings = w.withMQTT(settings)
	settings = withCommand(settings)
	must(w.t, os.WriteFile(w.path("agent/agent.toml"), settings, 0o600))
	w.call("PATCH", "/api/v1/devices/kitchen", map[string]any{"default_login": w.sshd.Login}, nil)
	w.startAgent()
	w.t.Cleanup(func() { w.agent.end(w.t) })
}

// withMQTT gives the device a broker of its own, a bridge between it and the hub, and a port that is the device at the hub.
func (w *world) withMQTT(settings []byte) []byte {
	w.mqtt, w.mosq = freePort(w.t), mqtttest.Start(w.t)
	settings = bytes.Replace(settings, []byte(`mqtt = "127.0.0.1:1883"`), []byte("mqtt = \""+w.mosq.Address+"\""), 1)
	return append(settings, `
[mqtt]
listen = "127.0.0.1:`+w.mqtt+`"

[[mqtt.bridge]]
name = "home"
broker = "`+w.mosq.Address+`"
topics = ['s/# out 1 "" devices/kitchen/', 'light in 1 "" cmds/kitchen/']
`...)
}

// withCommand lets the hub have one command run.
func withCommand(settings []byte) []byte {
	settings = bytes.Replace(settings, []byte("\nrun = false\n"), []byte("\nrun = true\n"), 1)
	return append(settings, `
[[command]]
name = "say"
argv = ["/bin/echo", "it says", "{word}"]
parameters = ["word=[a-z]+"]
`...)
}

func (w *world) startSSHD() {
	var me struct {
		Hub struct {
			UserCA string `json:"user_ca"`
		}
	}
	w.call("GET", "/api/v1/me", nil, &me)
	ca, _, _, _, err := ssh.ParseAuthorizedKey([]byte(me.Hub.UserCA))
	must(w.t, err)
	key := w.path("agent/ssh_host_ed25519_key") // the one key that the agent always reports
	w.sshd = sshdtest.Start(w.t, sshdtest.Options{CA: ca, Device: w.id, HostKeyFile: key, Extra: []string{"AllowTcpForwarding yes"}})
}

func (w *world) startAgent() {
	w.t.Helper()
	w.agent = w.start("agent.log", w.command("adit", "agent", "run", "--dir", w.path("agent")))
	// It tells its commands a moment after it came: until then the hub knows those of its enrolment, which are none.
	await(w.t, "the device to come online and tell its commands", func() bool {
		var d struct {
			Online bool
			Facts  struct{ Commands []struct{ Name string } }
		}
		w.call("GET", "/api/v1/devices/kitchen", nil, &d)
		return d.Online && len(d.Facts.Commands) > 0
	})
}

func (w *world) call(method, path string, body, result any) {
	w.t.Helper()
	data, err := json.Marshal(body)
	must(w.t, err)
	r, err := http.NewRequest(method, w.url()+path, bytes.NewReader(data))
	must(w.t, err)
	r.Header.Set("Authorization", "Bearer "+w.token)
	r.Header.Set("Content-Type", "application/json")
	reply, err := http.DefaultClient.Do(r)
	must(w.t, err)
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	must(w.t, err)
	if reply.StatusCode >= 300 {
		w.t.Fatalf("%s %s: %d %s", method, path, reply.StatusCode, text)
	}
	if result != nil && len(text) > 0 {
		must(w.t, json.Unmarshal(text, result))
	}
}

func await(t testing.TB, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(patience); !done(); {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("waited too long for %s", what)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestScripts runs testdata/*.txtar, each as a person with a home of their own. Scripts share the hub, so those that
// stop it run by themselves, in TestRestarts.
func TestScripts(t *testing.T) {
	w := newWorld(t)
	testscript.Run(t, w.params("testdata/*.txtar"))
}

func TestRestarts(t *testing.T) {
	w := newWorld(t)
	testscript.Run(t, w.params("testdata/restart/*.txtar"))
}

func (w *world) params(files string) testscript.Params {
	found, err := filepath.Glob(files)
	must(w.t, err)
	return testscript.Params{
		Files:               found,
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("HUB", w.url())
			e.Setenv("DEVICE", w.id)
			e.Setenv("LOGIN", w.sshd.Login)
			e.Setenv("MQTT_PORT", w.mqtt)
			e.Setenv("BROKER_PORT", w.mosq.Address[strings.LastIndexByte(w.mosq.Address, ':')+1:])
			e.Setenv("AGENT_DIR", w.path("agent"))
			e.Setenv("DEVICE_HOME", w.sshd.Home)
			e.Setenv("TOKEN", w.token)
			e.Setenv("FIRST_PORT", w.first)
			e.Setenv("LAST_PORT", w.last)
			if err := os.Mkdir(filepath.Join(e.WorkDir, ".ssh"), 0o700); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(e.WorkDir, "token"), []byte(w.token+"\n"), 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"restart-hub": func(ts *testscript.TestScript, _ bool, args []string) {
				signal := syscall.SIGTERM
				if len(args) > 0 && args[0] == "-kill" {
					signal = syscall.SIGKILL
				}
				w.restartHub(signal)
			},
			"port": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Setenv(args[0], freePort(w.t))
			},
			"status":   wantStatus,
			"serve":    serve,
			"posts":    posts,
			"records":  records,
			"urls":     urls,
			"delivery": delivery,
			"fetches":  fetches,
			"connect":  connect,
			"shows":    shows,
			"replace":  replace,
			"await-file": func(ts *testscript.TestScript, _ bool, args []string) {
				await(w.t, args[0], func() bool {
					info, err := os.Lstat(ts.MkAbs(args[0]))
					return err == nil && (info.Size() > 0 || info.Mode().Type() != 0)
				})
			},
		},
	}
}

// wantStatus is `status N program args…`: it runs a program that must exit with N.
func wantStatus(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // as os/exec gives it
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// serve is `serve VAR text`: an HTTP server whose port is put in VAR.
func serve(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, args[1]) })}
	go func() { _ = server.Serve(l) }()
	ts.Defer(func() { _ = server.Close() })
	ts.Setenv(args[0], strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
}

// fetches is `fetches URL text`: the text arrives within the test's patience.
func fetches(ts *testscript.TestScript, _ bool, args []string) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	var last string
	for end := time.Now().Add(patience); time.Now().Before(end); {
		reply, err := client.Get(args[0])
		if err != nil {
			last = err.Error()
			continue
		}
		text, _ := io.ReadAll(reply.Body)
		_ = reply.Body.Close()
		if last = string(text); last == args[1] {
			return
		}
	}
	ts.Fatalf("%s gives %q, want %q", args[0], last, args[1])
}

// records is `records VAR FILE`: an HTTP server whose port is put in VAR. What it is sent stands in FILE, and each is answered with 201.
func records(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	file := ts.MkAbs(args[1])
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, _ := httputil.DumpRequest(r, true)
		f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err == nil {
			_, _ = f.Write(append(data, '\n'))
			_ = f.Close()
		}
		w.Header().Set("Content-Type", "text/x-test")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "taken by the program")
	})}
	go func() { _ = server.Serve(l) }()
	ts.Defer(func() { _ = server.Close() })
	ts.Setenv(args[0], strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
}

// urls is `urls FILE VAR`: the address of a source, from the JSON of its making, is put in VAR and its slug in SLUG.
func urls(ts *testscript.TestScript, _ bool, args []string) {
	var made struct{ Source struct{ URL, Slug string } }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &made))
	ts.Setenv(args[1], made.Source.URL)
	ts.Setenv("SLUG", made.Source.Slug)
}

// delivery is `delivery FILE VAR`: the id of the first delivery of a list in JSON is put in VAR.
func delivery(ts *testscript.TestScript, _ bool, args []string) {
	var all []struct{ ID string }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &all))
	ts.Setenv(args[1], all[0].ID)
}

// posts is `posts URL BODY PATTERN`: the answer is that, status and text, within the test's patience.
func posts(ts *testscript.TestScript, _ bool, args []string) {
	wanted := regexp.MustCompile(args[2])
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	var last string
	for end := time.Now().Add(patience); time.Now().Before(end); {
		reply, err := client.Post(args[0], "application/json", strings.NewReader(args[1]))
		if err != nil {
			last = err.Error()
			continue
		}
		text, _ := io.ReadAll(reply.Body)
		_ = reply.Body.Close()
		if last = reply.Status + " " + string(text); wanted.MatchString(last) {
			return
		}
	}
	ts.Fatalf("%s answers %q, want %q", args[0], last, args[2])
}

// connect is `connect ADDRESS`: a connection that says nothing and stays until the script ends.
func connect(ts *testscript.TestScript, _ bool, args []string) {
	for end := time.Now().Add(patience); ; {
		conn, err := net.Dial("tcp", args[0])
		if err == nil {
			ts.Defer(func() { _ = conn.Close() })
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%v", err)
		}
	}
}

// shows is `shows PATTERN program args…`: the program prints it within the test's patience, or, as `! shows`, no longer.
func shows(ts *testscript.TestScript, neg bool, args []string) {
	wanted := regexp.MustCompile(args[0])
	for end := time.Now().Add(patience); time.Now().Before(end); {
		ts.Check(ts.Exec(args[1], args[2:]...))
		if wanted.MatchString(ts.ReadFile("stdout")) != neg {
			return
		}
	}
	ts.Fatalf("%q prints %q", args[1:], ts.ReadFile("stdout"))
}

// replace is `replace FILE OLD NEW`.
func replace(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	data, err := os.ReadFile(path)
	ts.Check(err)
	ts.Check(os.WriteFile(path, bytes.ReplaceAll(data, []byte(args[1]), []byte(args[2])), 0o600))
}
