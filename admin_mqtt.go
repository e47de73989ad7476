package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

type mqttCommands struct {
	Credential mqttCredentialCommands `cmd:"" help:"Usernames and passwords for MQTT."`
	Import     mqttImport             `cmd:"" help:"Take over Mosquitto's password_file and acl_file, all or nothing."`
}

type mqttCredentialCommands struct {
	Create mqttCredentialCreate `cmd:"" help:"Make a username and password; the password is shown once."`
	List   mqttCredentialList   `cmd:"" help:"List all credentials."`
	Remove mqttCredentialRemove `cmd:"" help:"Remove a credential. Who is connected by it is disconnected within two seconds."`
}

type mqttCredentialCreate struct {
	Kind     string        `required:"" enum:"device,thing,user,application" help:"device, thing, user or application: what speaks by it, and so what it may."`
	Device   string        `help:"Name or id, for device and thing."`
	Thing    string        `help:"The thing's name, for thing."`
	User     string        `help:"E-mail, handle or id, for user."`
	Username string        `help:"Made by the hub where absent."`
	Label    string        `help:"What it is for."`
	Expires  time.Duration `help:"How long it works, as 720h; for ever where absent."`
	JSON     bool          `name:"json" help:"Print JSON."`
}

// mqttCredentialJSON is a credential as --json prints it; the password only when it is made.
type mqttCredentialJSON struct {
	ID        string     `json:"id"`
	Kind      string     `json:"kind"`
	Username  string     `json:"username"`
	Password  string     `json:"password,omitempty"`
	Principal string     `json:"principal"`
	Label     string     `json:"label,omitempty"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

func mqttCredentialOut(c messaging.Credential, password string) mqttCredentialJSON {
	return mqttCredentialJSON{ID: c.ID, Kind: c.Kind, Username: c.Username, Password: password, Principal: c.Principal.Name, Label: c.Label,
		ExpiresAt: store.TimeOf(c.ExpiresAt)}
}

// Run makes the credential.
func (m mqttCredentialCreate) Run(ctx context.Context, p program) error {
	return onData(ctx, p, func(a *admin) error {
		c, password, err := a.mqtt.CreateCredential(ctx, byCommand, messaging.CredentialRequest{Kind: messaging.Kind(m.Kind), Device: m.Device,
			Thing: m.Thing, User: m.User, Username: m.Username, Label: m.Label, Life: m.Expires})
		if err != nil {
			return err
		}
		return a.print(m.JSON, mqttCredentialOut(c, password), "username %s\npassword %s\n", c.Username, password)
	})
}

type mqttCredentialList struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Run lists the credentials.
func (m mqttCredentialList) Run(ctx context.Context, p program) error {
	return onData(ctx, p, func(a *admin) error {
		list, err := a.mqtt.Credentials(ctx)
		if err != nil {
			return err
		}
		out := make([]mqttCredentialJSON, 0, len(list))
		var text strings.Builder
		for _, c := range list {
			out = append(out, mqttCredentialOut(c, ""))
			until := ""
			if c.ExpiresAt != nil {
				until = " until " + store.Time(*c.ExpiresAt).Format(time.RFC3339)
			}
			fmt.Fprintf(&text, "%s %s: %s %s%s\n", c.ID, c.Username, c.Kind, cmp.Or(c.Principal.Name, c.Principal.ID), until)
		}
		return a.print(m.JSON, out, "%s", text.String())
	})
}

type mqttCredentialRemove struct {
	Credential string `arg:"" help:"Username or id."`
	JSON       bool   `name:"json" help:"Print JSON."`
}

// Run removes the credential.
func (m mqttCredentialRemove) Run(ctx context.Context, p program) error {
	return onData(ctx, p, func(a *admin) error {
		if err := a.mqtt.RemoveCredential(ctx, byCommand, m.Credential); err != nil {
			return err
		}
		return a.print(m.JSON, map[string]string{"credential": m.Credential}, "%s is gone.\n", m.Credential)
	})
}

type mqttImport struct {
	PasswordFile string `help:"As mosquitto_passwd writes it."`
	ACLFile      string `name:"acl-file" help:"As mosquitto.conf(5) describes it."`
	DryRun       bool   `help:"Only say what would be taken over."`
	JSON         bool   `name:"json" help:"Print JSON."`
}

// importJSON is what --json prints of an import.
type importJSON struct {
	Credentials int           `json:"credentials"`
	Rules       int           `json:"rules"`
	DryRun      bool          `json:"dry_run"`
	Problems    []problemJSON `json:"problems"`
}

type problemJSON struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Message string `json:"message"`
}

// Run takes the files over. Where a line cannot be, it says which and why, and nothing is changed.
func (m mqttImport) Run(ctx context.Context, p program) error {
	if m.PasswordFile == "" && m.ACLFile == "" {
		return wire.Errorf(wire.Invalid, "Name --password-file, --acl-file or both.")
	}
	passwords, err := readWhole(m.PasswordFile)
	if err != nil {
		return err
	}
	rules, err := readWhole(m.ACLFile)
	if err != nil {
		return err
	}
	return onData(ctx, p, func(a *admin) error {
		done, err := a.mqtt.Import(ctx, byCommand, messaging.Import{PasswordFile: passwords, ACLFile: rules, DryRun: m.DryRun})
		if err != nil {
			return err
		}
		out := importJSON{Credentials: done.Credentials, Rules: done.Rules, DryRun: m.DryRun, Problems: []problemJSON{}}
		var text strings.Builder
		for _, bad := range done.Problems {
			out.Problems = append(out.Problems, problemJSON(bad))
			file := map[string]string{messaging.PasswordFile: m.PasswordFile, messaging.ACLFile: m.ACLFile}[bad.File]
			fmt.Fprintf(&text, "%s:%d: %s\n", file, bad.Line, bad.Message)
		}
		verb := "taken over"
		if m.DryRun {
			verb = "to be taken over"
		}
		if len(done.Problems) == 0 {
			fmt.Fprintf(&text, "%d credentials and %d rules %s.\n", done.Credentials, done.Rules, verb)
		}
		if err := a.print(m.JSON, out, "%s", text.String()); err != nil {
			return err
		}
		if n := len(done.Problems); n > 0 {
			return wire.Errorf(wire.Invalid, "%d lines cannot be taken over, so nothing was.", n)
		}
		return nil
	})
}

// readWhole reads a file of at most messaging.MaxFile bytes; no name is no text.
func readWhole(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	info, err := os.Stat(name)
	if err == nil && info.Size() > messaging.MaxFile {
		return "", wire.Errorf(wire.TooLarge, "%s is larger than %d bytes.", name, messaging.MaxFile)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return "", wire.Wrap(err, wire.Invalid, "%v", err)
	}
	return string(text), nil
}
