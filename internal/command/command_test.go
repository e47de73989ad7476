package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/wire"
)

func table(ran *string) []Command {
	run := func(name string) func(context.Context, []string, Stdio) error {
		return func(_ context.Context, args []string, _ Stdio) error {
			*ran = fmt.Sprint(name, args)
			return nil
		}
	}
	return []Command{
		{Name: "status", Summary: "Say how it is", Usage: "Usage: adit status\n", Run: run("status")},
		{Name: "secret", Run: run("secret")},
	}
}

func TestDispatch(t *testing.T) {
	for _, c := range []struct {
		args             []string
		ran, out, refuse string
	}{
		{args: []string{"status", "a", "b"}, ran: "status[a b]"},
		{args: []string{"status", "--help"}, out: "Usage: adit status\n"},
		{args: []string{"secret", "x"}, ran: "secret[x]"},
		{args: []string{"statu"}, refuse: "Did you mean `adit status`?"},
		{args: []string{"bake"}, refuse: "`adit --help` lists them."},
	} {
		var ran string
		var out, stderr bytes.Buffer
		err := Dispatch(t.Context(), "adit", "Adit.\n", table(&ran), c.args, Stdio{Out: &out, Err: &stderr})
		if ran != c.ran || out.String() != c.out {
			t.Errorf("%v: ran %q, printed %q", c.args, ran, out.String())
		}
		if refused := err != nil && strings.Contains(err.Error(), c.refuse); refused != (c.refuse != "") {
			t.Errorf("%v: error %v, want %q", c.args, err, c.refuse)
		}
	}
}

func TestHiddenRowsStayOutOfTheHelp(t *testing.T) {
	var ran string
	var out bytes.Buffer
	if err := Dispatch(t.Context(), "adit", "Adit.\n", table(&ran), []string{"--help"}, Stdio{Out: &out}); err != nil {
		t.Fatal(err)
	}
	if s := out.String(); !strings.Contains(s, "Say how it is") || strings.Contains(s, "secret") {
		t.Errorf("help is %q", s)
	}
}

func TestReport(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		says   string
	}{
		{nil, 0, ""},
		{wire.Errorf(wire.NotFound, "No such device."), 5, "adit: not_found: No such device.\n"},
		{fmt.Errorf("open: %w", wire.Errorf(wire.Offline, "Gone.")), 8, "adit: offline: open: Gone.\n"},
		{errors.New("disk\nfull\x1b[31m"), 1, "adit: internal: disk full[31m\n"},
		{&Exit{Status: 255, Err: wire.Errorf(wire.Forbidden, "No.")}, 255, "adit: forbidden: No.\n"},
		{&Exit{Status: 7}, 7, ""},
	} {
		var b bytes.Buffer
		if status := Report(&b, c.err); status != c.status || b.String() != c.says {
			t.Errorf("Report(%v) = %d, %q", c.err, status, b.String())
		}
	}
}

func TestFlagsRefuseWithAHint(t *testing.T) {
	parse := func(args ...string) (string, error) {
		f := NewFlags("adit agent enroll", "Usage: adit agent enroll\n")
		f.String("hub", "", "")
		f.Bool("code-stdin", false, "")
		var out bytes.Buffer
		return out.String(), f.Parse(args, 0, 0, Stdio{Out: &out})
	}
	for _, c := range []struct{ args, says string }{
		{"--hubb=x", "did you mean --hub?"},
		{"--nothing-like-it", "lists the options."},
		{"--code-stdn", "did you mean --code-stdin?"},
		{"--hub=x extra", `does not know what to do with "extra"`},
	} {
		_, err := parse(strings.Fields(c.args)...)
		if wire.CodeOf(err) != wire.Invalid || !strings.Contains(err.Error(), c.says) || strings.HasSuffix(err.Error(), "?.") {
			t.Errorf("%s: %v", c.args, err)
		}
	}
	if _, err := parse("--hub", "x", "--code-stdin"); err != nil {
		t.Error(err)
	}
	if _, err := parse("--help"); Report(&bytes.Buffer{}, err) != 0 {
		t.Error("--help is no failure")
	}
}
