package sshserver

import (
	"context"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

// forward serves a direct-tcpip channel (RFC 4254 §7.2): `ssh -L`, `-D` and `-W`.
func (c *connection) forward(ctx context.Context, n ssh.NewChannel) {
	var p struct {
		Host       string
		Port       uint32
		Originator string
		OriginPort uint32
	}
	if err := ssh.Unmarshal(n.ExtraData(), &p); err != nil || p.Port == 0 || p.Port > 65535 {
		_ = n.Reject(ssh.ConnectionFailed, "no address")
		return
	}
	if !c.who.forwarding {
		c.log.Warn("ssh forwarding refused", "host", printable(p.Host), "port", p.Port)
		_ = n.Reject(ssh.Prohibited, "port forwarding is not granted")
		return
	}
	conn, err := c.server.config.Dial(ctx, p.Host, int(p.Port))
	if err != nil {
		reason := ssh.ConnectionFailed
		if wire.CodeOf(err) == wire.Forbidden {
			reason = ssh.Prohibited
		}
		_ = n.Reject(reason, wire.MessageOf(err))
		return
	}
	channel, requests, err := n.Accept()
	if err != nil {
		_ = conn.Close()
		return
	}
	c.wg.Go(func() { ssh.DiscardRequests(requests) })
	defer context.AfterFunc(ctx, func() { _, _ = channel.Close(), conn.Close() })()
	_ = stream.Copy(channel, conn)
}
