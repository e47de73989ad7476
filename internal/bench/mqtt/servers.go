package mqtt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"

	"github.com/aditdev/adit/internal/bench/figure"
)

// readyWithin is how long a server may take to let a client in.
const readyWithin = 20 * time.Second

// server is a broker in a process of its own.
type server struct {
	name               string
	address            string
	path               string // of its WebSocket; empty where it speaks plain TCP
	username, password string
	cmd                *exec.Cmd
	said               bytes.Buffer // what it printed
}

type servers []*server

// startAll starts each broker anew, with nothing in it.
func startAll(ctx context.Context, program, parent string) (all servers, err error) {
	for _, start := range []func(context.Context, string, string) (*server, error){startHub, startBare, startMosquitto} {
		dir, err := os.MkdirTemp(parent, "server")
		if err != nil {
			return all, err
		}
		s, err := start(ctx, program, dir)
		if err != nil {
			return all, err
		}
		all = append(all, s)
	}
	return all, nil
}

func (all servers) stop() {
	for _, s := range all {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	}
}

// start runs a server's program and waits until it lets a client in.
func (s *server) start(ctx context.Context, cmd *exec.Cmd) (*server, error) {
	s.cmd = cmd
	cmd.Stdout, cmd.Stderr = &s.said, &s.said
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	for late := time.Now().Add(readyWithin); ; figure.Pause(ctx, 10*time.Millisecond) {
		p, err := s.dial("ready", true)
		if err == nil {
			p.close()
			return s, nil
		}
		if time.Now().After(late) {
			servers{s}.stop()
			return nil, fmt.Errorf("%s lets nobody in: %w: %s", s.name, err, s.said.String())
		}
	}
}

// freeAddress is one of loopback where nobody listens.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// buildHub makes the hub's program of this checkout, without the site.
func buildHub(ctx context.Context, dir string) (program string, err error) {
	program = filepath.Join(dir, "adit-hub")
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", program, "github.com/aditdev/adit")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the hub: %w: %s", err, out)
	}
	return program, nil
}

// startHub runs the hub as people do, with an application that may do everything below bench/ by a rule.
func startHub(ctx context.Context, program, dir string) (*server, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(address)
	environ := []string{"PORT=" + port, "ADIT_URL=http://localhost:" + port, "ADIT_SECRET=" + strings.Repeat("bench", 8),
		"ADIT_DATA=" + filepath.Join(dir, "data"), "ADIT_LOG=error", "HOME=" + dir, "GODEBUG=" + os.Getenv("GODEBUG")}
	command := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.Env = environ
		return cmd
	}
	var made struct{ Username, Password string }
	out, err := command("mqtt", "credential", "create", "--kind", "application", "--username", "bench", "--json").Output()
	if err == nil {
		err = json.Unmarshal(out, &made)
	}
	rules := filepath.Join(dir, "acl")
	err = errors.Join(err, os.WriteFile(rules, []byte("user bench\ntopic readwrite bench/#\n"), 0o600))
	if err != nil {
		return nil, fmt.Errorf("make the hub's credential: %w: %s", err, out)
	}
	if out, err := command("mqtt", "import", "--acl-file", rules).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make the hub's rule: %w: %s", err, out)
	}
	s := &server{name: ours, address: net.JoinHostPort("localhost", port), path: "/mqtt", username: made.Username, password: made.Password}
	return s.start(ctx, command("serve"))
}

// startMosquitto runs Debian's as it is installed, with its file of what is kept, and without Nagle's delay, which Go turns off too.
func startMosquitto(ctx context.Context, _, dir string) (*server, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		program = "/usr/sbin/mosquitto"
	}
	_, port, _ := net.SplitHostPort(address)
	conf := fmt.Sprintf("listener %s 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nuser root\nlog_type error\n"+
		"persistence true\npersistence_location %s/\n", port, dir)
	file := filepath.Join(dir, "mosquitto.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	return (&server{name: mosquitto, address: address}).start(ctx, exec.CommandContext(ctx, program, "-c", file))
}

// startBare runs this program again, as the library's process.
func startBare(ctx context.Context, _, _ string) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	return (&server{name: bare, address: address, path: "/"}).start(ctx, exec.CommandContext(ctx, self, "serve-bare", address))
}

// serveBare is mochi-mqtt as its own example runs it, until ctx ends: everybody may everything, nothing is kept on disk.
func serveBare(ctx context.Context, address string) error {
	broker := mochi.New(&mochi.Options{Logger: slog.New(slog.DiscardHandler)})
	if err := broker.AddHook(new(auth.AllowHook), nil); err != nil {
		return err
	}
	if err := broker.AddListener(listeners.NewWebsocket(listeners.Config{ID: "websocket", Address: address})); err != nil {
		return err
	}
	if err := broker.Serve(); err != nil {
		return err
	}
	<-ctx.Done()
	return broker.Close()
}
