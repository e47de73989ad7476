package devices

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/sshca"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

type hostKey = sshca.HostKey

// maxHostKeys is how many host keys one device may report.
const maxHostKeys = 10

func parseHostKeys(lines []string) ([]hostKey, error) {
	if len(lines) > maxHostKeys {
		return nil, wire.Errorf(wire.Invalid, "A device has up to %d SSH host keys.", maxHostKeys)
	}
	keys := make([]hostKey, 0, len(lines))
	for _, line := range lines {
		if len(line) > 2048 {
			return nil, wire.Errorf(wire.TooLarge, "An SSH host key's line takes up to 2048 bytes.")
		}
		key, err := sshca.ParseHostKey(line)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// reportHostKeys compares what a device reports with what is pinned. A key that is not pinned waits for a person; it is
// never taken silently, except where the device had none at all. It reports whether anything on the page changes.
func (r *Registry) reportHostKeys(ctx context.Context, q *store.Queries, d store.Device, keys []hostKey) (bool, error) {
	known, err := q.HostKeys(ctx, d.ID)
	if err != nil {
		return false, fmt.Errorf("host keys: %w", err)
	}
	if err := markReported(ctx, q, known, keys); err != nil {
		return false, err
	}
	var waiting []string
	for _, key := range keys {
		if slices.ContainsFunc(known, func(k store.DeviceHostKey) bool { return k.HostKey == key.Line }) {
			continue
		}
		err := q.PutHostKey(ctx, store.PutHostKeyParams{DeviceID: d.ID, HostKey: key.Line, Fingerprint: key.Fingerprint,
			Pending: len(known) > 0, CreatedAt: r.millis()})
		if err != nil {
			return false, fmt.Errorf("host keys: %w", err)
		}
		waiting = append(waiting, key.Fingerprint)
	}
	if len(waiting) == 0 || len(known) == 0 {
		return len(waiting) > 0, nil
	}
	return true, r.Events.Write(ctx, q, events.Event{Type: events.HostKeysPending, Device: d.ID,
		Data: events.Data{"name": d.Name, "fingerprints": waiting}})
}

// markReported notes which keys the device still has, and forgets those that it no longer reports and nobody accepted.
func markReported(ctx context.Context, q *store.Queries, known []store.DeviceHostKey, keys []hostKey) error {
	for _, k := range known {
		reported := slices.ContainsFunc(keys, func(key hostKey) bool { return key.Line == k.HostKey })
		var err error
		switch {
		case k.Pending && !reported:
			err = q.DropHostKey(ctx, store.DropHostKeyParams{DeviceID: k.DeviceID, HostKey: k.HostKey})
		case k.Reported != reported:
			err = q.MarkHostKey(ctx, store.MarkHostKeyParams{Reported: reported, DeviceID: k.DeviceID, HostKey: k.HostKey})
		}
		if err != nil {
			return fmt.Errorf("host keys: %w", err)
		}
	}
	return nil
}

// AcceptHostKeys pins the pending keys of these fingerprints. Pinned keys that the device no longer reports go with it:
// the accepted ones took their place.
func (r *Registry) AcceptHostKeys(ctx context.Context, p *auth.Principal, d store.Device, fingerprints []string) error {
	if len(fingerprints) == 0 {
		return wire.Errorf(wire.Invalid, "Name the fingerprints that you compared.")
	}
	return r.Store.Write(ctx, func(q *store.Queries) error {
		for _, fingerprint := range fingerprints {
			n, err := q.AcceptHostKey(ctx, store.AcceptHostKeyParams{DeviceID: d.ID, Fingerprint: fingerprint})
			if err == nil && n == 0 {
				err = wire.Errorf(wire.NotFound, "No SSH host key with fingerprint %s waits here. Load the page again.",
					wire.Printable(fingerprint, 80))
			}
			if err != nil {
				return err
			}
		}
		if err := q.DropUnreportedHostKeys(ctx, d.ID); err != nil {
			return err
		}
		return r.Events.Write(ctx, q, events.Event{Type: events.HostKeysAccepted, Device: d.ID, User: p.User.ID,
			Data: events.Data{"name": d.Name, "fingerprints": fingerprints}})
	})
}

// KnownHosts is the text of a known_hosts file for the devices in the principal's view. Each line's name is the device's
// id, the HostKeyAlias under which it is looked up.
func (r *Registry) KnownHosts(ctx context.Context, p *auth.Principal, device string) (string, error) {
	rows, err := r.Store.Read().KnownHostsFor(ctx, store.KnownHostsForParams{Principal: p.User.ID, Now: r.millis()})
	if err != nil {
		return "", fmt.Errorf("known hosts: %w", err)
	}
	var text strings.Builder
	policy, now := r.Gate.Policy(), r.Now() // the query knows nothing of what is denied
	for _, row := range rows {
		if (device == "" || row.ID == device) && policy.Sees(p.User.ID, row.ID, now) {
			fmt.Fprintf(&text, "%s %s\n", row.ID, row.HostKey)
		}
	}
	return text.String(), nil
}
