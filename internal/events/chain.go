package events

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/aditdev/adit/internal/store"
)

// hashOf is an event's link of the chain: SHA-256 over the text of chainVersion, the hash of the event before, and the id,
// type, at (decimal milliseconds), device, user and data of this one. Each stands behind its length in bytes, eight of them,
// big-endian; one that is NULL is a length of all ones and nothing behind it.
func hashOf(before []byte, row store.Event) []byte {
	b := make([]byte, 0, 512)
	field := func(text string) {
		b = binary.BigEndian.AppendUint64(b, uint64(len(text)))
		b = append(b, text...)
	}
	optional := func(text *string) {
		if text == nil {
			b = binary.BigEndian.AppendUint64(b, ^uint64(0))
			return
		}
		field(*text)
	}
	field(chainVersion)
	field(string(before))
	field(strconv.FormatInt(row.ID, 10))
	field(row.Type)
	field(strconv.FormatInt(row.At, 10))
	optional(row.DeviceID)
	optional(row.UserID)
	field(row.Data)
	sum := sha256.Sum256(b)
	return sum[:]
}

const chainVersion = "event/1"

// link appends a row to the chain, in a transaction under way: nobody else writes between its reading and its writing.
func link(ctx context.Context, q *store.Queries, row store.Event) error {
	chain, err := q.GetEventChain(ctx)
	if err != nil {
		return err
	}
	row.ID = chain.HeadID + 1
	put := func() error {
		row.Hash = hashOf(chain.HeadHash, row)
		return q.AppendEvent(ctx, store.AppendEventParams(row))
	}
	err = put()
	if store.IsConflict(err) { // somebody put in an event there. Verify says so; the hub must go on
		if row.ID, err = q.LastEventID(ctx); err != nil {
			return err
		}
		row.ID++
		err = put()
	}
	if err != nil {
		return err
	}
	return q.MoveEventHead(ctx, store.MoveEventHeadParams{ID: row.ID, Hash: row.Hash})
}

// Head is the newest event's place in the chain. Who keeps it elsewhere can ask later whether that event is still what it was.
type Head struct {
	ID   int64
	Hash []byte
}

// Verdict is what Verify found.
type Verdict struct {
	First, Last int64 // of the events whose hashes were checked; zero where there are none
	Checked     int64 // how many
	Before      int64 // events from before the chain, which nothing vouches for
	Head        Head
	Broken      *Break // nil: the chain holds
}

// Break is the first place at which the chain does not hold.
type Break struct {
	ID   int64  // the event there, or the first that is missing
	Kind string // Changed, Missing or Inserted
	Text string // for people
}

// The kinds of Break.
const (
	Changed  = "changed"
	Missing  = "missing"
	Inserted = "inserted"
)

// Verify walks the whole chain in one snapshot of the database. Where known is not nil, the event of that id must have that
// hash too: it finds a chain that somebody computed anew. The error is the database's; what is wrong with the chain is in the
// Verdict.
func (l *Log) Verify(ctx context.Context, known *Head) (v Verdict, err error) {
	err = l.store.Snapshot(ctx, func(q *store.Queries) error {
		chain, err := q.GetEventChain(ctx)
		if err != nil {
			return err
		}
		w := walk{verdict: &v, chain: chain, id: chain.AnchorID, hash: chain.AnchorHash, known: known}
		v.Head = Head{ID: chain.HeadID, Hash: chain.HeadHash}
		if err := w.before(ctx, q); err != nil {
			return err
		}
		return w.run(ctx, q)
	})
	if err != nil {
		return v, fmt.Errorf("verify events: %w", err)
	}
	return v, nil
}

// walk is Verify on its way: everything up to id holds, and hash is that event's.
type walk struct {
	verdict *Verdict
	chain   store.EventChain
	id      int64
	hash    []byte
	known   *Head
}

// before looks at what lies at the anchor or before it.
func (w *walk) before(ctx context.Context, q *store.Queries) error {
	n, err := q.CountEventsTo(ctx, w.chain.AnchorID)
	if err != nil {
		return err
	}
	switch w.verdict.Before = n.Events; {
	case n.Events > 0 && len(w.chain.AnchorHash) > 0:
		first, err := q.FirstEventID(ctx)
		w.verdict.Before = 0
		w.broken(first, Inserted, "event %d was put in: retention had removed every event up to %d", first, w.chain.AnchorID)
		return err
	case n.Hashed > 0:
		w.broken(w.chain.AnchorID, Changed, "the chain's beginning was moved to event %d, behind events that have hashes", w.chain.AnchorID)
	}
	return nil
}

func (w *walk) run(ctx context.Context, q *store.Queries) error {
	for w.verdict.Broken == nil {
		rows, err := q.EventsAfter(ctx, store.EventsAfterParams{After: w.id, AtMost: 1000})
		if err != nil {
			return err
		}
		for _, row := range rows {
			if !w.step(row) {
				return nil
			}
		}
		if len(rows) == 0 {
			w.end()
			return nil
		}
	}
	return nil
}

// step checks the next row. It reports whether the chain holds so far.
func (w *walk) step(row store.Event) bool {
	switch {
	case row.ID > w.chain.HeadID && w.id < w.chain.HeadID:
		return w.broken(w.id+1, Missing, "events %d to %d are missing", w.id+1, w.chain.HeadID)
	case row.ID > w.chain.HeadID:
		return w.broken(row.ID, Inserted, "event %d was put in: the hub wrote none behind %d", row.ID, w.chain.HeadID)
	case row.ID != w.id+1:
		return w.broken(w.id+1, Missing, "%s missing", span(w.id+1, row.ID-1))
	case len(row.Hash) == 0:
		return w.broken(row.ID, Inserted, "event %d was put in: it has no hash", row.ID)
	}
	if hash := hashOf(w.hash, row); string(hash) != string(row.Hash) {
		return w.broken(row.ID, Changed, "event %d is not what the hub wrote", row.ID)
	}
	if w.known != nil && w.known.ID == row.ID && string(w.known.Hash) != string(row.Hash) {
		return w.broken(row.ID, Changed, "event %d has another hash than the one that you gave: the chain was computed anew", row.ID)
	}
	w.id, w.hash = row.ID, row.Hash
	if w.verdict.Checked == 0 {
		w.verdict.First = row.ID
	}
	w.verdict.Last = row.ID
	w.verdict.Checked++
	return true
}

// end looks at how the chain ends.
func (w *walk) end() {
	switch known := w.known; {
	case w.id < w.chain.HeadID:
		w.broken(w.id+1, Missing, "%s missing at the end", span(w.id+1, w.chain.HeadID))
	case string(w.hash) != string(w.chain.HeadHash):
		w.broken(w.id, Changed, "event %d is not the one that the hub wrote last", w.id)
	case known != nil && known.ID > w.chain.HeadID:
		w.broken(known.ID, Missing, "event %d, whose hash you gave, is missing", known.ID)
	case known != nil && known.ID == w.chain.AnchorID && string(known.Hash) != string(w.chain.AnchorHash):
		w.broken(known.ID, Changed, "the anchor, event %d, has another hash than the one that you gave", known.ID)
	}
}

func (w *walk) broken(id int64, kind, text string, args ...any) bool {
	w.verdict.Broken = &Break{ID: id, Kind: kind, Text: fmt.Sprintf(text, args...)}
	return false
}

func span(from, to int64) string {
	if from == to {
		return fmt.Sprintf("event %d is", from)
	}
	return fmt.Sprintf("events %d to %d are", from, to)
}
