package agent

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/wire"
)

// A disk that has become read-only must not take the device away: the agent says so and runs.
func TestRunOnAReadOnlyDisk(t *testing.T) {
	rootOnly(t)
	p, c, _ := installed(t)
	if _, err := os.Create(p.Lock()); err != nil {
		t.Fatal(err)
	}
	d := newTestDevice(t, p, c) // makes the host key
	first := d.instance()
	mount := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
			t.Fatalf("mount %v: %v %s", args, err, out)
		}
	}
	mount("--bind", p.Dir, p.Dir)
	t.Cleanup(func() { _ = exec.Command("umount", p.Dir).Run() })
	mount("-o", "remount,ro,bind", p.Dir)
	if second := d.instance(); second.Counter <= first.Counter || second.Random == first.Random {
		t.Errorf("%+v after %+v", second, first)
	}
	ctx, cancel := context.WithCancel(t.Context())
	logs := &lineWaiter{want: "hub not reached", found: cancel}
	if err := Run(ctx, p, logs); err != nil || !errors.Is(ctx.Err(), context.Canceled) {
		t.Errorf("Run: %v", err)
	}
}

func TestRunSaysWhatKeepsItFromRunning(t *testing.T) {
	p, c, _ := installed(t)
	c.Hub = "ftp://hub"
	if err := c.save(p.Config()); err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), p, t.Output()); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("wrong settings: %v", err)
	}
	if err := Run(t.Context(), newPlace(t), t.Output()); wire.CodeOf(err) != wire.NotFound {
		t.Errorf("not enrolled: %v", err)
	}
}

// lineWaiter calls found when a write has want in it.
type lineWaiter struct {
	want  string
	found func()
}

func (l *lineWaiter) Write(p []byte) (int, error) {
	if strings.Contains(string(p), l.want) {
		l.found()
	}
	return len(p), nil
}

// sshd's newer options are used only where sshd knows them and has no value for them.
func TestPenaltyExemption(t *testing.T) {
	p, c, _ := installed(t)
	const option = "PerSourcePenaltyExemptList"
	for shown, want := range map[string]bool{"persourcepenaltyexemptlist none": true, "persourcepenaltyexemptlist 10.0.0.0/8": false, "port 22": false} {
		fake := p.file("fake-sshd")
		if err := os.WriteFile(fake, []byte("#!/bin/sh\necho '"+shown+"'\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		tr := truster{paths: p, config: c, program: "/usr/local/bin/adit", sshd: sshd{program: fake, config: "/dev/null"}}
		text := tr.dropIn(t.Context())
		if strings.Contains(text, option) != want {
			t.Errorf("sshd -T says %q:\n%s", shown, text)
		}
		if !strings.Contains(text, "agent principals --dir "+p.Dir+" %u\n") {
			t.Error(text)
		}
	}
}
