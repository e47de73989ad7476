package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/wire"
)

type eventsCommands struct {
	Verify eventsVerify `cmd:"" help:"Walk the chain of hashes and say the first place where the log was changed."`
}

type eventsVerify struct {
	Head string `placeholder:"ID:HASH" help:"A head that an earlier verify printed: the event must still be there, and be the same."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// Run verifies the log. It fails with conflict, exit status 6, where the chain is broken.
func (v eventsVerify) Run(ctx context.Context, p program) error {
	known, err := parseHead(v.Head)
	if err != nil {
		return err
	}
	return onData(ctx, p, func(a *admin) error {
		verdict, err := a.events.Verify(ctx, known)
		if err != nil {
			return err
		}
		if err := a.print(v.JSON, verdictJSON(verdict), "%s", verdictText(verdict)); err != nil || verdict.Broken == nil {
			return err
		}
		return wire.Errorf(wire.Conflict, "The event log was changed behind the hub's back: %s.", verdict.Broken.Text)
	})
}

// parseHead reads what verify printed as head.
func parseHead(text string) (*events.Head, error) {
	if text == "" {
		return nil, nil
	}
	id, hash, _ := strings.Cut(text, ":")
	n, err := strconv.ParseInt(id, 10, 64)
	raw, bad := hex.DecodeString(hash)
	if errors.Join(err, bad) != nil || n < 1 || len(raw) != 32 {
		return nil, wire.Errorf(wire.Invalid, "A head is ID:HASH, as verify prints it.")
	}
	return &events.Head{ID: n, Hash: raw}, nil
}

func formatHead(h events.Head) string {
	if len(h.Hash) == 0 {
		return ""
	}
	return fmt.Sprintf("%d:%x", h.ID, h.Hash)
}

func verdictJSON(v events.Verdict) map[string]any {
	out := map[string]any{"ok": v.Broken == nil, "checked": v.Checked, "first": v.First, "last": v.Last, "before_chain": v.Before,
		"head": formatHead(v.Head)}
	if v.Broken != nil {
		out["broken"] = map[string]any{"id": v.Broken.ID, "kind": v.Broken.Kind, "message": v.Broken.Text}
	}
	return out
}

func verdictText(v events.Verdict) string {
	var b strings.Builder
	if v.Before > 0 {
		fmt.Fprintf(&b, "%d events are from before the chain; nothing vouches for them.\n", v.Before)
	}
	switch {
	case v.Broken != nil:
		fmt.Fprintf(&b, "%d events verify; then the chain breaks.\n", v.Checked)
	case v.Checked == 0:
		fmt.Fprintln(&b, "The chain holds no event yet.")
	default:
		fmt.Fprintf(&b, "The chain holds: %d events, %d to %d.\nHead: %s\n", v.Checked, v.First, v.Last, formatHead(v.Head))
	}
	return b.String()
}
