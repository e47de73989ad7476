package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
)

// deviceName is the demo device's; a taken name gets a number from the hub.
const deviceName = "demo"

// startDevice gives an agent that is online, its name, and what it will say by MQTT. It enrols on the first run, and again
// where the hub was replaced by another.
func startDevice(ctx context.Context, p place) (*process, string, *telemetry, error) {
	h, err := newHubClient(ctx, p)
	if err != nil {
		return nil, "", nil, err
	}
	id := enrolled(p)
	if _, err := h.device(ctx, id); id == "" || err != nil {
		if err := enroll(ctx, p, h); err != nil {
			return nil, "", nil, err
		}
		id = enrolled(p)
	}
	settings := filepath.Join(p.agent, "agent.toml")
	if err := useHub(settings, p.url()); err != nil {
		return nil, "", nil, err
	}
	address, err := useMQTT(settings)
	if err != nil {
		return nil, "", nil, err
	}
	agent, err := start(filepath.Join(p.demo, "agent.log"), p.agentEnv(), program("adit"), "agent", "run", "--dir", p.agent)
	if err != nil {
		return nil, "", nil, err
	}
	var d device
	err = wait(ctx, agent, func() error {
		var err error
		if d, err = h.device(ctx, id); err == nil && !d.Online {
			err = errors.New("it is not online")
		}
		return err
	})
	if err != nil {
		tail := agent.tail()
		agent.stop()
		return nil, "", nil, fmt.Errorf("the demo device did not come online: %w\n%s", err, tail)
	}
	return agent, d.Name, &telemetry{place: p, address: address, id: id, hub: h}, nil
}

func (p place) agentEnv() []string { return []string{"HOME=" + filepath.Join(p.demo, "home")} }

var deviceID = regexp.MustCompile(`(?m)^device = "(dev_\w+)"$`)

// enrolled is the id in the agent's settings, or "".
func enrolled(p place) string {
	data, _ := os.ReadFile(filepath.Join(p.agent, "agent.toml"))
	if found := deviceID.FindSubmatch(data); found != nil {
		return string(found[1])
	}
	return ""
}

// enroll does what the pasted line does, in a directory of its own and without a service.
func enroll(ctx context.Context, p place, h *hubClient) error {
	if err := os.RemoveAll(p.agent); err != nil {
		return fmt.Errorf("clear the demo device: %w", err)
	}
	var code struct{ Code string }
	if err := h.do(ctx, http.MethodPost, "/api/v1/install-codes", map[string]any{"name": deviceName, "tags": []string{"demo"}}, &code); err != nil {
		return fmt.Errorf("make an install code: %w", err)
	}
	cmd := exec.CommandContext(ctx, program("adit"), "agent", "enroll", "--hub", p.url(), "--code-stdin", "--dir", p.agent)
	cmd.Env = append(cleanEnv(), p.agentEnv()...)
	cmd.Stdin = strings.NewReader(code.Code + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("enrol the demo device: %w\n%s", err, out)
	}
	who, err := user.Current()
	if err != nil {
		return fmt.Errorf("who runs this: %w", err)
	}
	if err := h.do(ctx, http.MethodPatch, "/api/v1/devices/"+enrolled(p), map[string]any{"default_login": who.Username}, &device{}); err != nil {
		return fmt.Errorf("set the demo device's login: %w", err)
	}
	return useBuiltin(filepath.Join(p.agent, "agent.toml"))
}

// useBuiltin makes the agent serve SSH by itself, so that an sshd of this machine is left alone.
func useBuiltin(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	changed := bytes.Replace(data, []byte(`ssh = "auto"`), []byte(`ssh = "builtin"`), 1)
	if bytes.Equal(changed, data) {
		return fmt.Errorf("%s has no line ssh = \"auto\"", path)
	}
	return os.WriteFile(path, changed, 0o600)
}

var hubLine = regexp.MustCompile(`(?m)^hub = ".*"$`)

// useHub leads the agent to this run's port, which need not be the one it enrolled at.
func useHub(path, url string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	changed := hubLine.ReplaceAllLiteral(data, []byte(`hub = "`+url+`"`))
	if bytes.Equal(changed, data) {
		return nil
	}
	return os.WriteFile(path, changed, 0o600)
}

// A hubClient speaks to the hub's API as its owner, with a token for this run.
type hubClient struct{ url, token string }

// device as the API gives it.
type device struct {
	Name   string
	Online bool
}

func newHubClient(ctx context.Context, p place) (*hubClient, error) {
	cmd := exec.CommandContext(ctx, program("adit-hub"), "token", "create", "--user", "owner", "--expires", "1h", "--json")
	cmd.Env = append(cleanEnv(), p.hubEnv()...)
	out, err := cmd.Output()
	var token struct{ Token string }
	if err == nil {
		err = json.Unmarshal(out, &token)
	}
	if err != nil {
		return nil, fmt.Errorf("make a token for the demo: %w", err)
	}
	return &hubClient{p.url(), token.Token}, nil
}

func (h *hubClient) device(ctx context.Context, id string) (device, error) {
	var d device
	err := h.do(ctx, http.MethodGet, "/api/v1/devices/"+id, nil, &d)
	return d, err
}

func (h *hubClient) do(ctx context.Context, method, path string, body, result any) error {
	var data io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		data = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, h.url+path, data)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+h.token)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s: %s", res.Status, answer)
	}
	return json.Unmarshal(answer, result)
}
