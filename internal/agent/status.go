package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/agent/carrier"
	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/wire"
)

// Status is what `adit agent status --json` prints. docs/install.md lists the fields.
type Status struct {
	Running bool       `json:"running"`
	Online  bool       `json:"online"`
	Since   *time.Time `json:"since,omitempty"` // of Online's last change
	Cause   string     `json:"cause,omitempty"` // dns, tcp, proxy-407, tls-untrusted, clock, not-101, captive-portal, auth, hub-key, connection-cap, pending
	Detail  string     `json:"detail,omitempty"`
	RetryAt *time.Time `json:"retry_at,omitempty"`
	Parked  int        `json:"parked"`
	Streams int        `json:"streams"`
	Version string     `json:"version"`
	PID     int        `json:"pid,omitempty"`

	DeviceID    string         `json:"device_id"`
	Name        string         `json:"name"`
	Hub         string         `json:"hub"`
	HubName     string         `json:"hub_name"`
	Fingerprint string         `json:"fingerprint,omitempty"`  // of the device's key
	Service     string         `json:"service"`                // the manager that keeps the agent up, or none
	Program     string         `json:"program"`                // where it lies
	MQTT        *api.AgentMQTT `json:"mqtt,omitempty"`         // listeners and bridges, where there are any
	FetchedFrom string         `json:"fetched_from,omitempty"` // after each boot, where the program lies in RAM

	Commands *[]api.DeviceCommand `json:"commands,omitempty"` // that agent.toml names
	MayRun   bool                 `json:"may_run"`            // whether the hub may have them run
}

// board is where the running agent's state hangs for `adit agent status`, on a unix socket: a file would wear the flash
// with every stream, and a socket shows that somebody is alive behind it.
type board struct {
	config Config
	paths  Paths
	log    *slog.Logger
	mqtt   *mqttSide // set before listen

	mu      sync.Mutex
	carrier carrier.Status
	online  chan struct{} // closed while online
	hubTime time.Time     // last written to disk
}

func newBoard(c Config, p Paths, log *slog.Logger) *board {
	return &board{config: c, paths: p, log: log, online: make(chan struct{})}
}

// set is carrier.Config.Status.
func (b *board) set(s carrier.Status) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.Online != b.carrier.Online {
		if s.Online {
			close(b.online)
			b.log.Info("hub reached")
		} else {
			b.online = make(chan struct{})
			b.log.Warn("hub lost")
		}
	}
	if s.Cause != b.carrier.Cause && s.Cause != carrier.CauseNone {
		b.log.Warn("hub not reached", "cause", s.Cause, "detail", s.Detail)
	}
	b.carrier = s
	b.keepHubTime(s.HubTime)
}

const hubTimeEvery = 24 * time.Hour // spares the flash; certificates last longer than that

func (b *board) keepHubTime(t time.Time) {
	if t.IsZero() || t.Sub(b.hubTime).Abs() < hubTimeEvery { // a time too far ahead is taken back
		return
	}
	b.hubTime = t
	if err := writeHubTime(b.paths.HubTime(), t); err != nil {
		b.log.Warn("hub's time not kept", "cause", err)
	}
}

// awaitOnline waits for a link; false means that ctx ended first.
func (b *board) awaitOnline(ctx context.Context) bool {
	b.mu.Lock()
	online := b.online
	b.mu.Unlock()
	select {
	case <-online:
		return true
	case <-ctx.Done():
		return false
	}
}

func (b *board) status() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Status{
		Running: true, Online: b.carrier.Online, Since: optionalTime(b.carrier.Since), Cause: string(b.carrier.Cause),
		Detail: b.carrier.Detail, RetryAt: optionalTime(b.carrier.RetryAt), Parked: b.carrier.Parked,
		Streams: b.carrier.Streams, Version: command.Version(), PID: os.Getpid(),
	}
	s.describe(b.config)
	if m := b.mqtt.status(); len(m.Listeners)+len(m.Bridges) > 0 {
		s.MQTT = &m
	}
	return s
}

// isOnline reports whether the hub is reached now.
func (b *board) isOnline() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.carrier.Online
}

