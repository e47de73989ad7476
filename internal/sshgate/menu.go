package sshgate

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/wire"
)

// session serves a session channel (RFC 4254 §6): a page of text about what the person can reach and what runs. Nothing
// can be run here.
func (v *visit) session(ctx context.Context, n ssh.NewChannel) {
	channel, requests, err := n.Accept()
	if err != nil {
		return
	}
	defer channel.Close()
	terminal := false
	for r := range requests {
		switch r.Type {
		case "pty-req":
			terminal = v.options.PTY()
			_ = r.Reply(terminal, nil)
		case "window-change", "signal":
		case "shell":
			_ = r.Reply(true, nil)
			go ssh.DiscardRequests(requests)
			v.show(ctx, channel, terminal)
			exit(channel, 0)
			return
		case "exec", "subsystem":
			v.tell(slog.LevelInfo, "ssh command refused", "type", r.Type)
			_ = r.Reply(true, nil)
			go ssh.DiscardRequests(requests)
			fmt.Fprintf(channel.Stderr(), "adit: this gate runs nothing. It leads to devices: ssh -J %s@THIS_HUB LOGIN@NAME%s\r\n",
				v.principal.User.Handle, hostSuffix)
			exit(channel, wire.Invalid.ExitCode())
			return
		default:
			if r.WantReply {
				_ = r.Reply(false, nil)
			}
		}
	}
}

func exit(channel ssh.Channel, status int) {
	_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status)}))
}

// show writes the page: once, or on a terminal anew at each key until q, Ctrl-C or Ctrl-D.
func (v *visit) show(ctx context.Context, channel ssh.Channel, terminal bool) {
	defer context.AfterFunc(ctx, func() { _ = channel.Close() })()
	key := make([]byte, 64)
	for {
		page := v.page(ctx)
		if terminal {
			page = "\x1b[H\x1b[2J" + page + "\n  Any key looks again, q leaves.\n"
		}
		if _, err := io.WriteString(channel, strings.ReplaceAll(page, "\n", "\r\n")); err != nil || !terminal {
			return
		}
		pause(ctx, redrawAfter)
		n, err := channel.Read(key)
		if err != nil || strings.ContainsAny(string(key[:n]), "qQ\x03\x04") {
			return
		}
	}
}

// redrawAfter is how long a page stands at least.
const redrawAfter = 200 * time.Millisecond

// pageDevices is how many devices the page lists; the site has them all.
const pageDevices = 40

func (v *visit) page(ctx context.Context) string {
	var b strings.Builder
	user := v.principal.User
	fmt.Fprintf(&b, "Adit, %s. You are %s.\n\nDevices you may reach\n", v.gate.options.URL, user.Handle)
	v.writeDevices(ctx, &b)
	fmt.Fprintf(&b, "\nYour forwards on this connection\n")
	v.writeForwards(&b)
	fmt.Fprintf(&b, "\nTo a device:    ssh -J %[1]s@HUB LOGIN@NAME%[2]s\nTo its port:    ssh -L 22883:NAME%[2]s:1883 %[1]s@HUB\n"+
		"As a proxy:     ssh -D 1080 %[1]s@HUB, then NAME%[2]s through it\n", user.Handle, hostSuffix)
	return b.String()
}

func (v *visit) writeDevices(ctx context.Context, b *strings.Builder) {
	o := v.gate.options
	list, err := o.Devices.List(ctx, v.principal)
	if err != nil {
		o.Log.Error("devices not listed", "cause", err)
		fmt.Fprintf(b, "  %s\n", wire.MessageOf(err))
		return
	}
	if len(list) == 0 {
		fmt.Fprintf(b, "  none: an admin grants them\n")
	}
	policy, now := o.Gate.Policy(), o.Now()
	for i, d := range list {
		if i == pageDevices {
			fmt.Fprintf(b, "  … and %d more\n", len(list)-pageDevices)
			return
		}
		state := "offline"
		if o.Tunnel.Online(d.ID) {
			state = "online"
		}
		fmt.Fprintf(b, "  %-24s %-8s %s\n", d.Name+hostSuffix, state, reach(policy.Reach(user(v), d.ID, now)))
	}
}

func user(v *visit) string { return v.principal.User.ID }

// reach is what somebody may use on a device, in a few words.
func reach(r access.Reach) string {
	switch text := strings.Join(r.Targets, " "); {
	case len(r.Targets) == 0:
		return "only to see"
	case len(r.Logins) == 0:
		return text
	case r.Gate == access.Held:
		return text + " as " + strings.Join(r.Logins, ", ") + "; the hub ends SSH"
	default:
		return text + " as " + strings.Join(r.Logins, ", ")
	}
}

func (v *visit) writeForwards(b *strings.Builder) {
	v.mu.Lock()
	list := make([]*forward, 0, len(v.forwards))
	for f := range v.forwards {
		list = append(list, f)
	}
	v.mu.Unlock()
	if len(list) == 0 {
		fmt.Fprintf(b, "  none\n")
	}
	slices.SortFunc(list, func(a, b *forward) int { return cmp.Compare(a.since.UnixNano(), b.since.UnixNano()) })
	for _, f := range list {
		fmt.Fprintf(b, "  %-24s %-22s for %-9s %10s in %10s out\n", f.device, f.target, time.Since(f.since).Round(time.Second),
			bytesText(f.in.Load()), bytesText(f.out.Load()))
	}
}

// bytesText is a number of bytes in the unit in which it is easiest to read.
func bytesText(n int64) string {
	value, unit := float64(n), "B"
	for _, next := range []string{"kB", "MB", "GB", "TB"} {
		if value < 1000 {
			break
		}
		value, unit = value/1000, next
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}
