package sshgate

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/time/rate"

	"github.com/aditdev/adit/internal/wire"
)

const (
	maxChannels = 64
	// Channel openings beyond these are refused: a flood costs the hub no more than reading it.
	channelBurst = 128
	channelRate  = 50 // a second
	// And lines in the log that a peer causes.
	noiseBurst = 50
	noiseRate  = 1 // a second

	keepaliveAfter = 20 * time.Second // of silence
	silenceMost    = 40 * time.Second
	lookEvery      = 2 * time.Second // at how long it has been silent
)

// connection is one authenticated SSH connection.
type connection struct {
	gate    *Gate
	ssh     *ssh.ServerConn
	conn    *heardConn
	address string
	log     *slog.Logger
	noise   *rate.Limiter  // of lines that the peer can cause
	wg      sync.WaitGroup // of its channels
}

// tell logs what a peer can cause as often as it likes: beyond a rate only where somebody looks closely.
func (c *connection) tell(level slog.Level, message string, args ...any) {
	if !c.noise.Allow() {
		level = slog.LevelDebug
	}
	c.log.Log(context.Background(), level, message, args...)
}

// serve serves whoever it is, until the connection ends.
func (c *connection) serve(channels <-chan ssh.NewChannel, requests <-chan *ssh.Request, who any) {
	ctx, cancel := context.WithCancelCause(context.Background())
	began := time.Now()
	c.wg.Go(func() { c.keepAlive(ctx) })
	switch who := who.(type) {
	case person:
		c.log = c.log.With("user", who.principal.User.ID, "by", who.by)
		c.log.Info("ssh opened")
		c.servePerson(ctx, who, channels, requests)
	case machine:
		c.log = c.log.With("device", who.id)
		c.log.Info("ssh opened")
		c.serveMachine(ctx, who, channels, requests)
	}
	cancel(nil)
	_ = c.ssh.Close()
	c.wg.Wait()
	c.log.Info("ssh closed", "duration", time.Since(began).Round(time.Millisecond))
}

// keepAlive asks a silent peer for a sign of life, and ends the connection when none comes.
func (c *connection) keepAlive(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	asking := make(chan struct{}, 1)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		switch silent := time.Since(c.conn.lastHeard()); {
		case silent > silenceMost:
			_ = c.conn.Close()
			return
		case silent < keepaliveAfter:
			continue
		}
		select {
		case asking <- struct{}{}:
			c.wg.Go(func() {
				_, _, _ = c.ssh.SendRequest("keepalive@openssh.com", true, nil)
				<-asking
			})
		default: // one at a time: the answer to the last is still due
		}
	}
}

// each hands the channels that a peer opens to serve, within the caps.
func (c *connection) each(channels <-chan ssh.NewChannel, serve func(ssh.NewChannel)) {
	open := make(chan struct{}, maxChannels)
	pace := rate.NewLimiter(channelRate, channelBurst)
	for n := range channels {
		if !pace.Allow() {
			_ = n.Reject(ssh.ResourceShortage, "too many channels at once; try again in a second")
			continue
		}
		select {
		case open <- struct{}{}:
		default:
			_ = n.Reject(ssh.ResourceShortage, "too many channels are open")
			continue
		}
		c.wg.Go(func() {
			serve(n)
			<-open
		})
	}
}

// refuseRequest turns down a global request (RFC 4254 §4).
func (c *connection) refuseRequest(r *ssh.Request) {
	switch r.Type {
	case "keepalive@openssh.com", "no-more-sessions@openssh.com", "hostkeys-prove-00@openssh.com":
	default:
		c.tell(slog.LevelWarn, "ssh request refused", "type", wire.Printable(r.Type, 60))
	}
	if r.WantReply {
		_ = r.Reply(false, nil)
	}
}

func (c *connection) refuseChannel(n ssh.NewChannel) {
	c.tell(slog.LevelWarn, "ssh channel refused", "type", wire.Printable(n.ChannelType(), 60))
	_ = n.Reject(ssh.Prohibited, "administratively prohibited: this gate offers no such channel here")
}

// reject answers a channel open by the table of errors (docs/errors.md).
func reject(n ssh.NewChannel, err error) {
	reason := ssh.ConnectionFailed
	switch wire.CodeOf(err) {
	case wire.Forbidden, wire.Unauthenticated:
		reason = ssh.Prohibited
	case wire.RateLimited:
		reason = ssh.ResourceShortage
	}
	_ = n.Reject(reason, string(wire.CodeOf(err))+": "+wire.MessageOf(err))
}
