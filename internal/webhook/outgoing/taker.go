package outgoing

import (
	"context"
	"fmt"
	"slices"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/store"
)

var _ messaging.Taker = (*Outbox)(nil)

// Filters implements messaging.Taker.
func (o *Outbox) Filters() []string {
	var all []string
	for _, e := range o.table.Load().list {
		if e.takes() {
			all = append(all, e.topics...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// FiltersChanged implements messaging.Taker.
func (o *Outbox) FiltersChanged() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.changed
}

// Wanting implements messaging.Taker.
func (o *Outbox) Wanting() bool { return o.table.Load().topics }

// detailsAbout is what the details of an MQTT message have, in bytes, as a rule: they are made where it is taken, and the next look has what they came to.
const detailsAbout = 256

// Wants implements messaging.Taker.
func (o *Outbox) Wants(m messaging.Received) (wanted, room bool) {
	t := o.table.Load()
	if !t.topics {
		return false, true
	}
	to := t.matching(ofTopic(m, o.Gate.Policy()))
	if len(to) == 0 {
		return false, true
	}
	bytes := sizeHeld(m)
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range to {
		if !o.fits(e.row.ID, bytes) {
			o.counts.refused.Add(1)
			return true, false
		}
	}
	o.held.add(1, bytes)
	return true, true
}

// sizeHeld is what a message counts as while the broker has it.
func sizeHeld(m messaging.Received) int64 { return sizeOf(m.Payload, "", m.Topic) + detailsAbout }

func ofTopic(m messaging.Received, policy *access.Policy) subject {
	device := deviceOf(m, policy)
	return subject{kind: TypeMQTT, topic: m.Topic, device: device, tags: policy.Devices[device].Tags}
}

// Take implements messaging.Taker.
func (o *Outbox) Take(ctx context.Context, q *store.Queries, list []messaging.Received) error {
	state, err := q.HookOutgoing(ctx)
	if err != nil {
		return fmt.Errorf("queue messages: %w", err)
	}
	t, err := o.tableIn(ctx, q, state.Version)
	if err != nil {
		return err
	}
	policy := o.Gate.Policy()
	for _, r := range list {
		if _, err := o.enqueue(ctx, q, ofMQTT(r, policy), t.matching(ofTopic(r, policy))); err != nil {
			return err
		}
	}
	return nil
}

// Taken implements messaging.Taker.
func (o *Outbox) Taken(list []messaging.Received) {
	policy, t := o.Gate.Policy(), o.table.Load()
	added := map[string]int{}
	o.mu.Lock()
	for _, r := range list {
		bytes := sizeHeld(r)
		o.held.add(-1, -bytes)
		for _, e := range t.matching(ofTopic(r, policy)) {
			o.came(e.row.ID, bytes)
			added[e.row.ID]++
		}
	}
	o.mu.Unlock()
	o.poke(added)
}

// Left implements messaging.Taker.
func (o *Outbox) Left(list []messaging.Received) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range list {
		o.held.add(-1, -sizeHeld(r))
	}
}
