package incoming

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/aditdev/adit/internal/store"
)

// snapshot is every source, ready to take requests: the door asks no database to know one.
type snapshot struct {
	version string
	bySlug  map[[32]byte]*source // by hash, so that no comparison tells how much of a slug is right
	byID    map[string]*source
}

// source is one in a snapshot.
type source struct {
	ID, Slug, Name string
	Settings
	enabled bool
	secrets []secret
	parts   []part // of what kind hmac signs
	limit   *rate.Limiter
	tally   *tally

	unverified *atomic.Int64 // bytes of bodies in memory that nobody has verified yet
}

type secret struct {
	text    string
	expires time.Time // zero: never
}

// Reload reads the sources anew.
func (h *Hooks) Reload(ctx context.Context) error {
	h.reload.Lock()
	defer h.reload.Unlock()
	q := h.Store.Read()
	version, err := q.GetSetting(ctx, versionOfSources)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("read sources: %w", err)
	}
	rows, err := q.HookSources(ctx)
	if err != nil {
		return fmt.Errorf("read sources: %w", err)
	}
	secrets, err := q.HookSourceSecrets(ctx)
	if err != nil {
		return fmt.Errorf("read sources: %w", err)
	}
	next := &snapshot{version: version, bySlug: map[[32]byte]*source{}, byID: map[string]*source{}}
	for _, row := range rows {
		s := h.ready(row)
		next.bySlug[sha256.Sum256([]byte(s.Slug))], next.byID[s.ID] = s, s
	}
	for _, row := range secrets {
		plain, err := h.Sealer.Open(sealName(row.ID), row.Sealed)
		if err != nil {
			return fmt.Errorf("read sources: %w", err)
		}
		opens := secret{text: string(plain)}
		if row.ExpiresAt != nil {
			opens.expires = store.Time(*row.ExpiresAt)
		}
		if s := next.byID[row.SourceID]; s != nil {
			s.secrets = append(s.secrets, opens)
		}
	}
	h.known.Store(next)
	return nil
}

func (h *Hooks) ready(row store.HookSource) *source {
	s := &source{ID: row.ID, Slug: row.Slug, Name: row.Name, Settings: settingsOf(row), enabled: row.Enabled}
	if s.Verify.Kind == VerifyHMAC {
		s.parts, _ = s.Verify.parts() // checked when it was written
	}
	if old := h.source(row.ID); old != nil {
		s.limit, s.tally, s.unverified = old.limit, old.tally, old.unverified
		s.limit.SetLimit(rate.Limit(s.Rate))
		s.limit.SetBurst(s.Burst)
		return s
	}
	s.limit, s.tally, s.unverified = rate.NewLimiter(rate.Limit(s.Rate), s.Burst), &tally{}, &atomic.Int64{}
	return s
}

// hold begins a share of the memory for a body of the source.
func (s *source) hold(budget *semaphore.Weighted) *hold {
	return &hold{budget: budget, unverified: s.unverified, most: max(maxInMemory/4, s.MaxBytes+1)}
}

// source is the one of an id; nil where there is none.
func (h *Hooks) source(id string) *source {
	if known := h.known.Load(); known != nil {
		return known.byID[id]
	}
	return nil
}

// NameOf is what a source is called; "" where it is not there any more.
func (h *Hooks) NameOf(id string) string {
	if s := h.source(id); s != nil {
		return s.Name
	}
	return ""
}

// lookup finds a source that takes requests; it costs the same whether there is one.
func (h *Hooks) lookup(slug string) *source {
	if s := h.known.Load().bySlug[sha256.Sum256([]byte(slug))]; s != nil && s.enabled {
		return s
	}
	return nil
}

// follow reads the sources anew when another process changed them.
func (h *Hooks) follow(ctx context.Context) error {
	return h.Store.Follow(ctx, func(ctx context.Context) error {
		version, err := h.Store.Read().GetSetting(ctx, versionOfSources)
		if errors.Is(err, store.ErrNotFound) || err == nil && version == h.known.Load().version {
			return nil
		}
		if err != nil {
			return fmt.Errorf("follow sources: %w", err)
		}
		return h.Reload(ctx)
	})
}
