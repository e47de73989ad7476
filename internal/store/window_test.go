package store

import (
	"errors"
	"math"
	"testing"
)

func TestWindowIsNarrowed(t *testing.T) {
	t.Parallel()
	const minute = 60_000
	looks := 0
	at := func(n int64) (int64, error) { // one a minute; every second number was removed, and the last after it was looked for
		if looks++; n > 1_000_998 {
			return 0, ErrNotFound
		}
		return (n + n%2) * minute, nil
	}
	for _, c := range []struct{ since, until, after, before int64 }{
		{0, math.MaxInt64, 0, math.MaxInt64},
		{500_000 * minute, math.MaxInt64, 499_988, math.MaxInt64},
		{500_000 * minute, 500_001 * minute, 499_988, 500_011},
		{0, 5 * minute, 0, 1001},
		{2_000_000 * minute, math.MaxInt64, 1_000_998, math.MaxInt64},
	} {
		w := Window{Before: math.MaxInt64, Since: c.since, Until: c.until}
		if err := w.Narrow(1001, 1_001_000, at); err != nil || w.After != c.after || w.Before != c.before {
			t.Errorf("%+v: %+v, %v", c, w, err)
		}
	}
	if looks > 200 {
		t.Errorf("%d looks", looks)
	}
	w, lost := Window{Since: 7_000_000}, errors.New("lost")
	if err := w.Narrow(1, 100, func(int64) (int64, error) { return 0, lost }); err != lost {
		t.Error(err)
	}
}
