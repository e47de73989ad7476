// Package updates has devices put the program that this hub hands out in their agent's place. What runs, and how the last
// one went, is in memory: the device itself decides what it runs, and comes back by itself.
package updates

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

const (
	// Within is how long a new program has to come online before the device goes back to the old one.
	Within = 60 * time.Second

	callWithin = 15 * time.Minute       // download, test, swap
	backWithin = 90 * time.Second       // that a device has beyond that to come back with the old one and say so
	lookEvery  = 200 * time.Millisecond // for the device that comes back
)

// States of an update.
const (
	Running    = "running"    // the device fetches and tries the program
	Restarting = "restarting" // it starts it
	Done       = "done"
	Failed     = "failed"
)

// Options make Updates; every field must be set.
type Options struct {
	Events   *events.Log
	Log      *slog.Logger
	Now      func() time.Time
	Version  string                                  // of the programs
	Programs func() (map[string]wire.Program, error) // by platform
	Within   time.Duration
	// AgentVersion is that of a device's agent while it is online.
	AgentVersion func(device string) (version string, online bool)
	Call         func(ctx context.Context, device, method string, params, result any) error
}

// Updates is safe for concurrent use.
type Updates struct {
	Options
	ctx     context.Context // of every update; ends by Run
	cancel  context.CancelFunc
	working sync.WaitGroup

	mu   sync.Mutex
	last map[string]*Update // by device
}

// Update is one, as it stands.
type Update struct {
	Version string
	State   string
	Message string // why it failed
	At      time.Time
	told    chan wire.UpdateResult
}

// New makes Updates. Run ends them.
func New(o Options) *Updates {
	u := &Updates{Options: o, last: map[string]*Update{}}
	u.ctx, u.cancel = context.WithCancel(context.Background())
	return u
}

// Run waits until ctx ends, then ends the waits for devices. The devices go on.
func (u *Updates) Run(ctx context.Context) error {
	<-ctx.Done()
	u.mu.Lock()
	u.cancel()
	u.mu.Unlock()
	u.working.Wait()
	return nil
}

// Available reports that the hub has a program that may take the place of an agent of this version, for its system.
func (u *Updates) Available(version, goos string) bool {
	if version == "" || version == u.Version {
		return false
	}
	programs, err := u.Programs()
	if err != nil {
		return false
	}
	for target := range programs {
		if strings.HasPrefix(target, goos+"-") {
			return true
		}
	}
	return false
}

// Last is the latest update of a device since the hub started.
func (u *Updates) Last(device string) (Update, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if l := u.last[device]; l != nil {
		return *l, true
	}
	return Update{}, false
}

// Start begins an update; by is who asked. It fails with Conflict while one is under way or where there is nothing to do,
// and with Offline.
func (u *Updates) Start(d store.Device, by string) (Update, error) {
	version, online := u.AgentVersion(d.ID)
	if !online {
		return Update{}, wire.Errorf(wire.Offline, "%s is offline.", d.Name)
	}
	if version == u.Version {
		return Update{}, wire.Errorf(wire.Conflict, "%s runs %s already, which is what this hub has.", d.Name, version)
	}
	programs, err := u.Programs()
	if err != nil {
		return Update{}, fmt.Errorf("programs: %w", err)
	}
	if len(programs) == 0 {
		return Update{}, wire.Errorf(wire.NotFound, "This hub was built without adit for devices. Its operator adds it by `make build`.")
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if l := u.last[d.ID]; l != nil && (l.State == Running || l.State == Restarting) {
		return Update{}, wire.Errorf(wire.Conflict, "%s is being updated already.", d.Name)
	}
	if u.ctx.Err() != nil {
		return Update{}, wire.Errorf(wire.Offline, "The hub is restarting. Try again in a few seconds.")
	}
	l := &Update{Version: u.Version, State: Running, At: u.Now(), told: make(chan wire.UpdateResult, 1)}
	u.last[d.ID] = l
	u.working.Go(func() { u.run(d, by, l, programs) })
	return *l, nil
}

// run carries one update to its end.
func (u *Updates) run(d store.Device, by string, l *Update, programs map[string]wire.Program) {
	err := u.call(d, programs)
	if err == nil {
		u.set(d, l, Restarting, "")
		err = u.await(d, l)
	}
	state, message := Done, ""
	if err != nil {
		state, message = Failed, wire.MessageOf(err)
	}
	u.set(d, l, state, message)
	u.Log.Info("agent updated", "device", d.ID, "version", u.Version, "state", state, "cause", err)
	kind := events.DeviceUpdated
	if err != nil {
		kind = events.DeviceNotUpdated
	}
	err = u.Events.Append(context.WithoutCancel(u.ctx), events.Event{Type: kind, Device: d.ID, User: by,
		Data: events.Data{"name": d.Name, "version": u.Version, "message": message}})
	if err != nil {
		u.Log.Error("update not noted", "device", d.ID, "cause", err)
	}
}

func (u *Updates) call(d store.Device, programs map[string]wire.Program) error {
	ctx, cancel := context.WithTimeout(u.ctx, callWithin)
	defer cancel()
	err := u.Call(ctx, d.ID, wire.MethodUpdate, wire.Update{Version: u.Version, WithinSeconds: int(u.Within.Seconds()), Programs: programs}, nil)
	if wire.CodeOf(err) == wire.NotFound && strings.Contains(wire.MessageOf(err), "does not know the call") {
		return wire.Wrap(err, wire.NotFound, "Its agent is too old to be updated from here. Renew it there: adit's install script with --upgrade.")
	}
	return err
}

// await waits until the device says what became of it, or is seen with the new version.
func (u *Updates) await(d store.Device, l *Update) error {
	ctx, cancel := context.WithTimeout(u.ctx, u.Within+backWithin)
	defer cancel()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case r := <-l.told:
			if !r.OK {
				return wire.Errorf(wire.Conflict, "%s", wire.Printable(r.Message, 300))
			}
			return nil
		case <-tick.C:
			if version, online := u.AgentVersion(d.ID); online && version == u.Version {
				return nil
			}
		case <-ctx.Done():
			return wire.Errorf(wire.Offline, "%s did not come back with the new program. It goes back to the old one by itself.", d.Name)
		}
	}
}

// set notes a state, and has pages read the device again.
func (u *Updates) set(d store.Device, l *Update, state, message string) {
	u.mu.Lock()
	l.State, l.Message, l.At = state, message, u.Now()
	u.mu.Unlock()
	err := u.Events.Append(context.WithoutCancel(u.ctx), events.Event{Type: events.DeviceChanged, Device: d.ID, Data: events.Data{"name": d.Name}})
	if err != nil {
		u.Log.Error("update not noted", "device", d.ID, "cause", err)
	}
}

// Result takes a device's call wire.MethodUpdateResult.
func (u *Updates) Result(device string, params json.RawMessage) error {
	var r wire.UpdateResult
	if err := json.Unmarshal(params, &r); err != nil {
		return wire.Wrap(err, wire.Invalid, "The result is not of the protocol's form.")
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if l := u.last[device]; l != nil && l.Version == r.Version {
		select {
		case l.told <- r:
		default:
		}
	}
	return nil
}
