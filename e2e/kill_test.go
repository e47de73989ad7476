//go:build linux

package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite"
)

// soakFor is how long a trial lasts: as ADIT_SOAK says, else the given time.
func soakFor(t *testing.T, otherwise time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv("ADIT_SOAK")
	if text == "" {
		return otherwise
	}
	duration, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return duration
}

// Hub and agent are killed at random moments, again and again, while somebody writes through the API. Everything comes
// back by itself, and nothing that was acknowledged is lost. `make soak` does it for five minutes.
func TestKill(t *testing.T) {
	t.Parallel()
	duration := soakFor(t, 25*time.Second)
	r := newRig(t, "nginx")
	r.startSSHD()
	r.install()

	ctx, cancel := context.WithCancel(context.Background())
	var writer sync.WaitGroup
	var written []string
	writer.Go(func() { written = r.write(ctx) })
	hubs, agents := r.killFor(duration)
	cancel()
	writer.Wait()

	promised(t, noticedWithin, "kitchen online after it all", r.online("kitchen", true))
	t.Logf("killed the hub %d times and the agent %d times; %d writes were acknowledged", hubs, agents, len(written))
	if hubs == 0 || agents == 0 || len(written) == 0 {
		t.Error("the test proved nothing")
	}
	r.allThere(written)
	r.login()
	if got := r.adit(context.Background(), "ssh", login+"@kitchen", "hostname").text(t); got != "kitchen\n" {
		t.Errorf("adit ssh said %q", got)
	}
	r.stopHub("KILL")
	r.intact()
}

// killFor kills one or the other every few seconds, each twice at least, and starts the hub again as a container's platform would.
func (r *rig) killFor(duration time.Duration) (hubs, agents int) {
	r.t.Helper()
	for began := time.Now(); time.Since(began) < duration || hubs < 2 || agents < 2; {
		passes(500*time.Millisecond + rand.N(5*time.Second)) // at random: that is the point
		if agents > hubs+2 || hubs <= agents+2 && rand.IntN(2) == 0 {
			r.stopHub("KILL")
			r.startHub()
			hubs++
			continue
		}
		r.device.sh(`for p in /proc/[0-9]*; do if tr '\0' ' ' <$p/cmdline | grep -q '[a]dit agent run'; then kill -9 ${p#/proc/}; fi; done 2>/dev/null`)
		agents++
	}
	return hubs, agents
}

// write makes API tokens until ctx ends, and gives the ids of those that the hub acknowledged.
func (r *rig) write(ctx context.Context) []string {
	var ids []string
	for n := 0; ctx.Err() == nil; n++ {
		var token struct{ ID string }
		if r.call("POST", "/api/v1/tokens", ask{"name": fmt.Sprint("soak ", n), "expires_in": 3600}, &token) == nil {
			ids = append(ids, token.ID)
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	return ids
}

func (r *rig) allThere(ids []string) {
	r.t.Helper()
	var tokens []struct{ ID string }
	if err := r.call("GET", "/api/v1/tokens", nil, &tokens); err != nil {
		r.t.Fatal(err)
	}
	there := map[string]bool{}
	for _, token := range tokens {
		there[token.ID] = true
	}
	lost := 0
	for _, id := range ids {
		if !there[id] {
			lost++
		}
	}
	if lost > 0 {
		r.t.Errorf("%d of %d acknowledged writes are lost", lost, len(ids))
	}
}

// intact lets SQLite check the database that the killed hub left behind.
func (r *rig) intact() {
	r.t.Helper()
	files, err := filepath.Glob(filepath.Join(r.dir, "data", "*.db"))
	if err != nil || len(files) != 1 {
		r.t.Fatalf("database files: %v %v", files, err)
	}
	db, err := sql.Open("sqlite", files[0])
	if err != nil {
		r.t.Fatal(err)
	}
	defer db.Close()
	var result string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&result); err != nil || result != "ok" {
		r.t.Errorf("integrity_check: %s %v", result, err)
	}
}
