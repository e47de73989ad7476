package events

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/store"
)

// Filter says which events are wanted. The zero value wants all.
type Filter struct {
	Types        []string  // as Match has them; empty: every type
	Device, User string    // ids; empty: of any and of none
	Since, Until time.Time // of the hub's clock, both inclusive; zero: without end
	// Sees says whether the reader may know of an event, whose Data it does not look at; nil: of every one. Where Own and Near are set, it must hold of no event
	// that is neither of the user Own nor of a device in Near.
	Sees func(Event) bool
	Own  string
	Near []string
}

// Wants reports whether the filter lets an event through.
func (f *Filter) Wants(e Event) bool {
	return (len(f.Types) == 0 || Match(f.Types, e.Type)) && (f.Device == "" || f.Device == e.Device) && (f.User == "" || f.User == e.User) &&
		(f.Since.IsZero() || !e.At.Before(f.Since)) && (f.Until.IsZero() || !e.At.After(f.Until)) && (f.Sees == nil || f.Sees(e))
}

const (
	// maxLooked is how many events are read for one page: one whose filter lets little through is short then, and has a next.
	maxLooked = 1000
	// maxSources is how many indexed lists are merged for one page; with more, every event is looked at.
	maxSources = 64
	// A list is read so many events at once at first, and twice as many each time.
	minChunk = 50
	maxChunk = 400
)

// Page gives up to limit events before the id before (0: from the newest on), newest first. next is the before of the next
// page; 0 where there is none. A page may be short, or empty, and have a next.
func (l *Log) Page(ctx context.Context, f Filter, before int64, limit int) (list []Event, next int64, err error) {
	err = l.store.Snapshot(ctx, func(q *store.Queries) error {
		p := paging{filter: f, q: q}
		if err := p.begin(ctx, before); err != nil {
			return err
		}
		list, next, err = p.take(ctx, limit)
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("read events: %w", err)
	}
	return list, next, nil
}

// paging is one page on its way: lists of events, each newest first, that are merged by id.
type paging struct {
	filter  Filter
	q       *store.Queries
	sources []*source
	least   int64 // events before it are too old
}

// readList reads up to n events before an id, newest first.
type readList func(ctx context.Context, before, n int64) ([]store.Event, error)

// source is a list of events that an index holds in order.
type source struct {
	read   readList
	before int64
	chunk  int64
	rows   []store.Event // read and not taken
	ended  bool
}

// begin finds the lists for a filter, the narrowest first.
func (p *paging) begin(ctx context.Context, before int64) error {
	if before <= 0 {
		before = math.MaxInt64
	}
	if err := p.bound(ctx, &before); err != nil {
		return err
	}
	add := func(read readList) {
		p.sources = append(p.sources, &source{before: before, chunk: minChunk, read: read})
	}
	f := p.filter
	types, fits := expand(f.Types)
	switch {
	case f.Device != "":
		add(p.ofDevice(f.Device))
	case f.Own != "" && f.User != "" && f.User != f.Own: // those of their devices that another did
		add(p.ofUser(f.User))
	case f.Own != "" && f.User == "" && len(f.Near) < maxSources:
		add(p.ofUser(f.Own))
		for _, device := range f.Near {
			add(p.ofDevice(device))
		}
	case f.User != "":
		add(p.ofUser(f.User))
	case len(types) > 0 && fits:
		for _, kind := range types {
			add(func(ctx context.Context, before, n int64) ([]store.Event, error) {
				return p.q.EventsOfType(ctx, store.EventsOfTypeParams{Type: kind, Before: before, AtMost: n})
			})
		}
	default:
		add(func(ctx context.Context, before, n int64) ([]store.Event, error) {
			return p.q.EventsBefore(ctx, store.EventsBeforeParams{Before: before, AtMost: n})
		})
	}
	return nil
}

func (p *paging) ofDevice(id string) readList {
	return func(ctx context.Context, before, n int64) ([]store.Event, error) {
		return p.q.EventsOfDevice(ctx, store.EventsOfDeviceParams{DeviceID: &id, Before: before, AtMost: n})
	}
}

func (p *paging) ofUser(id string) readList {
	return func(ctx context.Context, before, n int64) ([]store.Event, error) {
		return p.q.EventsOfUser(ctx, store.EventsOfUserParams{UserID: &id, Before: before, AtMost: n})
	}
}

// expand gives the types that patterns stand for, and whether they are few enough. A * stands for what is in the catalogue: hubs
// write nothing else.
func expand(patterns []string) (types []string, ok bool) {
	for _, t := range Types() {
		if Match(patterns, t.Name) {
			types = append(types, t.Name)
		}
	}
	for _, p := range patterns {
		if !strings.HasSuffix(p, "*") && !slices.Contains(types, p) {
			types = append(types, p)
		}
	}
	return types, len(types) <= maxSources && !slices.Contains(patterns, "*")
}

// bound turns the filter's times into ids. Ids rise with time, so it takes a few looks; where the hub's clock was put back the
// edges are not exact, and the filter's own comparison stays.
func (p *paging) bound(ctx context.Context, before *int64) error {
	if p.filter.Since.IsZero() && p.filter.Until.IsZero() {
		return nil
	}
	first, err := p.q.FirstEventID(ctx)
	if err != nil {
		return err
	}
	last, err := p.q.LastEventID(ctx)
	if err != nil {
		return err
	}
	// after is the first id whose time is past at.
	after := func(at int64) int64 {
		return first + int64(sort.Search(int(last-first+1), func(i int) bool {
			t, failed := p.q.EventTime(ctx, first+int64(i))
			if failed != nil {
				err = failed
			}
			return t > at
		}))
	}
	if !p.filter.Since.IsZero() {
		p.least = after(store.Millis(p.filter.Since) - 1)
	}
	if !p.filter.Until.IsZero() {
		*before = min(*before, after(store.Millis(p.filter.Until)))
	}
	return err
}

func (p *paging) take(ctx context.Context, limit int) (list []Event, next int64, err error) {
	for last, looked := int64(0), 0; ; looked++ {
		row, ok, err := p.newest(ctx)
		if err != nil || !ok || row.ID < p.least {
			return list, 0, err
		}
		if looked >= maxLooked || len(list) == limit {
			return list, row.ID + 1, nil
		}
		if row.ID == last { // in two lists
			continue
		}
		last = row.ID
		if p.filter.Wants(bare(row)) {
			list = append(list, event(row))
		}
	}
}

// newest takes the newest event of all lists; ok is false where they have ended.
func (p *paging) newest(ctx context.Context) (row store.Event, ok bool, err error) {
	var from *source
	for _, s := range p.sources {
		if err := s.fill(ctx); err != nil {
			return row, false, err
		}
		if len(s.rows) > 0 && (from == nil || s.rows[0].ID > from.rows[0].ID) {
			from = s
		}
	}
	if from == nil {
		return row, false, nil
	}
	row, from.rows = from.rows[0], from.rows[1:]
	return row, true, nil
}

func (s *source) fill(ctx context.Context) (err error) {
	if len(s.rows) > 0 || s.ended {
		return nil
	}
	s.rows, err = s.read(ctx, s.before, s.chunk)
	n := len(s.rows)
	if n > 0 {
		s.before = s.rows[n-1].ID
	}
	s.ended = int64(n) < s.chunk
	s.chunk = min(2*s.chunk, maxChunk)
	return err
}
