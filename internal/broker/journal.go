package broker

import (
	"context"
	"encoding/json"
	"time"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/store"
)

const (
	gather     = 2 * time.Millisecond // how long a busy journal waits for more before it writes
	gatherRows = 256                  // and how many rows end that wait
	retryWrite = time.Second
)

// journal carries what must outlive the hub into the database, in groups: everything that one packet caused is in the same
// transaction. The broker's lock guards what is collected, so a group is always a state that the broker was in. Of rows
// that change several times within a group only the last state is written; a message that came, was delivered and was
// answered in the meantime not at all.
type journal struct {
	off        bool // there is no database
	batch      *batch
	collecting uint64 // number of the group that is being collected; the first is 1
	committed  uint64 // the last one on disk
	changes    uint64 // how many rows were ever put in, to see whether something was
	problem    error  // why the last write failed
	wake       chan struct{}
}

type rowKey struct {
	key
	incoming bool
	id       uint16
}

type filterKey struct {
	key
	filter string
}

// batch is one group. A nil value removes the row.
type batch struct {
	forget        map[key]struct{} // written first: everything of an MQTT session goes
	sessions      map[key]*storedSession
	subscriptions map[filterKey]*subscription
	rows          map[rowKey]*row
	messages      map[string]*message  // retained, by topic
	taken         []messaging.Received // for the Taker, as they came
}

// row is one line of mqtt_inflight; delivery is nil for incoming ones. fresh ones are not in the database yet.
type row struct {
	delivery *delivery
	released bool
	fresh    bool
	removed  bool
}

func newBatch() *batch {
	return &batch{forget: map[key]struct{}{}, sessions: map[key]*storedSession{}, subscriptions: map[filterKey]*subscription{},
		rows: map[rowKey]*row{}, messages: map[string]*message{}}
}

func (b *batch) size() int {
	return len(b.forget) + len(b.sessions) + len(b.subscriptions) + len(b.rows) + len(b.messages) + len(b.taken)
}

// changed tells the writer that there is something to write.
func (j *journal) changed() bool {
	if j.off {
		return false
	}
	j.changes++
	if n := j.batch.size(); n == 0 || n == gatherRows {
		select {
		case j.wake <- struct{}{}:
		default:
		}
	}
	return true
}

// barrier is the commit behind which everything is that was put in since changes had the value since.
func (j *journal) barrier(since uint64) uint64 {
	if j.changes == since {
		return 0
	}
	return j.collecting
}

// everything is the commit behind which all is that was put in so far.
func (j *journal) everything() uint64 {
	if j.batch.size() == 0 {
		return j.collecting - 1
	}
	return j.collecting
}

func (j *journal) session(s *session, w *mqtt.Publish) {
	if j.changed() {
		s.stored = true
		j.batch.sessions[s.key] = newStoredSession(s, w)
	}
}

func (j *journal) forget(k key) {
	if !j.changed() {
		return
	}
	j.batch.drop(k)
	j.batch.forget[k] = struct{}{}
}

func (j *journal) subscription(k key, s *subscription) {
	if j.changed() {
		j.batch.subscriptions[filterKey{k, s.Filter}] = s
	}
}

func (j *journal) removeSubscription(k key, filter string) {
	if j.changed() {
		j.batch.subscriptions[filterKey{k, filter}] = nil
	}
}

// delivery puts one in that is new, released one whose PUBREC has come.
func (j *journal) delivery(k key, d *delivery) {
	d.group = j.collecting
	j.put(rowKey{k, false, d.id}, &row{delivery: d, fresh: true})
}

func (j *journal) released(k key, d *delivery) {
	j.put(rowKey{k, false, d.id}, &row{delivery: d, released: true, fresh: d.group == j.collecting})
}

func (j *journal) incoming(k key, id uint16) { j.put(rowKey{k, true, id}, &row{fresh: true}) }

