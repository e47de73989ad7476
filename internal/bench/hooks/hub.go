package hooks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aditdev/adit/internal/bench/figure"
	"github.com/aditdev/adit/internal/mqtt"
)

type object map[string]any

var errSilent = errors.New("the receiver was told nothing")

// hub is the hub's program of this checkout, as people run it.
type hub struct {
	program  string
	environ  []string
	url      string
	mqtt     string // HOST:PORT
	token    string
	username string
	password string
	client   *http.Client
	cmd      *exec.Cmd
	said     bytes.Buffer
}

func newHub(ctx context.Context, dir string) (*hub, error) {
	h := &hub{program: filepath.Join(dir, "adit-hub"), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: senders}}}
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", h.program, "github.com/aditdev/adit")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the hub: %w: %s", err, out)
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	mqttPort, err := freePort()
	if err != nil {
		return nil, err
	}
	h.url, h.mqtt = "http://localhost:"+port, "127.0.0.1:"+mqttPort
	h.environ = []string{"PORT=" + port, "ADIT_URL=" + h.url, "ADIT_SECRET=" + strings.Repeat("bench", 8), "ADIT_DATA=" + filepath.Join(dir, "data"),
		"ADIT_LOG=error", "ADIT_MQTT_ADDR=" + h.mqtt, "ADIT_WEBHOOK_ALLOW=loopback", "HOME=" + dir}
	if err := h.people(ctx, dir); err != nil {
		return nil, err
	}
	_, err = h.start(ctx)
	return h, err
}

// people makes an admin's token, and an application that may publish below bench/.
func (h *hub) people(ctx context.Context, dir string) error {
	rules := filepath.Join(dir, "acl")
	if err := os.WriteFile(rules, []byte("user bench\ntopic readwrite bench/#\n"), 0o600); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"user", "create", "--email", "bench@example.com", "--role", "owner"},
		{"token", "create", "--user", "bench@example.com", "--json"},
		{"mqtt", "credential", "create", "--kind", "application", "--username", "bench", "--json"},
		{"mqtt", "import", "--acl-file", rules},
	} {
		cmd := exec.CommandContext(ctx, h.program, args...)
		cmd.Env = h.environ
		out, err := cmd.CombinedOutput()
		var made struct{ Token, Username, Password string }
		if err == nil && args[len(args)-1] == "--json" {
			err = json.Unmarshal(out, &made)
		}
		if err != nil {
			return fmt.Errorf("adit-hub %s: %w: %s", strings.Join(args, " "), err, out)
		}
		if made.Token != "" {
			h.token = made.Token
		}
		if made.Password != "" {
			h.username, h.password = made.Username, made.Password
		}
	}
	return nil
}

// freePort is one of loopback where nobody listens.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port, l.Close()
}

// start runs the hub and gives how long it took to be ready.
func (h *hub) start(ctx context.Context) (time.Duration, error) {
	h.cmd = exec.CommandContext(ctx, h.program, "serve")
	h.cmd.Env = h.environ
	h.cmd.Stdout, h.cmd.Stderr = &h.said, &h.said
	began := time.Now()
	if err := h.cmd.Start(); err != nil {
		return 0, err
	}
	for {
		response, err := h.client.Get(h.url + "/readyz")
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return time.Since(began), nil
			}
		}
		if time.Since(began) > time.Minute {
			return 0, fmt.Errorf("the hub is not ready: %w", err)
		}
		figure.Pause(ctx, 2*time.Millisecond)
	}
}

func (h *hub) kill() {
	_ = h.cmd.Process.Kill()
	_ = h.cmd.Wait()
	h.client.CloseIdleConnections()
}

// call asks the API.
func (h *hub) call(ctx context.Context, method, path string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, h.url+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+h.token)
	request.Header.Set("Content-Type", "application/json")
	response, err := h.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s: %w", method, path, response.Status, answer, err)
	}
	if into == nil || len(answer) == 0 {
		return nil
	}
	return json.Unmarshal(answer, into)
}

// source makes a source with a bearer secret.
func (h *hub) source(ctx context.Context, action object) (url, secret string, err error) {
	var made struct {
		Source struct{ URL string }
		Secret string
	}
	err = h.call(ctx, "POST", "/api/v1/hooks/sources", object{"verify": object{"kind": "bearer"}, "rate": 10000, "burst": 10000, "action": action}, &made)
	return made.Source.URL, made.Secret, err
}

