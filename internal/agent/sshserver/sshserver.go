// Package sshserver is the SSH server that the agent has built in, for devices without an sshd that knows certificates
// and for rescue. It speaks only on connections that it is handed, and never listens.
//
// Who gets in: the bearer of a user certificate of the hub's CA for exactly one account of this machine, while that
// account may log in. What they get: sessions (shell, exec, sftp) and forwarded ports, each within the certificate's
// extensions and the device's policy. Everything else of the protocol is refused and logged.
package sshserver

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	handshakeTimeout = 10 * time.Second
	maxTries         = 3
	maxChannels      = 64
	version          = "SSH-2.0-Adit"
)

// Config makes a Server. Every field must be set.
type Config struct {
	Log     *slog.Logger
	HostKey ssh.Signer
	// UserCA gives the key that signs user certificates, read anew for each login.
	UserCA func() (ssh.PublicKey, error)
	// Principal is the one principal that a certificate must name to open login; "" where the device forbids login.
	Principal func(login string) string
	// Dial connects a forwarded port, if the device's policy allows it. Its error is shown to the client.
	Dial func(ctx context.Context, host string, port int) (net.Conn, error)
	// SFTP is the command, run as the login, that speaks SFTP on its stdin and stdout.
	SFTP []string
	// Now is the clock that certificates are checked against.
	Now func() time.Time
}

// Server serves SSH connections until Close.
type Server struct {
	config Config
	ctx    context.Context // of every connection
	cancel context.CancelFunc

	mu    sync.Mutex
	conns map[net.Conn]struct{} // nil after Close
}

// New makes a Server.
func New(c Config) *Server {
	ctx, cancel := context.WithCancel(context.Background())
	return &Server{config: c, ctx: ctx, cancel: cancel, conns: map[net.Conn]struct{}{}}
}

// Close ends every connection. Serve calls return soon after.
func (s *Server) Close() {
	s.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

func (s *Server) track(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		return false
	}
	s.conns[conn] = struct{}{}
	return true
}

func (s *Server) forget(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

// Serve speaks SSH on conn until either side ends it, and closes conn. Programs that outlive it are left to run, as
// with any SSH server; they have been sent SIGHUP.
func (s *Server) Serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	if !s.track(conn) {
		return
	}
	defer s.forget(conn)
	_ = conn.SetDeadline(time.Now().Add(handshakeTimeout))
	server, channels, requests, err := ssh.NewServerConn(conn, s.serverConfig())
	if err != nil {
		s.config.Log.Info("ssh refused", "cause", err)
		return
	}
	_ = conn.SetDeadline(time.Time{})
	c := &connection{server: s, ssh: server, who: identityOf(server.Permissions)}
	c.log = s.config.Log.With("login", c.who.account.name, "certificate", c.who.keyID)
	c.log.Info("ssh opened")
	start := time.Now()
	c.serve(channels, requests)
	c.log.Info("ssh closed", "duration", time.Since(start).Round(time.Millisecond))
}

// connection is one authenticated SSH connection.
type connection struct {
	server *Server
	ssh    *ssh.ServerConn
	who    identity
	log    *slog.Logger
	wg     sync.WaitGroup
}

func (c *connection) serve(channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	ctx, cancel := context.WithCancel(c.server.ctx)
	c.wg.Go(func() { c.refuseRequests(requests) })
	open := make(chan struct{}, maxChannels)
	for n := range channels {
		select {
		case open <- struct{}{}:
		default:
			_ = n.Reject(ssh.ResourceShortage, "too many channels")
			continue
		}
		c.wg.Go(func() {
			c.open(ctx, n)
			<-open
		})
	}
	cancel()
	c.wg.Wait()
}

// open authorises one channel and serves it (RFC 4254 §5.1).
func (c *connection) open(ctx context.Context, n ssh.NewChannel) {
	switch n.ChannelType() {
	case "session":
		c.session(ctx, n)
	case "direct-tcpip":
		c.forward(ctx, n)
	default:
		c.log.Warn("ssh channel refused", "type", printable(n.ChannelType()))
		_ = n.Reject(ssh.UnknownChannelType, "not offered by this server")
	}
}

// refuseRequests turns down global requests (RFC 4254 §4), of which this server offers none.
func (c *connection) refuseRequests(requests <-chan *ssh.Request) {
	for r := range requests {
		switch r.Type {
		case "keepalive@openssh.com", "no-more-sessions@openssh.com":
		default:
			c.log.Warn("ssh request refused", "type", printable(r.Type))
		}
		if r.WantReply {
			_ = r.Reply(false, nil)
		}
	}
}
