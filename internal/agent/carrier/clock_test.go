package carrier

import (
	"context"
	"encoding/pem"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Rule 30: a hub whose clock was once wrong by decades does not keep its agents out for good.
func TestHubTimeFarAhead(t *testing.T) {
	secure := httptest.NewUnstartedServer(hub(hubKey, nil))
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	secure.StartTLS()
	defer secure.Close()
	c := config(secure.URL)
	c.Dialer.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	if err := os.WriteFile(c.Dialer.CAFile, block, 0o600); err != nil {
		t.Fatal(err)
	}
	c.HubTime = secure.Certificate().NotAfter.Add(24 * time.Hour)
	seen := make(chan Status, 1000)
	c.Status = func(s Status) { seen <- s }
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, c) }()
	defer func() { cancel(); <-ended }()
	deadline, failed := time.After(time.Minute), false
	for {
		select {
		case s := <-seen:
			failed = failed || s.Cause == CauseClock
			if s.Online {
				if !failed || s.HubTime.After(c.HubTime) {
					t.Errorf("it never met the trouble: %+v", s)
				}
				return
			}
		case <-deadline:
			t.Fatal("the agent stays away")
		}
	}
}
