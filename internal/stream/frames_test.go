package stream

import (
	"strings"
	"testing"
)

// Rule 30: a wall clock that is set neither makes every peer look dead nor hides for hours that one is. Silence is
// measured by the monotonic clock, whose reading package time prints as m=.
func TestSilenceIsMonotonic(t *testing.T) {
	c := &FrameConn{}
	c.Hear()
	if heard := c.Heard().String(); !strings.Contains(heard, " m=") {
		t.Errorf("heard at %s, by the wall clock", heard)
	}
}
