package sshgate

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/dist"
)

// probeTimeout is how long one probe takes at most.
const probeTimeout = 10 * time.Second

// Probe reaches the gate of a hub through its public URL as dist.ProxyCommand's form does, and fails where that does not
// lead to SSH, or to another host key than the gate's.
func Probe(ctx context.Context, hub *url.URL, form dist.Form, key ssh.PublicKey) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := dialURL(ctx, hub)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	path, headers := "/ssh", "Upgrade: ssh\r\n"
	if form == dist.FormRaw {
		path, headers = "/ssh?raw", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: YWRpdCByYXcgc3NoZ2F0ZQ==\r\n"
	}
	p := &probed{Conn: conn, reader: bufio.NewReader(conn),
		request: fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\n%s\r\n", path, hub.Host, headers)}
	if form != dist.FormUpgrade {
		if err := p.skipHead(); err != nil {
			return err
		}
	}
	err = handshakeAs(p, hub.Host, key)
	if ctx.Err() != nil {
		return fmt.Errorf("no answer to SSH's first bytes within %v: they were lost on the way", probeTimeout)
	}
	return err
}

func dialURL(ctx context.Context, hub *url.URL) (net.Conn, error) {
	port := hub.Port()
	if port == "" {
		port = "443"
	}
	conn, err := (&tls.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(hub.Hostname(), port))
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return conn, nil
}

// probed is the connection behind the request and the head of its answer. The request goes out with the first bytes of
// SSH, in one piece, since that is what old proxies lose; or alone, when the head is waited for. ssh takes the head for
// lines before the banner (RFC 4253 §4.2); the library's client does not, so that it is cut off here.
type probed struct {
	net.Conn
	reader  *bufio.Reader
	request []byte // until it went out
	skipped bool
}

func (p *probed) Write(b []byte) (int, error) {
	if len(p.request) > 0 {
		whole := append(p.request, b...)
		p.request = nil
		if _, err := p.Conn.Write(whole); err != nil {
			return 0, err
		}
		return len(b), nil
	}
	return p.Conn.Write(b)
}

func (p *probed) skipHead() error {
	p.skipped = true
	if _, err := p.Write(nil); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	reply, err := http.ReadResponse(p.reader, nil)
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	if reply.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("answered %s instead of 101", reply.Status)
	}
	return nil
}

func (p *probed) Read(b []byte) (int, error) {
	if !p.skipped {
		if err := p.skipHead(); err != nil {
			return 0, err
		}
	}
	return p.reader.Read(b)
}

// handshakeAs exchanges keys with the gate, and is content to be let in no further.
func handshakeAs(conn net.Conn, host string, key ssh.PublicKey) error {
	seen := false
	_, _, _, err := ssh.NewClientConn(conn, host, &ssh.ClientConfig{User: "doctor", ClientVersion: version,
		HostKeyCallback: func(name string, remote net.Addr, shown ssh.PublicKey) error {
			err := ssh.FixedHostKey(key)(name, remote, shown)
			seen = err == nil
			return err
		}})
	if seen { // everything that follows is the gate's own refusal of nobody
		return nil
	}
	if err == nil || strings.Contains(err.Error(), io.EOF.Error()) {
		return fmt.Errorf("the connection ended before SSH began: %w", err)
	}
	return err
}