func (j *journal) put(k rowKey, r *row) {
	if !j.changed() {
		return
	}
	if old := j.batch.rows[k]; old != nil {
		r.fresh = old.fresh
	}
	j.batch.rows[k] = r
}

func (j *journal) removeDelivery(k key, id uint16) { j.remove(rowKey{k, false, id}) }

func (j *journal) removeIncoming(k key, id uint16) { j.remove(rowKey{k, true, id}) }

func (j *journal) remove(k rowKey) {
	if !j.changed() {
		return
	}
	if old := j.batch.rows[k]; old != nil && old.fresh && !old.removed {
		delete(j.batch.rows, k)
		return
	}
	j.batch.rows[k] = &row{removed: true}
}

func (j *journal) retained(m *message) {
	if j.changed() {
		j.batch.messages[m.Topic] = m
	}
}

// take puts in a message that the Taker wants.
func (j *journal) take(m *message) {
	if j.changed() {
		j.batch.taken = append(j.batch.taken, m.received())
	}
}

func (j *journal) removeRetained(topic string) {
	if j.changed() {
		j.batch.messages[topic] = nil
	}
}

// run writes groups until ctx ends, then what is left. It returns the last write's error. A write that has begun is not broken
// off: to be able to would cost a goroutine for each row.
func (j *journal) run(ctx context.Context, b *Broker) error {
	whole := context.WithoutCancel(ctx)
	if j.off {
		<-ctx.Done()
		return nil
	}
	for {
		select {
		case <-ctx.Done():
			return b.writeGroup(whole)
		case <-j.wake:
		}
		if b.journalBusy() {
			j.gather(ctx)
		}
		if err := b.writeGroup(whole); err != nil && ctx.Err() == nil {
			b.log.Error("mqtt: the database does not take what must be kept; acknowledgements wait", "error", err)
			pause(ctx, retryWrite)
			j.again()
		}
	}
}

// gather waits a moment for more to write, less where much comes.
func (j *journal) gather(ctx context.Context) {
	timer := time.NewTimer(gather)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-j.wake:
	}
}

func (j *journal) again() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// journalBusy reports whether more than one thing waits to be written: then it pays to wait for more.
func (b *Broker) journalBusy() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.journal.batch.size() > 1
}

