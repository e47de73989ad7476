package store

import (
	"errors"
	"math"
	"sort"
)

// Window is the part of a list that is asked for: numbers between After and Before, both exclusive, and times from Since to Until, the second
// exclusive. The newest come first.
type Window struct {
	After, Before, Since, Until, AtMost int64
}

// unsteady is by how much times may be out of the order of their numbers, in milliseconds: what came first may have been read last, and
// clocks are put right.
const unsteady = 10 * 60 * 1000

// Narrow bounds the numbers by the times, so that what is too old or too new is not read for nothing. first and last are the numbers that
// there are; at gives the time of the first row from a number on, and ErrNotFound where there is none any more.
func (w *Window) Narrow(first, last int64, at func(number int64) (int64, error)) (err error) {
	from := func(time int64) int64 {
		return first + int64(sort.Search(int(last-first+1), func(i int) bool {
			t, failed := at(first + int64(i))
			if failed != nil && !errors.Is(failed, ErrNotFound) {
				err = failed
			}
			return failed != nil || t >= time
		}))
	}
	if w.Since > 0 {
		w.After = max(w.After, from(w.Since-unsteady)-1)
	}
	if w.Until < math.MaxInt64-unsteady {
		w.Before = min(w.Before, from(w.Until+unsteady))
	}
	return err
}
