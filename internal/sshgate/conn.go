package sshgate

import (
	"bufio"
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// heardConn knows when its peer was last heard, and tells a peer that begins with something else than SSH what this is.
type heardConn struct {
	net.Conn
	began  time.Time
	heard  atomic.Int64 // nanoseconds after began: a clock that is set hides no dead peer
	proven atomic.Bool  // the peer is somebody, so it may cost a buffer
	once   sync.Once
	lost   chan struct{} // closed when nothing comes any more, before anybody above is told

	// The reader's own.
	what  string // told to a peer that does not speak SSH
	first [4]byte
	read  int // bytes of first
	ahead *bufio.Reader
}

func newHeardConn(conn net.Conn, what string) *heardConn {
	return &heardConn{Conn: conn, began: time.Now(), lost: make(chan struct{}), what: what}
}

// readMost is how much is read at once. The library's own buffer takes two reads for each packet of 32 KiB.
const readMost = 64 << 10

func (c *heardConn) readAhead(p []byte) (int, error) {
	if c.ahead == nil && c.proven.Load() {
		c.ahead = bufio.NewReaderSize(c.Conn, readMost)
	}
	if c.ahead == nil {
		return c.Conn.Read(p)
	}
	return c.ahead.Read(p)
}

// protocol is how every client begins (RFC 4253 §4.2). Servers may say lines before it, clients may not.
var protocol = []byte("SSH-")

func (c *heardConn) Read(p []byte) (int, error) {
	n, err := c.readAhead(p)
	if n > 0 {
		c.heard.Store(int64(time.Since(c.began)))
		if c.read < len(c.first) {
			c.read += copy(c.first[c.read:], p[:n])
		}
	}
	if err != nil {
		c.lose()
	}
	if !bytes.HasPrefix(protocol, c.first[:c.read]) {
		c.say(c.what) // now: the library closes what fails
		return 0, errNotSSH
	}
	return n, err
}

func (c *heardConn) lose() { c.once.Do(func() { close(c.lost) }) }

// Close is net.Conn's.
func (c *heardConn) Close() error {
	c.lose()
	return c.Conn.Close()
}

func (c *heardConn) lastHeard() time.Time { return c.began.Add(time.Duration(c.heard.Load())) }

// say writes one line of plain text, for who has not been answered in SSH.
func (c *heardConn) say(line string) {
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = c.Write([]byte(line + "\r\n"))
}
