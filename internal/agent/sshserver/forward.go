package sshserver

import (
	"context"
	"io"
	"net"

	"golang.org/x/crypto/ssh"

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
	copyBoth(ctx, channel, conn)
}

// copyBoth copies in both directions until both have ended; the end of one half-closes its other side, an error or the
// end of ctx closes both.
func copyBoth(ctx context.Context, channel ssh.Channel, conn net.Conn) {
	stop := context.AfterFunc(ctx, func() {
		_ = channel.Close()
		_ = conn.Close()
	})
	defer stop()
	up := make(chan struct{})
	go func() {
		defer close(up)
		_, err := io.Copy(conn, channel)
		closeWrite(conn, err)
	}()
	_, err := io.Copy(channel, conn)
	if err == nil {
		err = channel.CloseWrite()
	}
	if err != nil {
		_ = channel.Close()
	}
	<-up
	_ = channel.Close()
	_ = conn.Close()
}

func closeWrite(conn net.Conn, err error) {
	half, ok := conn.(interface{ CloseWrite() error })
	if err != nil || !ok {
		_ = conn.Close()
		return
	}
	_ = half.CloseWrite()
}
