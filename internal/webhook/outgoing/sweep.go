package outgoing

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// sweepStep is how many deliveries one transaction of the sweep takes: others write between two.
const sweepStep = 100

// Sweep gives up what waited too long, and removes what need not be kept any more: finished deliveries that are old enough, then the
// oldest of them until the rest is within the caps. What waits is never removed for a cap.
func (o *Outbox) Sweep(ctx context.Context) error {
	o.sweeping.Lock()
	defer o.sweeping.Unlock()
	l, err := o.leapt(ctx)
	if err == nil {
		err = o.hurry(ctx)
	}
	if err != nil {
		return err
	}
	now := o.Now()
	keep, err := o.Events.Retention(ctx)
	if err != nil {
		return err
	}
	old := func(days int) time.Time { return now.AddDate(0, 0, -days) }
	steps := []func() (bool, error){
		func() (bool, error) { return o.giveUpOld(ctx, now.Add(-o.Limits.Patience), l) },
		func() (bool, error) { return o.dropOld(ctx, StateDelivered, old(keep.DeliveriesDays)) },
		func() (bool, error) { return o.dropOld(ctx, stateCancelled, old(keep.DeliveriesDays)) },
		func() (bool, error) { return o.dropOld(ctx, stateDead, old(keep.DeadDays)) },
		func() (bool, error) { return o.dropBeyond(ctx, keep) },
		func() (bool, error) { return o.dropRemoved(ctx) },
	}
	for _, step := range steps {
		for more := true; more; {
			var err error
			if more, err = step(); err != nil || ctx.Err() != nil {
				return err
			}
		}
	}
	at, hour := store.Millis(now), now.Unix()/3600-48
	return o.Store.WriteTogether(ctx, func(q *store.Queries) error {
		n, err := q.SweepHookEndpointSecrets(ctx, &at)
		if n > 0 {
			err = errors.Join(err, q.RaiseHookVersion(ctx))
		}
		return errors.Join(err, q.SweepHookHours(ctx, hour))
	})
}

func (o *Outbox) giveUpOld(ctx context.Context, before time.Time, l leap) (more bool, err error) {
	rows, err := o.Store.Read().OldHookDeliveries(ctx, store.OldHookDeliveriesParams{Before: store.Millis(before), BeforeLeap: store.Millis(before) - l.By,
		LeaptAt: l.At, AtMost: sweepStep})
	if err != nil || len(rows) == 0 {
		return false, err
	}
	ended := false
	reason := fmt.Sprintf("It waited longer than %s.", o.Limits.Patience)
	err = o.Store.WriteQuietly(ctx, func(q *store.Queries) error {
		for _, d := range rows {
			err := o.end(ctx, q, d, stateDead, reason)
			if err != nil && wire.CodeOf(err) != wire.Conflict { // it is being sent
				return err
			}
			ended = ended || err == nil
		}
		return nil
	})
	return ended && len(rows) == sweepStep, err
}

func (o *Outbox) dropOld(ctx context.Context, state string, before time.Time) (more bool, err error) {
	at := store.Millis(before)
	rows, err := o.Store.Read().FinishedHookDeliveries(ctx, store.FinishedHookDeliveriesParams{State: state, Before: &at, AtMost: sweepStep})
	if err != nil || len(rows) == 0 {
		return false, err
	}
	return len(rows) == sweepStep, o.drop(ctx, rows)
}

// dropBeyond removes the oldest that are finished while there are too many: those that arrived before those that were given up.
func (o *Outbox) dropBeyond(ctx context.Context, keep events.Retention) (more bool, err error) {
	all, err := o.Store.Read().HookHealths(ctx)
	if err != nil {
		return false, err
	}
	var kept, bytes int64
	for _, h := range all {
		kept, bytes = kept+h.Kept, bytes+h.KeptBytes
	}
	if kept <= keep.MaxMessages && bytes <= keep.MaxBytes {
		return false, nil
	}
	ever := int64(math.MaxInt64)
	for _, state := range []string{StateDelivered, stateCancelled, stateDead} {
		rows, err := o.Store.Read().FinishedHookDeliveries(ctx, store.FinishedHookDeliveriesParams{State: state, Before: &ever, AtMost: sweepStep})
		if err != nil {
			return false, err
		}
		var n int
		for n < len(rows) && (kept > keep.MaxMessages || bytes > keep.MaxBytes) {
			kept, bytes = kept-1, bytes-rows[n].Bytes
			n++
		}
		if n > 0 {
			return true, o.drop(ctx, rows[:n])
		}
	}
	return false, nil
}

func (o *Outbox) drop(ctx context.Context, rows []store.FinishedHookDeliveriesRow) error {
	return o.Store.WriteQuietly(ctx, func(q *store.Queries) error {
		gone := map[string]*store.ShrinkHookKeptParams{}
		for _, d := range rows {
			n, err := q.DropHookDelivery(ctx, d.ID)
			if err != nil {
				return err
			}
			if n == 0 {
				continue // another hub did
			}
			if err := q.DropHookMessage(ctx, d.MessageID); err != nil {
				return err
			}
			g := gone[d.EndpointID]
			if g == nil {
				g = &store.ShrinkHookKeptParams{EndpointID: d.EndpointID}
				gone[d.EndpointID] = g
			}
			g.Kept++
			g.Bytes += d.Bytes
			if d.State == stateDead {
				g.Dead++
			}
		}
		for _, g := range gone {
			if err := q.ShrinkHookKept(ctx, *g); err != nil {
				return err
			}
		}
		return nil
	})
}

// dropRemoved takes away what removed endpoints have left.
func (o *Outbox) dropRemoved(ctx context.Context) (more bool, err error) {
	ids, err := o.Store.Read().RemovedHookEndpoints(ctx)
	if err != nil || len(ids) == 0 {
		return false, err
	}
	rows, err := o.Store.Read().HookDeliveriesOf(ctx, store.HookDeliveriesOfParams{EndpointID: ids[0], AtMost: sweepStep})
	if err != nil {
		return false, err
	}
	err = o.Store.WriteQuietly(ctx, func(q *store.Queries) error {
		for _, d := range rows {
			_, err := q.DropHookDelivery(ctx, d.ID)
			if err := errors.Join(err, q.DropHookMessage(ctx, d.MessageID)); err != nil {
				return err
			}
		}
		if len(rows) == 0 {
			return q.DropHookEndpoint(ctx, ids[0])
		}
		return nil
	})
	return true, err
}
