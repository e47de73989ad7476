package gateway

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

// farewell is how long one end may go on talking when the other has said all.
const farewell = 2 * time.Second

// serve carries one connection to the hub, to its end.
func (l *Listener) serve(ctx context.Context, conn net.Conn) error {
	_ = conn.SetDeadline(time.Now().Add(connectTimeout))
	reader := bufio.NewReader(conn)
	connect, err := readConnect(reader)
	if err != nil {
		if e, ok := errors.AsType[*mqtt.Error](err); ok {
			refuse(conn, 0, e.Code)
		}
		return err
	}
	user, ok := l.admit(connect)
	if !ok {
		l.count(&l.refused)
		refuse(conn, connect.Version, mqtt.BadUserNameOrPassword)
		return wire.Errorf(wire.Unauthenticated, "Wrong username or password of %.64q.", connect.Username)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	hub, err := l.open(ctx, cancel, connect, user)
	if err != nil {
		_ = conn.SetDeadline(time.Now().Add(connectTimeout))
		refuse(conn, connect.Version, mqtt.ServerUnavailable)
		return err
	}
	defer func() { _ = hub.Close() }()
	_ = conn.SetDeadline(time.Time{})
	name := user.Name
	if user.Device {
		name = ""
	}
	l.come(name, 1)
	defer l.come(name, -1)
	if name == "" && user.MaxPacket == 0 {
		return stream.Copy(side{conn, reader}, side{hub, nil})
	}
	p := &pump{listener: l, name: name, limit: user.MaxPacket, version: connect.Version, conn: conn, reader: reader, hub: hub}
	return p.run()
}

// readConnect reads the first packet, whatever version it speaks.
func readConnect(r *bufio.Reader) (*mqtt.Connect, error) {
	first, err := r.Peek(1)
	if err != nil {
		return nil, err
	}
	if first[0] != byte(mqtt.CONNECT)<<4 {
		return nil, wire.Errorf(wire.Invalid, "What comes first is no CONNECT.")
	}
	p, err := mqtt.ReadPacket(r, mqtt.V311, maxConnect)
	if err != nil {
		return nil, err
	}
	return p.(*mqtt.Connect), nil
}

// admit says who connects: with users configured one of them, else the device.
func (l *Listener) admit(c *mqtt.Connect) (User, bool) {
	if len(l.options.Users) == 0 {
		return User{Device: true}, true
	}
	if !c.HasUsername || !c.HasPassword {
		return User{}, false
	}
	return l.users.check(c.Username, c.Password)
}

// open connects to the hub's broker and says CONNECT there as the thing, or as the device. What was meant for this listener
// alone, username and password, stays here.
// cancel ends ctx, whose end ends the connection.
func (l *Listener) open(ctx context.Context, cancel context.CancelFunc, c *mqtt.Connect, user User) (net.Conn, error) {
	if !l.options.Online() {
		return nil, wire.Errorf(wire.Offline, "The hub is not reached.")
	}
	rewritten := *c
	rewritten.Username, rewritten.Password, rewritten.HasUsername, rewritten.HasPassword = "", "", false, false
	if !user.Device {
		rewritten.HasUsername, rewritten.Username = true, user.Name
	}
	if user.MaxPacket > 0 && c.Version == mqtt.V5 {
		least := min(uint32(user.MaxPacket), c.Properties.Number(mqtt.MaximumPacketSize, 1<<32-1))
		rewritten.Properties = c.Properties.With(mqtt.Property{ID: mqtt.MaximumPacketSize, Number: least})
	}
	frame, err := mqtt.Encode(&rewritten, c.Version)
	if err != nil {
		return nil, err
	}
	late := time.AfterFunc(connectTimeout, cancel)
	defer late.Stop()
	hub, err := l.options.Dial(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := hub.Write(frame); err != nil {
		_ = hub.Close()
		return nil, err
	}
	return hub, nil
}

// side is one end of what is carried, of which a part may have been read already.
type side struct {
	net.Conn
	r *bufio.Reader // nil: nothing was
}

func (s side) Read(p []byte) (int, error) {
	if s.r != nil && s.r.Buffered() > 0 {
		return s.r.Read(p)
	}
	return s.Conn.Read(p)
}

// CloseWrite ends the writing side as well as it can: a WebSocket has no half-close.
func (s side) CloseWrite() error {
	time.AfterFunc(farewell, func() { _ = s.Close() })
	if half, ok := s.Conn.(stream.HalfCloser); ok {
		return half.CloseWrite()
	}
	return nil
}

// pump carries a thing's packets one by one: it keeps those that the thing cannot take from it, and notes when it was seen.
type pump struct {
	listener *Listener
	name     string
	limit    int
	version  mqtt.Version
	conn     net.Conn
	reader   *bufio.Reader
	hub      net.Conn

	mu      sync.Mutex          // of writing to the hub
	dropped map[uint16]struct{} // messages of QoS 2 that were kept from the thing, until PUBREL
}

func (p *pump) run() error {
	p.dropped = map[uint16]struct{}{}
	var back sync.WaitGroup
	var failure error
	back.Go(func() {
		failure = p.down()
		if errors.Is(failure, io.EOF) {
			_ = side{Conn: p.conn}.CloseWrite()
		} else {
			_ = p.conn.Close()
		}
	})
	err := p.up()
	if errors.Is(err, io.EOF) {
		_ = side{Conn: p.hub}.CloseWrite()
	} else {
		_ = p.hub.Close()
	}
	back.Wait()
	if errors.Is(err, io.EOF) {
		err = failure
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// up carries what the thing says, until an error; io.EOF is an end in good order.
func (p *pump) up() error {
	for {
		frame, err := mqtt.ReadFrame(p.reader, maxPacket)
		if err != nil {
			return err
		}
		p.listener.come(p.name, 0)
		if err := p.toHub(frame); err != nil {
			return err
		}
	}
}

func (p *pump) toHub(frame []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := p.hub.Write(frame)
	return err
}

// down carries what the hub says, likewise. A message that is larger than the thing takes is acknowledged in its place.
func (p *pump) down() error {
	reader := bufio.NewReader(p.hub)
	for {
		frame, err := mqtt.ReadFrame(reader, mqtt.MaxRemaining)
		if err != nil {
			return err
		}
		answer, keep, err := p.sift(frame)
		switch {
		case err != nil:
			return err
		case answer != nil:
			err = p.toHub(answer)
		case !keep:
			_, err = p.conn.Write(frame)
		}
		if err != nil {
			return err
		}
	}
}

// sift says whether a packet is kept from the thing, and what the hub is answered then.
func (p *pump) sift(frame []byte) (answer []byte, keep bool, err error) {
	t := mqtt.Type(frame[0] >> 4)
	if t == mqtt.PUBREL && len(p.dropped) > 0 {
		return p.released(frame)
	}
	if t != mqtt.PUBLISH || p.limit == 0 || len(frame) <= p.limit {
		return nil, false, nil
	}
	packet, err := mqtt.Decode(frame, p.version)
	if err != nil {
		return nil, false, err
	}
	m := packet.(*mqtt.Publish)
	p.listener.count(&p.listener.dropped)
	p.listener.options.Log.Warn("mqtt message too large for its thing", "thing", p.name, "topic", wire.Printable(m.Topic, 200), "bytes", len(frame), "max_packet", p.limit)
	switch m.QoS {
	case 0:
		return nil, true, nil
	case 1:
		answer, err = mqtt.Encode(&mqtt.Ack{Kind: mqtt.PUBACK, ID: m.ID}, p.version)
	case 2:
		p.dropped[m.ID] = struct{}{}
		answer, err = mqtt.Encode(&mqtt.Ack{Kind: mqtt.PUBREC, ID: m.ID}, p.version)
	}
	return answer, true, err
}

func (p *pump) released(frame []byte) (answer []byte, keep bool, err error) {
	packet, err := mqtt.Decode(frame, p.version)
	if err != nil {
		return nil, false, err
	}
	id := packet.(*mqtt.Ack).ID
	if _, ours := p.dropped[id]; !ours {
		return nil, false, nil
	}
	delete(p.dropped, id)
	answer, err = mqtt.Encode(&mqtt.Ack{Kind: mqtt.PUBCOMP, ID: id}, p.version)
	return answer, true, err
}
