package agent

import (
	"testing"
	"time"
)

// The hub makes certificates for the clock that the agent tells it. Whatever the agent knows better, its own SSH server
// goes by that clock: a board that starts in 1970 would let nobody in.
func TestBuiltinGoesByTheClockThatTheHubWasTold(t *testing.T) {
	rootOnly(t)
	p, c, ca := installed(t)
	if err := writeHubTime(p.HubTime(), time.Now().Add(1000*time.Hour)); err != nil {
		t.Fatal(err)
	}
	c.Services.SSH = sshBuiltin
	if out, err := throughBuiltin(t, newTestDevice(t, p, c), p, ca, "echo in"); err != nil || out != "in\n" {
		t.Errorf("%q, %v", out, err)
	}
}
