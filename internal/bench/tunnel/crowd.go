package tunnel

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aditdev/adit/internal/agent/carrier"
	"github.com/aditdev/adit/internal/bench/figure"
	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
	"github.com/aditdev/adit/tunnelhub"
)

// The crowd measures a hub in a process of its own, with the agents in this one.
const (
	crowdIdle    = 5000
	crowdReturns = 2000
	settle       = 150 * time.Second // idle, with ten rounds of pings and the collection that Go makes every two minutes, before memory is read
)

// crowdKey is the key of hub and devices alike, made of a word so that both processes have it.
func crowdKey(word string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("bench " + word))
	return ed25519.NewKeyFromSeed(seed[:])
}

// ServeCrowd is the hub's process: it listens at address, says where on stdout, and serves until it is killed.
func ServeCrowd(ctx context.Context, address string, out io.Writer) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	device := crowdKey("device").Public().(ed25519.PublicKey)
	hub := tunnelhub.New(tunnelhub.Options{
		Log: slog.New(slog.DiscardHandler), Key: crowdKey("hub"), Hosts: []string{l.Addr().String()}, Name: "bench", Version: "1",
		Device: func(_ context.Context, id string) (tunnelhub.Device, error) {
			return tunnelhub.Device{ID: id, Key: device, Status: tunnelhub.StatusActive}, nil
		},
	})
	go hub.Run(ctx)
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := stream.Accept(w, r, wire.SubprotocolTunnel)
		if err != nil {
			return
		}
		if c, err := hub.Handshake(r.Context(), ws, r.RemoteAddr, nil); err == nil {
			go hub.Serve(ctx, c)
		}
	})}
	fmt.Fprintln(out, l.Addr())
	return server.Serve(l)
}

// hubProcess is a running ServeCrowd.
type hubProcess struct {
	cmd     *exec.Cmd
	address string
}

func startHub(ctx context.Context, address string) (*hubProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "serve-crowd", address)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	return &hubProcess{cmd: cmd, address: strings.TrimSpace(line)}, err
}

func (h *hubProcess) kill() {
	_ = h.cmd.Process.Signal(syscall.SIGKILL)
	_ = h.cmd.Wait()
}

// rss is the resident memory in KiB.
func (h *hubProcess) rss() float64 { return figure.Resident(h.cmd.Process.Pid) }

// agents runs n of them until stop, and tells online how each fares.
func agents(n int, address string, online func(i int, up bool)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() {
			_ = carrier.Run(ctx, carrier.Config{
				Log: slog.New(slog.DiscardHandler), URL: "http://" + address, Device: fmt.Sprintf("dev_%05d", i), Key: crowdKey("device"),
				HubKeys:  []ed25519.PublicKey{crowdKey("hub").Public().(ed25519.PublicKey)},
				Instance: wire.Instance{Counter: 1, Random: wire.NewID()}, AgentVersion: "bench", Handler: nothing{},
				Status: func(s carrier.Status) { online(i, s.Online) },
			})
		})
	}
	return func() { cancel(); running.Wait() }
}

type nothing struct{}

func (nothing) Open(context.Context, wire.Open) (net.Conn, error) {
	return nil, wire.Errorf(wire.Forbidden, "a benchmark opens nothing here")
}

func (nothing) Call(context.Context, string, json.RawMessage) (any, error) { return nil, nil }

// crowd counts who is online.
type crowd struct {
	mu      sync.Mutex
	up      []bool
	changed chan struct{}
}

func newCrowd(n int) *crowd { return &crowd{up: make([]bool, n), changed: make(chan struct{}, 1)} }

func (c *crowd) set(i int, up bool) {
	c.mu.Lock()
	c.up[i] = up
	c.mu.Unlock()
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func (c *crowd) count() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, up := range c.up {
		if up {
			n++
		}
	}
	return n
}

func (c *crowd) wait(ctx context.Context, n int) error {
	for c.count() != n {
		select {
		case <-c.changed:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d online: %w", c.count(), n, ctx.Err())
		}
	}
	return nil
}

// Memory is the hub's resident memory for each idle device.
func Memory(ctx context.Context, report func(Figure)) error {
	hub, err := startHub(ctx, "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer hub.kill()
	empty := hub.rss()
	c := newCrowd(crowdIdle)
	defer agents(crowdIdle, hub.address, c.set)()
	if err := c.wait(ctx, crowdIdle); err != nil {
		return err
	}
	figure.Pause(ctx, settle)
	report(Figure{What: fmt.Sprintf("hub memory per idle device, %d devices", crowdIdle), Unit: "KiB RSS",
		Values: map[string]float64{"adit": (hub.rss() - empty) / crowdIdle}})
	return nil
}

// Return is how a crowd comes back after its hub was killed and started again.
func Return(ctx context.Context, report func(Figure)) error {
	hub, err := startHub(ctx, "127.0.0.1:0")
	if err != nil {
		return err
	}
	c := newCrowd(crowdReturns)
	defer agents(crowdReturns, hub.address, c.set)()
	if err := c.wait(ctx, crowdReturns); err != nil {
		return err
	}
	figure.Pause(ctx, 65*time.Second) // a long life
	hub.kill()
	if err := c.wait(ctx, 0); err != nil {
		return err
	}
	start := time.Now()
	if hub, err = startHub(ctx, hub.address); err != nil {
		return err
	}
	defer hub.kill()
	var each []time.Duration
	for len(each) < crowdReturns {
		select {
		case <-c.changed:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d came back: %w", len(each), crowdReturns, ctx.Err())
		}
		for n := c.count(); len(each) < n; {
			each = append(each, time.Since(start))
		}
	}
	report(Figure{What: fmt.Sprintf("%d agents back after kill -9 of the hub", crowdReturns), Unit: "s",
		Values: map[string]float64{"adit": each[len(each)-1].Seconds()}})
	perSecond := map[int]int{}
	for _, at := range each {
		perSecond[int(at.Seconds())]++
	}
	counts := []int{}
	for _, n := range perSecond {
		counts = append(counts, n)
	}
	mean := float64(crowdReturns) / (each[len(each)-1].Seconds())
	report(Figure{What: "  busiest second of it, against the mean", Unit: "×",
		Values: map[string]float64{"adit": float64(slices.Max(counts)) / mean}})
	return nil
}
