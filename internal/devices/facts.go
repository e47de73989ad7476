package devices

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"

	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// Bounds of what a device may say of itself.
const (
	maxFacts    = 24 << 10 // bytes of JSON
	maxFactText = 300      // runes of one text
	maxFactList = 200      // elements of one list
)

// CleanFacts checks facts against the API's schema and makes every text in them printable: all of it is a stranger's.
// Members that the schema does not know are dropped. It fails with Invalid or TooLarge.
func CleanFacts(raw json.RawMessage) (json.RawMessage, error) {
	if len(raw) > maxFacts {
		return nil, wire.Errorf(wire.TooLarge, "The facts take more than %d bytes.", maxFacts)
	}
	var typed api.Facts
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &typed); err != nil {
			return nil, wire.Wrap(err, wire.Invalid, "The facts are not of the API's form.")
		}
	}
	known, err := json.Marshal(typed)
	if err != nil {
		return nil, fmt.Errorf("facts: %w", err)
	}
	var tree any
	if err := json.Unmarshal(known, &tree); err != nil {
		return nil, fmt.Errorf("facts: %w", err)
	}
	clean, err := json.Marshal(printable(tree))
	if err != nil {
		return nil, fmt.Errorf("facts: %w", err)
	}
	return clean, nil
}

func printable(node any) any {
	switch n := node.(type) {
	case string:
		return wire.Printable(n, maxFactText)
	case []any:
		n = n[:min(len(n), maxFactList)]
		for i := range n {
			n[i] = printable(n[i])
		}
		return n
	case map[string]any:
		for k := range n {
			n[k] = printable(n[k])
		}
		return n
	}
	return node
}

// Report takes a device's call wire.MethodFacts. Each that tells something new is a write and an event, so a device that
// says something else all the time is told to wait.
func (r *Registry) Report(ctx context.Context, device string, params json.RawMessage) error {
	if !r.reports.Allow(device) {
		return wire.Errorf(wire.RateLimited, "This device reports too often. The next report is taken within 10 s.")
	}
	var report wire.FactsReport
	if err := json.Unmarshal(params, &report); err != nil {
		return wire.Wrap(err, wire.Invalid, "The report is not of the protocol's form.")
	}
	facts, err := CleanFacts(report.Facts)
	if err != nil {
		return err
	}
	keys, err := parseHostKeys(report.SSHHostKeys)
	if err != nil {
		return err
	}
	return r.Store.Write(ctx, func(q *store.Queries) error {
		d, err := q.GetDevice(ctx, device)
		if err != nil {
			return fmt.Errorf("find device: %w", err)
		}
		changed, err := r.reportHostKeys(ctx, q, d, keys)
		if err != nil || (!changed && d.Facts == string(facts)) {
			return err
		}
		if err := keepFacts(ctx, q, d, facts); err != nil {
			return err
		}
		return r.Events.Write(ctx, q, events.Event{Type: events.DeviceChanged, Device: device, Data: events.Data{"name": d.Name}})
	})
}

func keepFacts(ctx context.Context, q *store.Queries, d store.Device, facts json.RawMessage) error {
	port := sshPort(facts)
	if err := q.SetFacts(ctx, store.SetFactsParams{ID: d.ID, Facts: string(facts), SSHPort: port}); err != nil {
		return fmt.Errorf("keep facts: %w", err)
	}
	if port == d.SSHPort {
		return nil
	}
	if err := q.RaiseAccessVersion(ctx); err != nil { // the policy goes by it
		return fmt.Errorf("access version: %w", err)
	}
	return nil
}

// sshPort is where the device says that its SSH server listens; 0 where it says nothing.
func sshPort(facts json.RawMessage) int64 {
	var f api.Facts
	if json.Unmarshal(facts, &f) != nil || f.SSH == nil || f.SSH.Address == nil {
		return 0
	}
	at, err := netip.ParseAddrPort(*f.SSH.Address)
	if err != nil {
		return 0
	}
	return int64(at.Port())
}
