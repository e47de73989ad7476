package outgoing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aditdev/adit/internal/store"
)

// Clocks are wrong: a board without a battery begins years behind, until the network tells it the time. Nothing may be lost by that, or wait for years.

const (
	leastLeap = time.Hour // less costs what waits no more than that of its days
	// longestWait is longer than any step of the schedule, and than any wish of a receiver.
	longestWait = 29 * time.Hour
	leapSetting = "hook_clock" // where the last leap is kept, as JSON: the next hub must know of it too
)

// reading is what the clock says, beside one that nobody sets.
type reading struct {
	at      time.Time
	elapsed time.Duration
}

func (o *Outbox) reading() reading { return reading{o.Now().Round(0), o.Elapsed()} }

// leap is when the clock was last put forward, in milliseconds: what was queued until At is younger by By than it seems.
type leap struct {
	At int64 `json:"at"`
	By int64 `json:"by"`
}

// leapt finds out whether the clock was put forward since the last sweep, and gives the last leap. One that was taken back is none. sweeping is held.
func (o *Outbox) leapt(ctx context.Context) (l leap, err error) {
	text, err := o.Store.Read().GetSetting(ctx, leapSetting)
	if err == nil {
		err = json.Unmarshal([]byte(text), &l)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return l, fmt.Errorf("read clock: %w", err)
	}
	now := o.reading()
	if by := now.at.Sub(o.clock.at) - (now.elapsed - o.clock.elapsed); by >= leastLeap {
		l = leap{At: store.Millis(now.at.Add(-by)), By: by.Milliseconds()}
		o.Log.Warn("webhooks: the clock was put forward; what waits is not older for that", "by", by)
		text, err := json.Marshal(l)
		if err != nil {
			panic(err) // two numbers
		}
		err = o.Store.WriteTogether(ctx, func(q *store.Queries) error {
			return q.PutSetting(ctx, store.PutSettingParams{Name: leapSetting, Value: string(text)})
		})
		if err != nil {
			return l, fmt.Errorf("note clock: %w", err)
		}
	}
	o.clock = now
	if store.Millis(now.at) < l.At+l.By {
		return leap{}, nil
	}
	return l, nil
}

// hurry makes due what waits for a time that a clock ahead has set.
func (o *Outbox) hurry(ctx context.Context) error {
	now := o.Now()
	return o.Store.WriteTogether(ctx, func(q *store.Queries) error {
		return q.HurryHookDeliveries(ctx, store.HurryHookDeliveriesParams{Now: store.Millis(now), Latest: store.Millis(now.Add(longestWait))})
	})
}