// endpoint makes one for the messages of a topic filter.
func (h *hub) endpoint(ctx context.Context, url, filter string) (id string, err error) {
	var made struct{ Endpoint struct{ ID string } }
	err = h.call(ctx, "POST", "/api/v1/hooks/endpoints", object{"url": url, "topics": []string{filter}, "rate": 1000, "concurrency": 32}, &made)
	return made.Endpoint.ID, err
}

// endpoints makes some that share what fill sends.
func (h *hub) endpoints(ctx context.Context, url string) (to []string, err error) {
	for n := range ends {
		id, err := h.endpoint(ctx, url, fmt.Sprintf("bench/backlog/%d", n))
		if err != nil {
			return nil, err
		}
		to = append(to, id)
	}
	return to, nil
}

func (h *hub) remove(ctx context.Context, endpoint string) error {
	return h.call(ctx, "DELETE", "/api/v1/hooks/endpoints/"+endpoint, nil, nil)
}

func (h *hub) state(ctx context.Context, endpoints []string, state string) error {
	for _, id := range endpoints {
		if err := h.call(ctx, "PATCH", "/api/v1/hooks/endpoints/"+id, object{"state": state}, nil); err != nil {
			return err
		}
	}
	return nil
}

// flood sends requests from many connections for some seconds and gives how many a second were answered with status.
func (h *hub) flood(ctx context.Context, url, secret string, status int) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	var sent atomic.Int64
	var all sync.WaitGroup
	problem := make(chan error, senders)
	began := time.Now()
	for sender := range senders {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if err := send(ctx, h.client, url, secret, sender*1_000_000+n, status); err != nil {
					if ctx.Err() == nil {
						problem <- err
					}
					return
				}
				sent.Add(1)
			}
		})
	}
	all.Wait()
	select {
	case err := <-problem:
		return 0, err
	default:
		return float64(sent.Load()) / time.Since(began).Seconds(), nil
	}
}

// send sends one request; a status of 0 takes every success.
func send(ctx context.Context, client *http.Client, url, secret string, n, status int) error {
	body := fmt.Sprintf(`{"n":%d,"door":"open","by":"bench","note":"what a small hook carries"}`, n)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+secret)
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && (response.StatusCode >= 300 || status != 0 && response.StatusCode != status) {
		err = fmt.Errorf("%s: %s", response.Status, answer)
	}
	return err
}

// fill has n messages wait for paused endpoints.
func (h *hub) fill(ctx context.Context, to []string, n int) error {
	if err := h.state(ctx, to, "paused"); err != nil {
		return err
	}
	conn, err := net.Dial("tcp", h.mqtt)
	if err != nil {
		return err
	}
	c, err := mqtt.NewClient(ctx, conn, mqtt.Options{ClientID: "bench-fill", Username: h.username, Password: h.password, Clean: true, Inflight: 200})
	if err != nil {
		return err
	}
	defer c.Close()
	answered := make(chan error, n)
	for i := range n {
		p := &mqtt.Publish{Topic: fmt.Sprintf("bench/backlog/%d", i%ends), QoS: 1, Payload: []byte(fmt.Sprintf(`{"n":%d}`, i))}
		err := c.Enqueue(ctx, p, func(code mqtt.ReasonCode, err error) {
			if err == nil && code.Failed() {
				err = fmt.Errorf("message %d: %v", i, code)
			}
			answered <- err
		})
		if err != nil {
			return err
		}
	}
	for range n {
		if err := <-answered; err != nil {
			return err
		}
	}
	return nil
}

// fewRate is the rate of a few that wait, with nothing behind them.
func (h *hub) fewRate(ctx context.Context, r *receiver, to []string) (float64, error) {
	if err := h.fill(ctx, to, few); err != nil {
		return 0, err
	}
	return h.rate(ctx, r, to, few)
}

// rate lets endpoints go and gives how many a second of the next n arrive.
func (h *hub) rate(ctx context.Context, r *receiver, to []string, n int) (float64, error) {
	before, began := r.count.Load(), time.Now()
	if err := h.state(ctx, to, "active"); err != nil {
		return 0, err
	}
	for r.count.Load()-before < int64(n) {
		if time.Since(began) > 2*time.Minute {
			return 0, fmt.Errorf("%d of %d arrived", r.count.Load()-before, n)
		}
		figure.Pause(ctx, 5*time.Millisecond)
	}
	return float64(n) / time.Since(began).Seconds(), nil
}
