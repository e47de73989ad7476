package conformance

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"time"
)

// patience is how long what must come may take: on a machine that does other things too, where only what never comes is a fault.
const patience = time.Minute

// dial opens a connection to a broker.
type dial func() (net.Conn, error)

// run is one run of a row.
type run struct {
	words
	dial  dial
	exact bool // Reason Codes count where a server may choose to say none
	keep  bool // connections stay for another row
	peers map[string]*peer
}

// peer is a connection.
type peer struct {
	net.Conn
	packets chan []byte // whole ones, as they come; closed at the end
	ended   error       // why, once packets is closed
	last    time.Time   // end of the last step that sent
}

func newRun(version, unique string, d dial, exact bool) *run {
	return &run{words: words{version: version, unique: unique, user: user, pass: pass, seen: map[string][]byte{}}, dial: d, exact: exact, peers: map[string]*peer{}}
}

// do runs a row; its error names the line.
func (r *run) do(w row) error {
	if !r.keep {
		defer r.close()
	}
	var steps []step
	for _, s := range w.steps {
		if s.only == "" || s.only == r.version {
			steps = append(steps, s.expand()...)
		}
	}
	for len(steps) > 0 {
		n := 1
		for steps[0].verb == "&" && n < len(steps) && steps[n].verb == "&" && steps[n].peer == steps[0].peer {
			n++
		}
		if err := r.step(steps[:n]); err != nil {
			return fmt.Errorf("line %d: %s\n%s%w", steps[0].counted, steps[0].line, w.words+"\n", err)
		}
		steps = steps[n:]
	}
	return nil
}

func (r *run) close() {
	for _, p := range r.peers {
		_ = p.Close()
	}
}

// step does one step, or some that may come in any order.
func (r *run) step(s []step) error {
	p, err := r.peer(s[0].peer)
	if err != nil {
		return err
	}
	switch s[0].verb {
	case ">":
		packet, err := r.bytesOf(s[0].tokens)
		if err != nil {
			return err
		}
		_ = p.SetWriteDeadline(time.Now().Add(patience))
		_, _ = p.Write(packet) // where the server has closed, the next step shows it
		p.last = time.Now()
		return nil
	case "<", "&":
		return r.expect(p, s)
	case "!":
		delete(r.peers, s[0].peer)
		defer p.Close()
		return r.ended(p, s[0].tokens)
	case "?":
		delete(r.peers, s[0].peer)
		defer p.Close()
		return r.refused(p, s[0].tokens[0])
	case "~":
		delete(r.peers, s[0].peer)
		defer p.Close()
		return r.slowly(p, s[0].tokens)
	case "-":
		delete(r.peers, s[0].peer)
		return p.Close()
	case "=":
		return p.silent(s[0].tokens[0])
	case "forget":
		delete(r.seen, "@"+s[0].tokens[0])
		return nil
	}
	return fmt.Errorf("no such step: %s", s[0].verb)
}

func (r *run) peer(name string) (*peer, error) {
	if p := r.peers[name]; p != nil {
		return p, nil
	}
	conn, err := r.dial()
	if err != nil {
		return nil, err
	}
	p := &peer{Conn: conn, packets: make(chan []byte, 16), last: time.Now()}
	go p.read()
	r.peers[name] = p
	return p, nil
}

// read reads packets until the end. A read with a deadline would end a WebSocket when it is not met.
func (p *peer) read() {
	defer close(p.packets)
	for r := bufio.NewReader(p.Conn); ; {
		packet, err := readPacket(r)
		if err != nil {
			p.ended = err
			return
		}
		p.packets <- packet
	}
}

// Close closes, and waits for the reader.
func (p *peer) Close() error {
	err := p.Conn.Close()
	for range p.packets {
	}
	return err
}

func readPacket(r *bufio.Reader) ([]byte, error) {
	head, err := r.ReadByte()
	if err != nil {
		return nil, err
	}
	packet := []byte{head}
	for n := 1; n == 1 || packet[n-1] >= 0x80; n++ {
		b, err := r.ReadByte()
		if err != nil {
			return nil, err
		}
		packet = append(packet, b)
	}
	size, n := binary.Uvarint(packet[1:])
	if n > 4 || n > 1 && packet[n] == 0 || size > 4<<20 { // MQTT 5.0 §1.5.5: as few bytes as it can
		return nil, fmt.Errorf("a Remaining Length that no server sends: % x", packet)
	}
	at := len(packet)
	packet = append(packet, make([]byte, size)...)
	_, err = io.ReadFull(r, packet[at:])
	return packet, err
}

