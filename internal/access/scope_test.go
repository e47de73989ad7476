package access

import "testing"

func TestScopesHoldOneAnother(t *testing.T) {
	t.Parallel()
	scopes := []Scope{"", ScopeRead, ScopeConnect, ScopeAll, "everything"}
	want := [][]bool{
		{false, false, false, false, false},
		{false, true, false, false, false},
		{false, true, true, false, false},
		{false, true, true, true, false},
		{false, false, false, false, false},
	}
	for i, s := range scopes {
		for j, least := range scopes {
			if got := s.Holds(least); got != want[i][j] {
				t.Errorf("%q holds %q: %v", s, least, got)
			}
		}
	}
}
