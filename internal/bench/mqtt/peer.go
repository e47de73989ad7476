package mqtt

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"

	codec "github.com/aditdev/adit/internal/mqtt"
)

// peerBuffer is the size of each of a peer's two buffers, in bytes.
const peerBuffer = 8 << 10

// peer is a client that does as little as it can, so that what is measured is the server. It speaks 3.1.1: a Receive Maximum
// makes the bare library lose messages of QoS 1.
type peer struct {
	conn net.Conn
	web  *webReader // nil over plain TCP
	r    *bufio.Reader

	mu sync.Mutex // one write at a time
}

// dial connects, with a session that is kept where clean is false.
func (s *server) dial(id string, clean bool) (*peer, error) {
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		return nil, err
	}
	p := &peer{conn: conn}
	if err = p.open(s, id, clean); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return p, nil
}

func (p *peer) open(s *server, id string, clean bool) error {
	p.r = bufio.NewReaderSize(p.conn, peerBuffer)
	if s.path != "" {
		if err := p.upgrade(s); err != nil {
			return err
		}
		p.web = &webReader{peer: p, r: p.r}
		p.r = bufio.NewReaderSize(p.web, peerBuffer)
	}
	connect := &codec.Connect{Version: codec.V311, Clean: clean, KeepAlive: 60, ClientID: id,
		HasUsername: s.username != "", Username: s.username, HasPassword: s.password != "", Password: s.password}
	answer, err := p.ask(connect, codec.CONNACK)
	if err == nil && answer.body[1] != 0 {
		err = fmt.Errorf("refused with code %d", answer.body[1])
	}
	return err
}

// upgrade makes a WebSocket of the connection (RFC 6455 §4.1).
func (p *peer) upgrade(s *server) error {
	_, err := fmt.Fprintf(p.conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Key: YmVuY2htYXJrIG9mIG1xdA==\r\n\r\n", s.path, s.address)
	if err != nil {
		return err
	}
	answer, err := http.ReadResponse(p.r, nil)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("no WebSocket: %s", answer.Status)
	}
	return nil
}

// ask sends a packet and waits for the kind that answers it.
func (p *peer) ask(packet codec.Packet, kind codec.Type) (received, error) {
	frame, err := codec.Encode(packet, codec.V311)
	if err != nil {
		return received{}, err
	}
	if err := p.write(p.frame(nil, frame)); err != nil {
		return received{}, err
	}
	for {
		if m, err := p.next(); err != nil || m.kind == kind {
			return m, err
		}
	}
}

func (p *peer) subscribe(filter string, qos byte) error {
	answer, err := p.ask(&codec.Subscribe{ID: 1, Filters: []codec.Subscription{{Filter: filter, QoS: qos}}}, codec.SUBACK)
	if err == nil && answer.body[2] != qos {
		err = fmt.Errorf("subscribe %s: code %d", filter, answer.body[2])
	}
	return err
}

// frame appends a packet, in a WebSocket's message of its own where there is one. The mask is zero, which servers take off all
// the same: it guards proxies (RFC 6455 §10.3), and here are none.
func (p *peer) frame(out, packet []byte) []byte {
	if p.web != nil {
		out = webHeader(out, 0x82, len(packet))
	}
	return append(out, packet...)
}

func webHeader(out []byte, first byte, n int) []byte {
	if n < 126 {
		out = append(out, first, 0x80|byte(n))
	} else {
		out = append(out, first, 0x80|126, byte(n>>8), byte(n))
	}
	return append(out, 0, 0, 0, 0)
}

func (p *peer) write(frames []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := p.conn.Write(frames)
	return err
}

// received is a packet; body is valid until the next.
type received struct {
	kind codec.Type
	id   uint16
	body []byte // of PUBLISH the payload
}

func (p *peer) next() (m received, err error) {
	first, err := p.r.ReadByte()
	if err != nil {
		return m, err
	}
	n, err := binary.ReadUvarint(p.r) // the same as Remaining Length
	if err != nil {
		return m, err
	}
	m.kind = codec.Type(first >> 4)
	if m.body, err = p.r.Peek(int(n)); err != nil {
		return m, err
	}
	if _, err = p.r.Discard(int(n)); err != nil || m.kind != codec.PUBLISH {
		return m, err
	}
	m.body = m.body[2+binary.BigEndian.Uint16(m.body):]
	if first&0x06 != 0 {
		m.id, m.body = binary.BigEndian.Uint16(m.body), m.body[2:]
	}
	return m, nil
}

// quiet reports whether all that has arrived is read.
func (p *peer) quiet() bool { return p.r.Buffered() == 0 && (p.web == nil || p.web.r.Buffered() == 0) }

func (p *peer) close() {
	_ = p.write(p.frame(nil, []byte{byte(codec.DISCONNECT) << 4, 0}))
	_ = p.conn.Close()
}

// webReader takes a server's WebSocket messages apart and answers its pings.
type webReader struct {
	peer *peer
	r    *bufio.Reader
	left int // bytes of the frame that is being read
}

// Read is io.Reader's.
func (w *webReader) Read(p []byte) (int, error) {
	for w.left == 0 {
		if err := w.begin(); err != nil {
			return 0, err
		}
	}
	n, err := w.r.Read(p[:min(len(p), w.left)])
	w.left -= n
	return n, err
}

// begin reads the head of the next frame with data.
func (w *webReader) begin() error {
	var head [4]byte
	if _, err := io.ReadFull(w.r, head[:2]); err != nil {
		return err
	}
	n := int(head[1])
	if n >= 127 {
		return fmt.Errorf("a frame of the WebSocket with length %d", n)
	}
	if n == 126 {
		if _, err := io.ReadFull(w.r, head[2:]); err != nil {
			return err
		}
		n = int(binary.BigEndian.Uint16(head[2:]))
	}
	switch head[0] & 0x0f {
	case 8:
		return io.EOF
	case 9:
		ping := make([]byte, n)
		if _, err := io.ReadFull(w.r, ping); err != nil {
			return err
		}
		return w.peer.write(append(webHeader(nil, 0x8a, n), ping...))
	}
	w.left = n
	return nil
}
