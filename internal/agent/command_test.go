package agent

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/agent/runner"
	"github.com/aditdev/adit/internal/wire"
)

// withCommand is a device whose owner lets the hub count how often a command ran.
func withCommand(t *testing.T) (Paths, Config, string) {
	t.Helper()
	p, c, _ := installed(t)
	count := filepath.Join(t.TempDir(), "count")
	command := runner.DefaultCommand()
	command.Name, command.Argv, command.Parameters = "count", []string{"/bin/sh", "-c", `echo "$1" >>"$0"; echo counted`, count, "{what}"}, []string{"what=[a-z]{1,9}"}
	if os.Geteuid() == 0 {
		command.User = "root"
	}
	c.Policy.Run, c.Commands = true, []runner.Command{command}
	return p, c, count
}

func runCount(t *testing.T, d *device, id, what string) (any, error) {
	t.Helper()
	params, err := json.Marshal(wire.Run{ID: id, Command: "count", Arguments: map[string]string{"what": what}})
	if err != nil {
		t.Fatal(err)
	}
	return d.Call(t.Context(), wire.MethodRun, params)
}

// The call of a hub that repeats it does not run the command twice, whatever the calls' own ids are, also when the agent was
// started anew in between.
func TestRunCall(t *testing.T) {
	p, c, count := withCommand(t)
	for range 2 {
		d := newTestDevice(t, p, c)
		for range 2 {
			got, err := runCount(t, d, "req_1", "one")
			if result, ok := got.(wire.RunResult); err != nil || !ok || string(result.Stdout) != "counted\n" {
				t.Fatalf("%+v, %v", got, err)
			}
		}
	}
	if data, err := os.ReadFile(count); err != nil || string(data) != "one\n" {
		t.Errorf("it ran: %q, %v", data, err)
	}
	if changes(wire.MethodRun) {
		t.Error("answers of runs are kept by the call's id too")
	}
	if info, err := os.Stat(p.Runs()); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// What nobody's agent.toml allows is off: a policy alone runs nothing, and commands alone do not either.
func TestRunIsOffUnlessTheOwnerSaysSo(t *testing.T) {
	p, c, count := withCommand(t)
	if DefaultPolicy().Run {
		t.Error("a new device lets its hub run commands")
	}
	c.Policy.Run = DefaultPolicy().Run
	if _, err := runCount(t, newTestDevice(t, p, c), "req_1", "one"); wire.CodeOf(err) != wire.Forbidden {
		t.Errorf("without the policy: %v", err)
	}
	c.Policy.Run, c.Commands = true, nil
	if _, err := runCount(t, newTestDevice(t, p, c), "req_1", "one"); wire.CodeOf(err) != wire.NotFound || !strings.Contains(err.Error(), "names none") {
		t.Errorf("without commands: %v", err)
	}
	if exists(count) {
		t.Error("it ran")
	}
}

// The hub learns names and patterns, and nothing of what is run.
func TestCommandsAreTold(t *testing.T) {
	p, c, count := withCommand(t)
	report, err := newTestDevice(t, p, c).report(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	facts := string(report.Facts)
	if !strings.Contains(facts, `"commands":[{"name":"count","parameters":[{"name":"what","pattern":"[a-z]{1,9}"}]}]`) || strings.Contains(facts, count) {
		t.Error(facts)
	}
	board := newBoard(c, p, nil)
	board.mqtt = &mqttSide{}
	status := board.status()
	if !status.MayRun || status.Commands == nil || commandsText(status.Commands, true) != "The hub may run count what=….\n" {
		t.Errorf("%+v %q", status.Commands, commandsText(status.Commands, status.MayRun))
	}
	if got := commandsText(status.Commands, false); !strings.Contains(got, "policy.run is false") {
		t.Error(got)
	}
}

// Answers go by age and by number, so that they do not fill a small flash.
func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	a := answers{filepath.Join(t.TempDir(), "answers"), time.Hour, 3}
	old := time.Now().Add(-30 * time.Minute)
	for i := range 6 {
		id := strconv.Itoa(i)
		if err := a.Save(id, []byte(id)); err != nil {
			t.Fatal(err)
		}
		at := old.Add(time.Duration(i) * time.Minute)
		if err := os.Chtimes(a.file(id), at, at); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []bool{false, false, false, true, true, true} {
		if data, ok := a.Load(strconv.Itoa(i)); ok != want || ok && string(data) != strconv.Itoa(i) {
			t.Errorf("%d: %q %v", i, data, ok)
		}
	}
	ago := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(a.file("5"), ago, ago); err != nil {
		t.Fatal(err)
	}
	a.Forget("4")
	for i, want := range map[string]bool{"3": true, "4": false, "5": false} {
		if _, ok := a.Load(i); ok != want {
			t.Errorf("%s: %v", i, ok)
		}
	}
	if err := a.Save("6", nil); err != nil {
		t.Fatal(err)
	}
	if exists(a.file("5")) {
		t.Error("an old one stays on disk")
	}
}
