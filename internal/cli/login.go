package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/wire"
)

const loginUsage = `Usage: adit login URL [--token-stdin]

Signs this machine in at a hub. It prints a code and an address; open the address in a browser that is signed in,
compare the code, approve. The sign-in is kept in ~/.config/adit/login.json, readable for you alone.

  --token-stdin   read an API token from standard input instead, as adit-hub token create makes it

Examples:
  adit login https://hub.example.com
  adit login https://hub.example.com --token-stdin <token.txt
`

func loginCommand() command.Command {
	return command.Command{Name: "login", Summary: "Sign in at a hub", Usage: loginUsage, Run: login}
}

func login(ctx context.Context, args []string, stdio command.Stdio) error {
	f := command.NewFlags("adit login", loginUsage)
	tokenStdin := f.Bool("token-stdin", false, "")
	if err := parse(f, args, 1, 1, stdio); err != nil {
		return err
	}
	url, err := parseHubURL(f.Arg(0))
	if err != nil {
		return err
	}
	a := account{Hub: url}
	if *tokenStdin {
		a.Token, err = readToken(stdio.In)
	} else {
		a.Token, err = approvedToken(ctx, a, stdio)
	}
	if err != nil {
		return err
	}
	if a.Email, err = a.whoami(ctx); err != nil {
		return err
	}
	if err := a.save(); err != nil {
		return err
	}
	fmt.Fprintf(stdio.Err, "Signed in at %s as %s.\n", a.Hub, wire.Printable(a.Email, 254))
	return nil
}

// whoami is the e-mail address of whoever the token belongs to.
func (a account) whoami(ctx context.Context) (string, error) {
	var me api.Me
	err := a.call(ctx, http.MethodGet, "me", nil, &me)
	return me.User.Email, err
}

func readToken(r io.Reader) (string, error) {
	data, err := io.ReadAll(io.LimitReader(r, 1024))
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if !strings.HasPrefix(token, "adit_") || strings.ContainsAny(token, " \t\r\n") {
		return "", wire.Errorf(wire.Invalid, "Standard input held no API token: one begins with adit_.")
	}
	return token, nil
}

// approvedToken asks for a token and waits until a person has approved it in a browser (RFC 8628).
func approvedToken(ctx context.Context, a account, stdio command.Stdio) (string, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	var ask api.CLILogin
	if err := a.call(ctx, http.MethodPost, "cli-logins", api.CLILoginRequest{Host: wire.Printable(host, 253)}, &ask); err != nil {
		return "", err
	}
	fmt.Fprintf(stdio.Err, "Open this address in a browser that is signed in, and compare the code:\n\n  %s\n\n  code  %s\n\nWaiting …\n",
		wire.Printable(ask.VerificationURI, 500), wire.Printable(ask.UserCode, 20))
	return a.pollToken(ctx, ask)
}

func (a account) pollToken(ctx context.Context, ask api.CLILogin) (string, error) {
	interval := min(max(time.Duration(ask.IntervalSeconds)*time.Second, time.Second), time.Minute)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return "", &command.Exit{Status: 130}
		case <-tick.C:
		}
		var r api.CLILoginResult
		err := a.call(ctx, http.MethodPost, "cli-logins/poll", api.CLILoginPoll{Secret: ask.Secret}, &r)
		if wire.CodeOf(err) == wire.Offline {
			continue // the hub may be restarting
		}
		if err != nil {
			return "", err
		}
		switch {
		case r.Status == api.CLILoginResultStatusApproved && r.Token != nil:
			return *r.Token, nil
		case r.Status == api.CLILoginResultStatusDenied:
			return "", wire.Errorf(wire.Forbidden, "The sign-in was denied in the browser.")
		case r.Status == api.CLILoginResultStatusExpired:
			return "", wire.Errorf(wire.Unauthenticated, "Nobody approved the sign-in in time. Run adit login again.")
		}
	}
}
