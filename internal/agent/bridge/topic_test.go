package bridge

import (
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/wire"
)

func TestTopicLines(t *testing.T) {
	for line, want := range map[string]Topic{
		`#`:                        {Pattern: "#", Out: true},
		`a/# in`:                   {Pattern: "a/#", In: true},
		`topic a/# both 2`:         {Pattern: "a/#", In: true, Out: true, QoS: 2},
		`a/# out 1 l/`:             {Pattern: "a/#", Out: true, QoS: 1, Local: "l/"},
		`a/# out 1 "" r/`:          {Pattern: "a/#", Out: true, QoS: 1, Remote: "r/"},
		`a/# out 0 l/ ""`:          {Pattern: "a/#", Out: true, Local: "l/"},
		`"" both 1 one/t other/t`:  {In: true, Out: true, QoS: 1, Local: "one/t", Remote: "other/t"},
		"a/#\tout  1   \"\"   r/ ": {Pattern: "a/#", Out: true, QoS: 1, Remote: "r/"},
	} {
		got, notes, err := ParseTopic(line)
		want.Line = got.Line
		if err != nil || got != want || len(notes) != 0 {
			t.Errorf("%s: %+v, %v, %v", line, got, notes, err)
		}
	}
}

// Lines that people copy from each other; Mosquitto takes the first two without a word and forwards nothing, or wrongly.
func TestWrongTopicLinesShowTheRightOne(t *testing.T) {
	for line, says := range map[string]string{
		`devices/# out "" home`: `topic devices/# out 1 "" home/`,
		`cmds/# in remote ""`:   `topic cmds/# in 1 remote/ ""`,
		`a/# "" home/`:          `topic a/# out 1 "" home/`,
		`a/# 2 "" home`:         `topic a/# out 2 "" home/`,
		`a/# inout 1`:           "is no direction",
		`a/# out 3 "" b/`:       "QoS",
		`a/# out 1 "" b/ c/`:    `nothing may follow the remote prefix, "c/" does`,
		`a/# out 1 "" b/#/`:     "a prefix cannot have + or #",
		`a# out 1`:              "must both be Topic Filters",
		`"" out 1 "" b`:         "both prefixes are needed",
		`"" out 1 b ""`:         "both prefixes are needed",
		`""`:                    "both prefixes are needed",
		``:                      "is empty",
	} {
		_, _, err := ParseTopic(line)
		if wire.CodeOf(err) != wire.Invalid || err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", line, err, says)
			continue
		}
		if fixed, ok := strings.CutPrefix(says, "topic "); ok {
			if _, notes, err := ParseTopic(fixed); err != nil || len(notes) > 0 {
				t.Errorf("the corrected line %s: %v, %v", fixed, notes, err)
			}
		}
	}
}

func TestPrefixesWithoutSlashAreNoted(t *testing.T) {
	if _, notes, err := ParseTopic(`a/# out 1 l r`); err != nil || len(notes) != 2 || !strings.Contains(notes[1], "topics become ra/#") {
		t.Errorf("%v, %v", notes, err)
	}
	if _, notes, err := ParseTopic(`/a/# out 1 l r`); err != nil || len(notes) != 0 {
		t.Errorf("%v, %v", notes, err)
	}
}

func TestLoopsAreRefused(t *testing.T) {
	for lines, want := range map[string]bool{
		"a/# both 1|b/# both 1":                   true,
		`cmds/# in 1 "" kitchen/|s/# out 1 "" d/`: true,
		`cmds/# in 1 "" kitchen/|# out 1 "" d/`:   false,
		`a/# in 1 x/ y/|x/a/b out 1`:              false,
		`a/# in 1 x/ y/|a/# out 1 "" y/`:          true,
		`+/a in 1|b/+ out 1`:                      false,
		`"" in 1 l/t r/t|l/# out 1`:               false,
		`a/# both 1|a/b out 1 "" z/`:              false,
		`$SYS/broker/x in 1|# out 1`:              true,
	} {
		list := strings.Split(lines, "|")
		_, _, err := ParseTopics(list)
		if (err == nil) != want {
			t.Errorf("%s: %v", lines, err)
		}
		if err != nil && (!strings.Contains(err.Error(), list[0]) || !strings.Contains(err.Error(), list[1])) {
			t.Errorf("%s: the lines are not named: %v", lines, err)
		}
	}
}

func TestTopicsMap(t *testing.T) {
	one, _, err := ParseTopic(`s/# both 1 l/ r/`)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := one.toRemote("l/s/a"); got != "r/s/a" || !ok {
		t.Error(got, ok)
	}
	if got, ok := one.toLocal("r/s/a"); got != "l/s/a" || !ok {
		t.Error(got, ok)
	}
	if _, ok := one.toRemote("s/a"); ok {
		t.Error("a topic that is not its own")
	}
}

func TestPathsEnd(t *testing.T) {
	p := mqtt.Properties{{ID: mqtt.UserPropertyID, Text: "k", Value: "v"}}
	for i, self := range []string{"a", "b", "c", "d"} {
		var ok bool
		if p, ok = pass(p, self); !ok || len(p) != 2 {
			t.Fatalf("hop %d: %v, %v", i, p, ok)
		}
	}
	if p[1].Value != "a,b,c,d" {
		t.Error(p[1])
	}
	if _, ok := pass(p, "e"); ok {
		t.Error("a fifth hop")
	}
	if _, ok := pass(p[:2], "b"); ok {
		t.Error("a second time")
	}
}
