package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// pollEvery is how soon a hub sees what another process wrote into its database: `adit-hub grant` takes effect within it.
const pollEvery = 250 * time.Millisecond

func (s *Store) announce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.committed)
	s.committed = make(chan struct{})
}

func (s *Store) nextCommit() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.committed
}

// Follow calls fn at once and after every commit, of this process or another, until ctx ends or fn fails. Commits that
// come while fn runs are told by one further call. It returns fn's error, or nil when ctx ended.
func (s *Store) Follow(ctx context.Context, fn func(context.Context) error) error {
	conn, err := s.r.Conn(ctx)
	if err != nil {
		return ended(ctx, fmt.Errorf("follow database: %w", err))
	}
	defer conn.Close()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for version := int64(-1); ; {
		commit := s.nextCommit()
		if version, err = dataVersion(ctx, conn); err != nil {
			return ended(ctx, err)
		}
		if err := fn(ctx); err != nil {
			return ended(ctx, err)
		}
		if err := waitForCommit(ctx, conn, version, commit, tick.C); err != nil {
			return ended(ctx, err)
		}
	}
}

func waitForCommit(ctx context.Context, conn *sql.Conn, seen int64, commit <-chan struct{}, tick <-chan time.Time) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-commit:
			return nil
		case <-tick:
			if now, err := dataVersion(ctx, conn); err != nil || now != seen {
				return err
			}
		}
	}
}

// dataVersion moves when another connection has committed (sqlite.org/pragma.html#pragma_data_version).
func dataVersion(ctx context.Context, conn *sql.Conn) (v int64, err error) {
	if err = conn.QueryRowContext(ctx, "PRAGMA data_version").Scan(&v); err != nil {
		return 0, fmt.Errorf("follow database: %w", err)
	}
	return v, nil
}

func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
