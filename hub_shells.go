package main

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/devices"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/shell"
	"github.com/aditdev/adit/internal/sshca"
	"github.com/aditdev/adit/internal/sshlogin"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/tunnelhub"
)

// newShells joins shells to the rest of the hub.
func (h *hub) newShells() *shell.Shells {
	return shell.New(shell.Options{
		Log: h.log, Store: shellRows{h.store}, Device: h.shellDevice, Certify: h.certifyShell,
		Dial: func(ctx context.Context, r shell.Record) (net.Conn, error) {
			return h.tunnel.Dial(ctx, tunnelhub.Request{Device: r.Device, Target: r.Target(), User: r.User, Via: tunnelhub.ViaShell, Shell: r.ID,
				Login: r.Login})
		},
		Hold: func(ctx context.Context, r shell.Record) (context.Context, context.CancelFunc, error) {
			return h.gate.Hold(ctx, access.Use{User: r.User, Device: r.Device, Target: string(r.Target()), Login: r.Login, Way: access.Held})
		},
		Presence: h.presence,
		Opened:   func(ctx context.Context, r shell.Record) { h.noteShell(ctx, events.ShellOpened, r) },
		Ended:    func(ctx context.Context, r shell.Record) { h.noteShell(ctx, events.ShellEnded, r) },
	})
}

func (h *hub) presence(ctx context.Context) iter.Seq2[string, bool] {
	return func(yield func(string, bool) bool) {
		for p := range h.tunnel.Watch(ctx) {
			if !yield(p.Device, p.Online) {
				return
			}
		}
	}
}

func (h *hub) noteShell(ctx context.Context, kind string, r shell.Record) {
	err := h.events.Append(ctx, events.Event{Type: kind, Device: r.Device, User: r.User,
		Data: events.Data{"shell_id": r.ID, "login": r.Login}})
	if err != nil {
		h.log.Error("event not kept", "type", kind, "shell", r.ID, "cause", err)
	}
}

// shellDevice is what a shell must know of a device: the keys that are pinned, never those that wait for a person.
func (h *hub) shellDevice(ctx context.Context, id string) (shell.Device, error) {
	row, err := h.store.Read().GetDevice(ctx, id)
	if err != nil {
		return shell.Device{}, fmt.Errorf("find device: %w", err)
	}
	d := shell.Device{Name: row.Name, AgentPath: agentPath(row.Facts)}
	keys, err := h.store.Read().HostKeys(ctx, id)
	if err != nil {
		return d, fmt.Errorf("host keys: %w", err)
	}
	for _, k := range keys {
		if k.Pending {
			continue
		}
		key, err := sshca.ParseKey(k.HostKey)
		if err != nil {
			return d, fmt.Errorf("host keys: %w", err)
		}
		d.HostKeys = append(d.HostKeys, key)
	}
	return d, nil
}

func agentPath(facts string) string {
	var f struct {
		AgentPath string `json:"agent_path"`
	}
	if json.Unmarshal([]byte(facts), &f) != nil {
		return ""
	}
	return f.AgentPath
}

// logIn makes the hub a device's SSH client, for who comes through the gate.
func (h *hub) logIn(ctx context.Context, conn net.Conn, user, device, login string) (*ssh.Client, error) {
	d, err := h.shellDevice(ctx, device)
	if err != nil {
		return nil, err
	}
	return sshlogin.Client(ctx, conn, sshlogin.Options{User: user, Device: device, Login: login, HostKeys: d.HostKeys, Certify: h.certifyShell})
}

// certifyShell makes the certificate of a shell's own key. A shell forwards nothing.
func (h *hub) certifyShell(ctx context.Context, user, device, login string, key ssh.PublicKey) (*ssh.Certificate, error) {
	d, err := h.store.Read().GetDevice(ctx, device)
	if err != nil {
		return nil, fmt.Errorf("find device: %w", err)
	}
	offset := devices.ClockOffset(d, h.tunnel.Presence(device))
	return h.ca.Sign(sshca.Request{Key: key, User: user, Device: device, Login: login, Clock: time.Now().Add(offset)})
}

// shellRows keeps the records of shells in the database.
type shellRows struct{ store *store.Store }

func (s shellRows) CreateShell(ctx context.Context, r shell.Record) error {
	return s.store.Write(ctx, func(q *store.Queries) error {
		_, err := q.CreateShell(ctx, store.CreateShellParams{ID: r.ID, UserID: r.User, DeviceID: r.Device, Login: r.Login,
			Rescue: r.Rescue, State: "opening", Cols: int64(r.Cols), Rows: int64(r.Rows), CreatedAt: store.Millis(r.Created)})
		return err
	})
}

func (s shellRows) SetShellState(ctx context.Context, id, state string, outlivesHub bool) error {
	return s.store.Write(ctx, func(q *store.Queries) error {
		return q.SetShellState(ctx, store.SetShellStateParams{ID: id, State: state, OutlivesHub: outlivesHub})
	})
}

func (s shellRows) EndShell(ctx context.Context, id string, exitStatus *int) error {
	now := store.Millis(time.Now())
	row := store.EndShellParams{ID: id, EndedAt: &now}
	if exitStatus != nil {
		status := int64(*exitStatus)
		row.ExitStatus = &status
	}
	return s.store.Write(ctx, func(q *store.Queries) error { return q.EndShell(ctx, row) })
}

func (s shellRows) LiveShells(ctx context.Context) ([]shell.Record, error) {
	rows, err := s.store.Read().LiveShells(ctx)
	records := make([]shell.Record, 0, len(rows))
	for _, r := range rows {
		records = append(records, shell.Record{ID: r.ID, User: r.UserID, Device: r.DeviceID, Login: r.Login, Rescue: r.Rescue,
			Cols: int(r.Cols), Rows: int(r.Rows), OutlivesHub: r.OutlivesHub, Created: store.Time(r.CreatedAt)})
	}
	return records, err
}