// writeGroup writes what is collected, in one transaction, and lets go what waited for it.
func (b *Broker) writeGroup(ctx context.Context) error {
	j := &b.journal
	b.mu.Lock()
	group, number := j.batch, j.collecting
	j.batch = newBatch()
	j.collecting++
	b.mu.Unlock()
	var err error
	if group.size() > 0 {
		err = b.store.WriteQuietly(ctx, func(q *store.Queries) error { return group.write(ctx, q, b.taker) })
	}
	if err == nil && len(group.taken) > 0 {
		b.taker.Taken(group.taken)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	j.problem = err
	if err != nil {
		j.batch.mergeInto(group)
		j.batch = group
		return err
	}
	j.committed = number
	for c := range b.waiting {
		c.wakeUp()
	}
	clear(b.waiting)
	close(b.commit)
	b.commit = make(chan struct{})
	return nil
}

// mergeInto adds what was collected later to a group that could not be written.
func (b *batch) mergeInto(older *batch) {
	for k := range b.forget {
		older.drop(k)
		older.forget[k] = struct{}{}
	}
	for k, v := range b.sessions {
		older.sessions[k] = v
	}
	for k, v := range b.subscriptions {
		older.subscriptions[k] = v
	}
	for k, v := range b.rows {
		if old := older.rows[k]; old != nil {
			v.fresh = v.fresh && old.fresh
		}
		older.rows[k] = v
	}
	for k, v := range b.messages {
		older.messages[k] = v
	}
	older.taken = append(older.taken, b.taken...)
}

// drop takes out what a group has of an MQTT session.
func (b *batch) drop(k key) {
	delete(b.sessions, k)
	for f := range b.subscriptions {
		if f.key == k {
			delete(b.subscriptions, f)
		}
	}
	for r := range b.rows {
		if r.key == k {
			delete(b.rows, r)
		}
	}
}

func (b *batch) write(ctx context.Context, q *store.Queries, taker messaging.Taker) error {
	w := writer{ctx: ctx, q: q}
	for k := range b.forget {
		w.forget(k)
	}
	for k, s := range b.sessions {
		w.session(k, s)
	}
	for k, s := range b.subscriptions {
		w.subscription(k, s)
	}
	for k, r := range b.rows {
		w.row(k, r)
	}
	for topic, m := range b.messages {
		w.message(topic, m)
	}
	if len(b.taken) > 0 {
		w.do(taker.Take(ctx, q, b.taken))
	}
	return w.err
}

// writer runs statements until one fails.
type writer struct {
	ctx context.Context
	q   *store.Queries
	err error
}

func (w *writer) do(err error) {
	if err != nil && w.err == nil {
		w.err = err
	}
}

func (w *writer) forget(k key) {
	w.do(w.q.RemoveMQTTSession(w.ctx, store.RemoveMQTTSessionParams{Principal: k.principal, ClientID: k.clientID}))
	w.do(w.q.RemoveMQTTSubscriptions(w.ctx, store.RemoveMQTTSubscriptionsParams{Principal: k.principal, ClientID: k.clientID}))
	w.do(w.q.RemoveMQTTInflights(w.ctx, store.RemoveMQTTInflightsParams{Principal: k.principal, ClientID: k.clientID}))
}

func (w *writer) session(k key, s *storedSession) {
	w.do(w.q.PutMQTTSession(w.ctx, store.PutMQTTSessionParams{Principal: k.principal, ClientID: k.clientID,
		State: marshal(s), DisconnectedAt: s.gone}))
}

func (w *writer) subscription(k filterKey, s *subscription) {
	if s == nil {
		w.do(w.q.RemoveMQTTSubscription(w.ctx, store.RemoveMQTTSubscriptionParams{Principal: k.principal, ClientID: k.clientID, Filter: k.filter}))
		return
	}
	w.do(w.q.PutMQTTSubscription(w.ctx, store.PutMQTTSubscriptionParams{Principal: k.principal, ClientID: k.clientID,
		Filter: k.filter, Options: marshal(newStoredOptions(s))}))
}

func (w *writer) row(k rowKey, r *row) {
	incoming := int64(0)
	if k.incoming {
		incoming = 1
	}
	if r.removed {
		w.do(w.q.RemoveMQTTInflight(w.ctx, store.RemoveMQTTInflightParams{Principal: k.principal, ClientID: k.clientID,
			Incoming: incoming, PacketID: int64(k.id)}))
		return
	}
	p := store.PutMQTTInflightParams{Principal: k.principal, ClientID: k.clientID, Incoming: incoming, PacketID: int64(k.id), Packet: []byte{}}
	if d := r.delivery; d != nil {
		p.Position, p.Sender, p.At, p.ExpiresAt = d.position, d.from, store.Millis(d.at), expiresAt(d.message)
		if r.released {
			p.Released = 1
		} else {
			packet, err := mqtt.Encode(d.stored5(), mqtt.V5)
			w.do(err)
			p.Packet = packet
		}
	}
	w.do(w.q.PutMQTTInflight(w.ctx, p))
}

func (w *writer) message(topic string, m *message) {
	if m == nil {
		w.do(w.q.RemoveMQTTRetained(w.ctx, topic))
		return
	}
	w.do(w.q.PutMQTTRetained(w.ctx, store.PutMQTTRetainedParams{Topic: topic, Payload: m.Payload, Qos: int64(m.QoS),
		Properties: marshal(newStoredProperties(m)), Sender: m.from, Owner: m.owner, At: store.Millis(m.at), ExpiresAt: expiresAt(m)}))
}

func expiresAt(m *message) *int64 {
	if m.expires.IsZero() {
		return nil
	}
	return store.MillisOf(&m.expires)
}

func marshal(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain structs of this package
	}
	return string(text)
}
