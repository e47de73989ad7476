package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// Retention is how long the hub keeps what it logs. Days and counts are positive.
type Retention struct {
	EventsDays     int   `json:"events_days"`
	DeliveriesDays int   `json:"deliveries_days"` // finished ones, with messages and attempts
	DeadDays       int   `json:"dead_days"`       // those given up
	RequestsDays   int   `json:"requests_days"`   // that sources received
	MaxBytes       int64 `json:"max_bytes"`       // of finished deliveries with messages and attempts, and of requests, each
	MaxMessages    int64 `json:"max_messages"`    // finished deliveries, and requests, each
}

// DefaultRetention is what holds where nobody has said anything.
func DefaultRetention() Retention {
	return Retention{EventsDays: 90, DeliveriesDays: 7, DeadDays: 30, RequestsDays: 7, MaxBytes: 256 << 20, MaxMessages: 100_000}
}

const (
	retentionSetting = "retention"
	maxDays          = 3650
	minBytes         = 1 << 20
	minMessages      = 1000
)

// readRetention is what the settings say, in a transaction or outside of one.
func readRetention(ctx context.Context, q *store.Queries) (Retention, error) {
	r := DefaultRetention()
	text, err := q.GetSetting(ctx, retentionSetting)
	if errors.Is(err, store.ErrNotFound) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal([]byte(text), &r)
	}
	if err != nil {
		return DefaultRetention(), fmt.Errorf("read retention: %w", err)
	}
	return r, nil
}

// Retention is what the settings say.
func (l *Log) Retention(ctx context.Context) (Retention, error) {
	return readRetention(ctx, l.store.Read())
}

// SetRetention keeps what user wants, by that handle, and logs it. It fails with wire.Invalid where a number is out of bounds.
func (l *Log) SetRetention(ctx context.Context, r Retention, user, by string) error {
	if err := r.check(); err != nil {
		return err
	}
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("set retention: %w", err)
	}
	return l.store.Write(ctx, func(q *store.Queries) error {
		err := q.PutSetting(ctx, store.PutSettingParams{Name: retentionSetting, Value: string(text)})
		if err != nil {
			return fmt.Errorf("set retention: %w", err)
		}
		return l.Write(ctx, q, Event{Type: RetentionChanged, User: user, Data: Data{"events_days": r.EventsDays,
			"deliveries_days": r.DeliveriesDays, "dead_days": r.DeadDays, "requests_days": r.RequestsDays, "max_bytes": r.MaxBytes,
			"max_messages": r.MaxMessages, "by": by}})
	})
}

func (r Retention) check() error {
	fields := map[string]string{}
	for name, days := range map[string]int{"events_days": r.EventsDays, "deliveries_days": r.DeliveriesDays, "dead_days": r.DeadDays,
		"requests_days": r.RequestsDays} {
		if days < 1 || days > maxDays {
			fields[name] = "1 to 3650 days"
		}
	}
	if r.MaxBytes < minBytes {
		fields["max_bytes"] = "1 MiB at least"
	}
	if r.MaxMessages < minMessages {
		fields["max_messages"] = "1000 at least"
	}
	if len(fields) > 0 {
		return &wire.Error{Code: wire.Invalid, Message: "Nothing was changed: a number is out of bounds.", Fields: fields}
	}
	return nil
}

// sweepAtOnce is how many events one transaction removes, so that nobody waits long for the disk.
const sweepAtOnce = 2000

// Sweep removes the events that are older than retention has it. The newest stays in any case. What is left verifies: the
// last that went is the chain's anchor.
func (l *Log) Sweep(ctx context.Context) error {
	for more := true; more && ctx.Err() == nil; {
		err := l.store.WriteQuietly(ctx, func(q *store.Queries) (err error) {
			more, err = l.sweepSome(ctx, q)
			return err
		})
		if err != nil {
			return fmt.Errorf("sweep events: %w", err)
		}
	}
	return nil
}

func (l *Log) sweepSome(ctx context.Context, q *store.Queries) (more bool, err error) {
	r, err := readRetention(ctx, q)
	if err != nil {
		return false, err
	}
	now := l.now()
	keep, err := q.FirstEventSince(ctx, store.FirstEventSinceParams{Now: store.Millis(now),
		Since: store.Millis(now.Add(-time.Duration(r.EventsDays) * 24 * time.Hour))})
	if errors.Is(err, store.ErrNotFound) {
		keep, err = q.LastEventID(ctx)
	}
	if err != nil {
		return false, err
	}
	first, err := q.FirstEventID(ctx)
	if err != nil || first >= keep {
		return false, err
	}
	end := min(keep, first+sweepAtOnce)
	return end < keep, removeBefore(ctx, q, end)
}

// removeBefore removes the events before an id and has the last of them be the anchor.
func removeBefore(ctx context.Context, q *store.Queries, id int64) error {
	last, err := q.EventsBefore(ctx, store.EventsBeforeParams{Before: id, AtMost: 1})
	if err != nil {
		return err
	}
	chain, err := q.GetEventChain(ctx)
	if err != nil {
		return err
	}
	if len(last) > 0 && last[0].ID > chain.AnchorID {
		hash := last[0].Hash
		if len(hash) == 0 {
			hash = []byte{0} // nobody of ours wrote it: the next must not verify
		}
		err = q.MoveEventAnchor(ctx, store.MoveEventAnchorParams{ID: last[0].ID, Hash: hash})
	}
	if err != nil {
		return err
	}
	return q.RemoveEventsTo(ctx, id-1)
}
