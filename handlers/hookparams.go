package handlers

import (
	"strconv"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

// hookPage reads what part of a list of deliveries or requests is wanted.
func hookPage(limit *int, before *string) (n int, from int64, err error) {
	n = 50
	if limit != nil {
		n = *limit
	}
	if n < 1 || n > 200 {
		return 0, 0, invalidQuery("limit", "1 to 200.")
	}
	if before != nil {
		if from, err = strconv.ParseInt(*before, 10, 64); err != nil || from < 1 {
			return 0, 0, invalidQuery("before", "The next of an earlier page.")
		}
	}
	return n, from, nil
}

// nextPage is what the next page begins with; nil where there is none.
func nextPage(next int64) *string {
	if next == 0 {
		return nil
	}
	return new(strconv.FormatInt(next, 10))
}

// overlapOf reads how long an old secret still counts; nil where that is not said.
func overlapOf(text *string) (*time.Duration, error) {
	if value(text) == "" {
		return nil, nil
	}
	d, err := time.ParseDuration(*text)
	if err != nil {
		hint := "An overlap is a duration from 0s to 720h."
		return nil, &wire.Error{Code: wire.Invalid, Message: hint, Fields: map[string]string{"overlap": hint}}
	}
	return &d, nil
}
