package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/agent/bridge"
	"github.com/aditdev/adit/internal/agent/carrier"
	"github.com/aditdev/adit/internal/agent/gateway"
	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/wire"
)

// mqttSide is what of MQTT runs on this device: listeners and bridges.
type mqttSide struct {
	listeners []*gateway.Listener
	bridges   []*bridge.Bridge
	failed    []api.AgentMQTTBridge // that could not begin
}

// newMQTT prepares what the settings name. A bridge without its queue is said to have failed, and the rest goes on.
func newMQTT(d *device, pool *carrier.Pool, board *board) *mqttSide {
	m := &mqttSide{}
	for _, entry := range d.config.MQTT.Listen {
		m.listeners = append(m.listeners, gateway.New(entry, gateway.Options{
			Log: d.log, Users: d.config.MQTT.Users, Dial: pool.MQTT, Online: board.isOnline,
		}))
	}
	for _, c := range d.config.MQTT.Bridges {
		if notes, _ := c.Check(); len(notes) > 0 {
			d.log.Warn("mqtt bridge", "bridge", c.Name, "notes", notes)
		}
		b, err := bridge.New(c, bridge.Options{Log: d.log, Device: d.config.Device, Dir: d.paths.MQTT(), Dial: pool.MQTT, Online: board.isOnline})
		if err != nil {
			d.log.Warn("mqtt bridge does not run", "bridge", c.Name, "cause", err)
			m.failed = append(m.failed, api.AgentMQTTBridge{Name: c.Name, Broker: c.Broker, Problem: new(wire.Printable(err.Error(), 300))})
			continue
		}
		m.bridges = append(m.bridges, b)
	}
	return m
}

// run serves until ctx ends.
func (m *mqttSide) run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, l := range m.listeners {
		wg.Go(func() { l.Run(ctx) })
	}
	for _, b := range m.bridges {
		wg.Go(func() { b.Run(ctx) })
	}
	wg.Wait()
}

// status answers the hub's call and `adit agent status`.
func (m *mqttSide) status() api.AgentMQTT {
	s := api.AgentMQTT{Listeners: []api.AgentMQTTListener{}, Bridges: []api.AgentMQTTBridge{}}
	if m == nil {
		return s
	}
	for _, l := range m.listeners {
		s.Listeners = append(s.Listeners, l.Status())
	}
	for _, b := range m.bridges {
		s.Bridges = append(s.Bridges, b.Status())
	}
	s.Bridges = append(s.Bridges, m.failed...)
	return s
}

// MQTT is where the queues of bridges lie.
func (p Paths) MQTT() string { return filepath.Join(p.Dir, "mqtt") }

// mqttText is what `adit agent status` prints of it.
func mqttText(m *api.AgentMQTT) string {
	if m == nil {
		return ""
	}
	var b strings.Builder
	problem := func(p *string) {
		if p != nil {
			fmt.Fprintf(&b, "  %s\n", wire.Printable(*p, 300))
		}
	}
	for _, l := range m.Listeners {
		fmt.Fprintf(&b, "MQTT on %s: %d connections, %d refused, %d too large for their things.\n", l.Address, l.Connections, l.Refused, l.Dropped)
		problem(l.Problem)
		for _, t := range l.Things {
			seen := "never seen"
			if t.Connected {
				seen = "connected"
			} else if t.LastSeenAt != nil {
				seen = "last seen " + t.LastSeenAt.Local().Format(time.DateTime)
			}
			fmt.Fprintf(&b, "  %s: %s\n", t.Name, seen)
		}
	}
	for _, r := range m.Bridges {
		state := map[bool]string{true: "connected", false: "not connected"}
		fmt.Fprintf(&b, "MQTT bridge %s to %s: %s; hub %s. %d in, %d out, %d queued (%d bytes), %d dropped, %d looped.\n", r.Name, r.Broker,
			state[r.Local], state[r.Remote], r.ForwardedIn, r.ForwardedOut, r.Queued, r.QueuedBytes, r.Dropped, r.Looped)
		if r.Paused != nil && *r.Paused {
			b.WriteString("  It pauses for a minute: the same message came round and round.\n")
		}
		problem(r.Problem)
	}
	return b.String()
}