var errNothing = errors.New("nothing comes")

// packet is the next one. Errors: errNothing where none comes in time, and why the connection has ended.
func (p *peer) packet(within time.Duration) ([]byte, error) {
	select {
	case packet, ok := <-p.packets:
		if !ok {
			return nil, p.ended
		}
		return packet, nil
	case <-time.After(within):
		return nil, errNothing
	}
}

// expect reads a packet for each step; several may come in any order.
func (r *run) expect(p *peer, s []step) error {
	open := slices.Clone(s)
	for range s {
		packet, err := p.packet(patience)
		if err != nil {
			return err
		}
		var misses []error
		at := slices.IndexFunc(open, func(o step) bool {
			before := maps.Clone(r.seen)
			err := r.match(o.tokens, packet)
			if err != nil {
				r.seen = before
				misses = append(misses, err)
			}
			return err == nil
		})
		if at < 0 {
			return fmt.Errorf("got % x: %w", packet[:min(len(packet), 80)], errors.Join(misses...))
		}
		open = slices.Delete(open, at, at+1)
	}
	return nil
}

// ended expects that the server ends the connection, in 5.0 with a DISCONNECT of that code.
func (r *run) ended(p *peer, tokens []string) error {
	from, code := time.Duration(0), ""
	for _, token := range tokens {
		if length, ok := strings.CutSuffix(token, ".."); ok {
			var err error
			if from, err = time.ParseDuration(length); err != nil {
				return err
			}
			continue
		}
		code = token
	}
	said := -1
	for {
		packet, err := p.packet(time.Until(p.last.Add(patience)))
		if err != nil {
			if errors.Is(err, errNothing) {
				return fmt.Errorf("after %s the connection is still there", patience)
			}
			break
		}
		if r.version == "4" || code == "--" || said >= 0 || packet[0] != 0xe0 {
			return fmt.Errorf("in place of the end comes % x", packet)
		}
		if said = 0; len(packet) > 2 {
			said = int(packet[2])
		}
		if err := r.match([]string{"e0", ".", "??", "[*, -11]"}, packet); len(packet) > 3 && err != nil {
			return err
		}
	}
	if passed := time.Since(p.last); passed < from {
		return fmt.Errorf("the connection ends after %s, before %s", passed, from)
	}
	return r.said(said, code)
}

func (r *run) said(said int, code string) error {
	if r.version == "4" || code == "--" || !r.exact && said < 0 {
		return nil
	}
	if said < 0x80 {
		return fmt.Errorf("DISCONNECT said %d (-1: there was none)", said)
	}
	if code == "" || !r.exact {
		return nil
	}
	if !slices.Contains(strings.Split(code, "|"), fmt.Sprintf("%02x", said)) {
		return fmt.Errorf("DISCONNECT said %02x, not %s", said, code)
	}
	return nil
}

// refused expects the end in answer to a CONNECT, in 5.0 behind a CONNACK with one of these codes.
func (r *run) refused(p *peer, codes string) error {
	packet, err := p.packet(patience)
	if err == nil && r.version == "5" {
		if err := r.match([]string{"20", ".", "00", codes, "[*]"}, packet); err != nil {
			return err
		}
		packet, err = p.packet(patience)
	} else if r.version == "5" && r.exact {
		return fmt.Errorf("no CONNACK: %w", err)
	}
	if err == nil {
		return fmt.Errorf("in place of the end comes % x", packet)
	}
	if errors.Is(err, errNothing) {
		return errors.New("the connection stays")
	}
	return nil
}

// slowly sends byte by byte, and expects that the server does not wait for the last one.
func (r *run) slowly(p *peer, tokens []string) error {
	pause, err := time.ParseDuration(tokens[0])
	if err != nil {
		return err
	}
	all, err := r.bytesOf(tokens[1:])
	if err != nil {
		return err
	}
	for _, b := range all {
		_, _ = p.Write([]byte{b})
		packet, err := p.packet(pause)
		if err == nil {
			return fmt.Errorf("in place of the end comes % x", packet)
		}
		if !errors.Is(err, errNothing) {
			return nil
		}
	}
	return fmt.Errorf("the server has waited for all %d bytes", len(all))
}

// silent expects that nothing comes for some time.
func (p *peer) silent(length string) error {
	d, err := time.ParseDuration(length)
	if err != nil {
		return err
	}
	packet, err := p.packet(d)
	if errors.Is(err, errNothing) {
		return nil
	}
	if err == nil {
		return fmt.Errorf("comes % x", packet)
	}
	return fmt.Errorf("the connection ends: %w", err)
}