func (s *Status) describe(c Config) {
	s.DeviceID, s.Name, s.Hub, s.HubName = c.Device, c.Name, c.Hub, c.HubName
	s.Commands, s.MayRun = commandFacts(c), c.Policy.Run
}

func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Millisecond)
	return &t
}

// listen makes the socket, in place of one that a killed agent left: the lock says that nobody is behind it.
func (b *board) listen(p Paths) (net.Listener, error) {
	if err := os.Remove(p.Socket()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", p.Socket())
	if err != nil {
		return nil, err
	}
	return l, os.Chmod(p.Socket(), 0o600)
}

// serve writes the state to whoever connects, until the listener closes.
func (b *board) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(time.Second) // out of descriptors: the tunnel goes on, the status waits
			continue
		}
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		_ = json.NewEncoder(conn).Encode(b.status())
		_ = conn.Close()
	}
}

// readStatus asks the running agent; where none runs it says so.
func readStatus(p Paths, c Config) (Status, error) {
	s := Status{Version: command.Version()}
	s.describe(c)
	conn, err := net.DialTimeout("unix", p.Socket(), time.Second)
	if err == nil {
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
		if err := json.NewDecoder(conn).Decode(&s); err != nil {
			return s, fmt.Errorf("ask the agent: %w", err)
		}
	}
	if key, err := loadKey(p.Key()); err == nil {
		s.Fingerprint = publicFingerprint(key)
	}
	s.Service = serviceName(p)
	s.Program, _ = os.Executable()
	if from, err := ramOf(p).source(); err == nil {
		s.FetchedFrom = from.url
	}
	return s, nil
}

const statusUsage = `Usage: adit agent status [--json] [--dir DIR]

Says whether the agent runs and reaches its hub, and if not, why. Exit status 8 while it does not.
`

func statusCommand(_ context.Context, args []string, stdio command.Stdio) error {
	flags := command.NewFlags("adit agent status", statusUsage)
	dir := flags.String("dir", "", "")
	asJSON := flags.Bool("json", false, "")
	if err := flags.Parse(args, 0, 0, stdio); err != nil {
		return err
	}
	p := PathsIn(*dir)
	c, err := loadEnrolled(p)
	if err != nil {
		return err
	}
	s, err := readStatus(p, c)
	if err != nil {
		return err
	}
	if *asJSON {
		encoder := json.NewEncoder(stdio.Out)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(s); err != nil {
			return err
		}
	} else {
		fmt.Fprint(stdio.Out, s.text()+mqttText(s.MQTT)+commandsText(s.Commands, s.MayRun))
	}
	if !s.Online {
		return &command.Exit{Status: wire.Offline.ExitCode()}
	}
	return nil
}

func (s Status) text() string {
	head := fmt.Sprintf("%s (%s) at %s, %s\n", s.Name, s.DeviceID, s.HubName, s.Hub)
	if s.FetchedFrom != "" {
		head += fmt.Sprintf("The program lies in RAM, %s; after a boot it is fetched from %s.\n", s.Program, s.FetchedFrom)
	} else if s.Program != "" {
		head += fmt.Sprintf("The program is %s.\n", s.Program)
	}
	switch {
	case !s.Running:
		return head + "The agent does not run. " + s.startHint() + "\n"
	case s.Online:
		return head + fmt.Sprintf("Online since %s; %d streams, %d carriers parked. Kept up by %s.\n",
			s.Since.Local().Format(time.DateTime), s.Streams, s.Parked, s.Service)
	case s.Cause == string(carrier.CausePending):
		return head + "Waits for approval on the hub's page. Its fingerprint there must be\n  " + s.Fingerprint + "\n"
	}
	text := head + "Offline"
	if s.Cause != "" {
		text += " (" + s.Cause + ")"
	}
	if s.Detail != "" {
		text += ": " + wire.Printable(s.Detail, 500)
	}
	if s.RetryAt != nil {
		text += fmt.Sprintf("\nTries again in %s.", max(time.Until(*s.RetryAt), 0).Round(time.Second))
	}
	return text + "\n"
}

func (s Status) startHint() string {
	if s.Service == "none" {
		return "`adit agent install-service` keeps it up; `adit agent run` runs it here."
	}
	return "Its service is kept by " + s.Service + "; that one's log says why it stopped."
}
