package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/url"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/handlers"
	"github.com/aditdev/adit/internal/config"
	"github.com/aditdev/adit/internal/dist"
	"github.com/aditdev/adit/internal/seal"
	"github.com/aditdev/adit/internal/sshgate"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

type doctorCommand struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// probe is what became of one form.
type probe struct {
	Form  string `json:"form"`
	Works bool   `json:"works"`
	Cause string `json:"cause,omitempty"`
}

// Run tries, through the hub's public URL, the forms in which stock OpenSSH can reach it, and has the pages show the
// first that works. It takes the environment of the hub, which must run.
func (d doctorCommand) Run(ctx context.Context, p program) error {
	c, err := config.Load(p.environ, false)
	if err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	st, err := store.Open(ctx, c.Data)
	if err != nil {
		return err
	}
	return errors.Join(d.examine(ctx, p, c, st), st.Close())
}

func (d doctorCommand) examine(ctx context.Context, p program, c config.Config, st *store.Store) error {
	key, err := gatePublicKey(ctx, c, st)
	if err != nil {
		return err
	}
	chosen, probes := dist.Form("none"), []probe{}
	for _, form := range []dist.Form{dist.FormUpgrade, dist.FormPatient, dist.FormRaw} {
		found := probe{Form: string(form), Works: true}
		if err := tryForm(ctx, c.URLs[0], form, key); err != nil {
			found.Works, found.Cause = false, wire.Printable(err.Error(), 300)
		} else if chosen == "none" {
			chosen = form
		}
		probes = append(probes, found)
	}
	err = st.Write(ctx, func(q *store.Queries) error {
		return q.PutSetting(ctx, store.PutSettingParams{Name: handlers.SSHFormSetting, Value: string(chosen)})
	})
	if err != nil {
		return fmt.Errorf("keep the result: %w", err)
	}
	return d.report(p, c.URLs[0], chosen, probes)
}

func tryForm(ctx context.Context, hub *url.URL, form dist.Form, key ssh.PublicKey) error {
	if dist.ProxyCommand(hub, form) == "" {
		return errors.New("the hub's URL is not https")
	}
	return sshgate.Probe(ctx, hub, form, key)
}

// gatePublicKey is the host key that the gate of this data directory shows.
func gatePublicKey(ctx context.Context, c config.Config, st *store.Store) (ssh.PublicKey, error) {
	sealer, err := seal.New(c.Secret)
	if err != nil {
		return nil, err
	}
	sealed, err := st.Read().GetSecret(ctx, gateKeySecret)
	if errors.Is(err, store.ErrNotFound) {
		return nil, wire.Errorf(wire.Invalid, "This hub has never run. Start it, then ask again.")
	}
	if err != nil {
		return nil, err
	}
	seed, err := sealer.Open(gateKeySecret, sealed)
	if err != nil {
		return nil, err
	}
	return ssh.NewPublicKey(ed25519.NewKeyFromSeed(seed).Public())
}

func (d doctorCommand) report(p program, hub *url.URL, chosen dist.Form, probes []probe) error {
	text := fmt.Sprintf("Stock OpenSSH through %s:\n", hub)
	for _, found := range probes {
		word := "works"
		if !found.Works {
			word = "no: " + found.Cause
		}
		text += fmt.Sprintf("  %-8s %s\n", found.Form, word)
	}
	advice := fmt.Sprintf("The pages show the form %s from now on.", chosen)
	if chosen == "none" {
		advice = "None works: something before the hub passes no upgrade, or leads elsewhere. docs/deploy.md says what a proxy must do; " +
			"where the platform gives raw TCP, ADIT_SSH_ADDR needs no upgrade. `adit ssh` needs WebSockets only."
	}
	err := (&admin{program: p}).print(d.JSON, map[string]any{"url": hub.String(), "form": chosen, "probes": probes}, "%s%s\n", text, advice)
	if err == nil && chosen == "none" {
		return wire.Errorf(wire.Offline, "Stock OpenSSH does not reach this hub.")
	}
	return err
}
