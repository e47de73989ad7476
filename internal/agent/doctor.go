package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/aditdev/adit/internal/agent/carrier"
	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/wire"
)

const doctorUsage = `Usage: adit agent doctor [--json] [--dir DIR]

Looks for what is wrong, from the settings to the hub, and says what to do about it. Changes nothing. Exit status 1 if
something must be done.
`

// finding is one line of what doctor says.
type finding struct {
	State string `json:"state"` // ok, note or bad
	About string `json:"about"`
	Says  string `json:"says"`
}

const (
	stateOK   = "ok"
	stateNote = "note"
	stateBad  = "bad"
)

func doctorCommand(ctx context.Context, args []string, stdio command.Stdio) error {
	flags := command.NewFlags("adit agent doctor", doctorUsage)
	dir := flags.String("dir", "", "")
	asJSON := flags.Bool("json", false, "")
	if err := flags.Parse(args, 0, 0, stdio); err != nil {
		return err
	}
	p := PathsIn(*dir)
	findings, err := examine(ctx, p)
	if err != nil {
		return err
	}
	if *asJSON {
		encoder := json.NewEncoder(stdio.Out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(findings)
	} else {
		err = printFindings(stdio.Out, findings)
	}
	if err != nil {
		return err
	}
	for _, f := range findings {
		if f.State == stateBad {
			return &command.Exit{Status: wire.Internal.ExitCode()}
		}
	}
	return nil
}

func printFindings(w io.Writer, findings []finding) error {
	for _, f := range findings {
		if _, err := fmt.Fprintf(w, "%-5s %-9s %s\n", f.State, f.About, wire.Printable(f.Says, 500)); err != nil {
			return err
		}
	}
	return nil
}

func examine(ctx context.Context, p Paths) ([]finding, error) {
	c, err := loadEnrolled(p)
	if err != nil {
		return nil, err
	}
	rememberProxy(c)
	found := []finding{{stateOK, "settings", fmt.Sprintf("%s: %s (%s) of %s", p.Config(), c.Name, c.Device, c.Hub)}}
	found = append(found, examineAgent(p, c), examineHub(ctx, p, c), examineSSH(ctx, p, c))
	found = append(found, examineMQTT(c)...)
	if why := ramOf(p).lostAtBoot(ctx, p, c); why != "" {
		found = append(found, finding{stateBad, "program", why})
	}
	return found, nil
}

func examineAgent(p Paths, c Config) finding {
	s, err := readStatus(p, c)
	switch {
	case err != nil:
		return finding{stateBad, "agent", err.Error()}
	case !s.Running:
		return finding{stateBad, "agent", "does not run. " + s.startHint()}
	case !s.Online:
		return finding{stateBad, "agent", "runs, but is offline: " + s.Cause + " " + s.Detail}
	case s.Service == "none":
		return finding{stateNote, "agent", "is online, but nothing starts it again: `adit agent install-service`"}
	}
	return finding{stateOK, "agent", "is online, kept up by " + s.Service}
}

const clockTolerance = time.Minute

// examineHub proves the path to the hub with a connection of its own, which disturbs no other.
func examineHub(ctx context.Context, p Paths, c Config) finding {
	key, err := loadKey(p.Key())
	if err != nil {
		return finding{stateBad, "hub", err.Error()}
	}
	config, err := carrierConfig(p, c, key)
	if err != nil {
		return finding{stateBad, "hub", err.Error()}
	}
	config.Instance = wire.Instance{Random: "doctor"}
	ctx, cancel := context.WithTimeout(ctx, replyTimeout)
	defer cancel()
	hubTime, err := carrier.Probe(ctx, config)
	if err != nil {
		return finding{stateBad, "hub", fmt.Sprintf("%s: %v", carrier.CauseOf(err), err)}
	}
	offset := time.Until(hubTime)
	if offset.Abs() > clockTolerance {
		return finding{stateNote, "hub", fmt.Sprintf("is reached; this machine's clock is off by %s, which certificates allow for", offset.Round(time.Second))}
	}
	return finding{stateOK, "hub", "is reached and proved its key"}
}

func examineSSH(ctx context.Context, p Paths, c Config) finding {
	facts := sshFacts(ctx, p, c, takeSurvey(ctx).sshd)
	record, err := readTrust(p.Trust())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return finding{stateBad, "ssh", err.Error()}
	}
	switch {
	case facts.Server == api.SSHFactsServerBuiltin && facts.Note == nil:
		return finding{stateOK, "ssh", "the agent's own server, inside the tunnel only"}
	case facts.Server == api.SSHFactsServerBuiltin:
		return finding{stateNote, "ssh", "the agent's own server, inside the tunnel only: " + *facts.Note}
	case facts.Address == nil:
		return finding{stateBad, "ssh", "sshd does not run; `adit shell DEVICE` still gets in, if the policy allows"}
	case !record.usesSSHD():
		return finding{stateNote, "ssh", "sshd at " + *facts.Address + " does not know the hub's certificates: " + record.Note}
	}
	return finding{stateOK, "ssh", fmt.Sprintf("sshd at %s takes the hub's certificates (%s)", *facts.Address, record.Trust)}
}
