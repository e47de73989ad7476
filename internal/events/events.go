// Package events is the log of what happened and its live stream. The log in the database is the bus: whoever listens
// is woken by a commit, of this process or another, and reads on from where they were. So nobody misses an event,
// however slow, and nothing is queued for them.
package events

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/store"
)

// The types. Data's members stand beside each.
const (
	DeviceEnrolled       = "device.enrolled"           // name, address, status, code_id
	DevicePending        = "device.pending"            // name, address, code_id
	DeviceApproved       = "device.approved"           // name
	DeviceReplaced       = "device.replaced"           // name, old_fingerprint, new_fingerprint
	DeviceRemoved        = "device.removed"            // name
	DeviceChanged        = "device.changed"            // name: something of its page is new
	DeviceOnline         = "device.online"             // name, address
	DeviceOffline        = "device.offline"            // name; debounced
	DeviceCloned         = "device.cloned"             // name
	HostKeysPending      = "device.host_keys_pending"  // name, fingerprints
	HostKeysAccepted     = "device.host_keys_accepted" // name, fingerprints
	CertificateSigned    = "ssh.certificate"           // login, serial
	SSHKeyAdded          = "ssh_key.added"             // name, fingerprint
	SSHKeyRemoved        = "ssh_key.removed"           // name, fingerprint
	InstallStep          = "install.step"              // code_id, step, address, program, device_name
	LoginFailed          = "login.failed"              // email, address
	LoginBegan           = "login.began"               // address
	UserCreated          = "user.created"              // email, role
	UserChanged          = "user.changed"              // email, role, disabled
	UserRemoved          = "user.removed"              // email
	GrantAdded           = "grant.added"               // grant_id
	GrantRemoved         = "grant.removed"             // grant_id
	ShellOpened          = "shell.opened"              // shell_id, login
	ShellEnded           = "shell.ended"               // shell_id, login
	PortReserved         = "port.reserved"             // port, target
	PortReleased         = "port.released"             // port, target
	RootPasswordSet      = "root_password.set"         // name
	RootPasswordRevealed = "root_password.revealed"    // name, reason
	DeviceUpdated        = "device.updated"            // name, version: the agent's program
	DeviceNotUpdated     = "device.not_updated"        // name, version, message
	HubKeysChanged       = "hub.keys_changed"          // stage: next, finished, dropped

	MQTTCredentialAdded   = "mqtt.credential_added"   // credential_id, username, kind
	MQTTCredentialRemoved = "mqtt.credential_removed" // credential_id, username, kind
	MQTTRuleAdded         = "mqtt.rule_added"         // rule_id, subject, access, filter
	MQTTRuleRemoved       = "mqtt.rule_removed"       // rule_id, subject, access, filter
	MQTTImported          = "mqtt.imported"           // credentials, rules: how many
	MQTTCleared           = "mqtt.cleared"            // filter, count: retained messages
	MQTTKicked            = "mqtt.kicked"             // client_id, name, forget

	HookEndpointAdded    = "hook.endpoint_added"    // endpoint, name, url
	HookEndpointChanged  = "hook.endpoint_changed"  // endpoint, name, changed: the members, or secret
	HookEndpointRemoved  = "hook.endpoint_removed"  // endpoint, name
	HookEndpointDisabled = "hook.endpoint_disabled" // endpoint, reason: the hub itself did it
	HookDeliveryDead     = "hook.delivery_dead"     // endpoint, delivery_id, message_id, error
	HookOverflow         = "hook.overflow"          // endpoint, refused: events since ever that its full queue did not take
)

// Data is an event's own members. Text in it that a stranger gave must be printable (wire.Printable).
type Data map[string]any

// Event is one thing that happened. Device and User are ids, empty where it concerns none.
type Event struct {
	ID           int64
	Type         string
	At           time.Time
	Device, User string
	Data         Data
}

// Log appends and streams events. It is safe for concurrent use.
type Log struct {
	store *store.Store
	now   func() time.Time

	mu   sync.Mutex
	last int64
	wake chan struct{} // closed when last rises
}

// New makes a Log. Run must run for streams to move.
func New(st *store.Store, now func() time.Time) *Log {
	return &Log{store: st, now: now, wake: make(chan struct{})}
}

// Run wakes the streams until ctx ends.
func (l *Log) Run(ctx context.Context) error {
	return l.store.Follow(ctx, func(ctx context.Context) error {
		last, err := l.store.Read().LastEventID(ctx)
		if err != nil {
			return fmt.Errorf("follow events: %w", err)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if last > l.last {
			l.last = last
			close(l.wake)
			l.wake = make(chan struct{})
		}
		return nil
	})
}

// Append writes an event on its own. Where it belongs to another change, use Write in that change's transaction.
func (l *Log) Append(ctx context.Context, e Event) error {
	return l.store.Write(ctx, func(q *store.Queries) error { return l.Write(ctx, q, e) })
}

// Write writes an event in a transaction under way. ID and At are the log's to set.
func (l *Log) Write(ctx context.Context, q *store.Queries, e Event) error {
	data, err := json.Marshal(e.Data)
	if err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	if e.Data == nil {
		data = []byte("{}")
	}
	_, err = q.AppendEvent(ctx, store.AppendEventParams{Type: e.Type, At: store.Millis(l.now()), DeviceID: orNil(e.Device),
		UserID: orNil(e.User), Data: string(data)})
	if err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	return nil
}

func orNil(id string) *string {
	if id == "" {
		return nil
	}
	return &id
}

// page is how many events a stream reads at once.
const page = 200

// Last is the id of the newest event.
func (l *Log) Last(ctx context.Context) (int64, error) { return l.store.Read().LastEventID(ctx) }

// Stream yields the events after the id, first those of the past, then each as it happens, until ctx ends or reading
// fails.
func (l *Log) Stream(ctx context.Context, after int64) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			wake := l.next()
			rows, err := l.store.Read().EventsAfter(ctx, store.EventsAfterParams{After: after, AtMost: page})
			if err != nil && ctx.Err() == nil {
				yield(Event{}, fmt.Errorf("read events: %w", err))
			}
			if err != nil {
				return
			}
			for _, row := range rows {
				after = row.ID
				if !yield(event(row), nil) {
					return
				}
			}
			if len(rows) == page {
				continue
			}
			select {
			case <-wake:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (l *Log) next() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wake
}

func event(row store.Event) Event {
	e := Event{ID: row.ID, Type: row.Type, At: store.Time(row.At)}
	if row.DeviceID != nil {
		e.Device = *row.DeviceID
	}
	if row.UserID != nil {
		e.User = *row.UserID
	}
	if json.Unmarshal([]byte(row.Data), &e.Data) != nil || e.Data == nil {
		e.Data = Data{}
	}
	return e
}
