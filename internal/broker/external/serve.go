package external

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/wire"
)

var (
	errTooMany  = mqtt.Errorf(mqtt.ServerBusy, "too many connections that have not said who they are")
	errStopping = mqtt.Errorf(mqtt.ServerUnavailable, "the hub is stopping: try again")
)

// enter counts a connection that is not let in yet; an error means that there are too many, or that the hub stops.
func (b *Broker) enter(door messaging.Door) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	network := door.Network()
	switch {
	case b.life.Err() != nil:
		return errStopping
	case door.By != nil: // no stranger
	case b.strangersAll >= maxStrangers || network != "" && b.strangers[network] >= maxStrangersPerAddress:
		return errTooMany
	default:
		b.strangersAll++
		b.strangers[network]++
	}
	b.served.Add(1)
	return nil
}

func (b *Broker) leave(door messaging.Door) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if door.By != nil {
		return
	}
	network := door.Network()
	b.strangersAll--
	if b.strangers[network]--; b.strangers[network] == 0 {
		delete(b.strangers, network)
	}
}

// Serve implements messaging.Backend. Its error says why the connection ended, nil where both sides closed it in good order.
func (b *Broker) Serve(ctx context.Context, conn net.Conn, door messaging.Door) error {
	defer conn.Close()
	if err := b.enter(door); err != nil {
		b.tell.Of(ctx, messaging.Refusal{Door: door}, err)
		return err
	}
	defer b.served.Done()
	p := &peer{b: b, conn: conn, door: door, reader: bufio.NewReaderSize(conn, pieceSize)}
	err := b.letIn(ctx, p)
	b.leave(door)
	if p.broker != nil {
		defer p.broker.Close()
	}
	if e, ok := errors.AsType[*mqtt.Error](err); ok {
		return errors.Join(err, p.refuse(e))
	}
	if err != nil {
		return err
	}
	defer b.remove(p)
	defer context.AfterFunc(ctx, func() { _, _ = conn.Close(), p.broker.Close() })()
	return p.pass()
}

// letIn opens a peer unless ctx or the hub ends meanwhile.
func (b *Broker) letIn(ctx context.Context, p *peer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(b.life, cancel)()
	defer context.AfterFunc(ctx, func() { _ = p.conn.Close() })()
	return p.open(ctx)
}

// open reads CONNECT, asks who it is, and has the broker answer. An *mqtt.Error is what the peer is to be told.
func (p *peer) open(ctx context.Context) error {
	if err := p.conn.SetDeadline(time.Now().Add(connectWithin)); err != nil {
		return err
	}
	c, err := p.readConnect()
	if err != nil {
		p.b.tell.Of(ctx, messaging.Refusal{Door: p.door}, err)
		return err
	}
	err = p.letInAs(ctx, c)
	p.b.tell.Of(ctx, messaging.Refusal{Door: p.door, Principal: p.principal, Username: c.Username, ClientID: c.ClientID}, err)
	return err
}

// letInAs has the peer in as whom it says to be.
func (p *peer) letInAs(ctx context.Context, c *mqtt.Connect) error {
	if err := p.admit(ctx, c); err != nil {
		return err
	}
	if err := p.conn.SetDeadline(time.Now().Add(dialWithin + answerWithin + closeWithin)); err != nil {
		return err
	}
	answer, err := p.introduce(ctx, c)
	if err != nil {
		return err
	}
	if err := p.b.add(p); err != nil {
		return err
	}
	_, err = p.conn.Write(answer)
	if err == nil {
		err = p.conn.SetReadDeadline(time.Time{})
	}
	if err != nil {
		p.b.remove(p)
	}
	return err
}

func (p *peer) readConnect() (*mqtt.Connect, error) {
	first, err := p.reader.Peek(1)
	if err == nil && first[0] != byte(mqtt.CONNECT)<<4 { // whatever else it is, HTTP say, need not be awaited
		return nil, mqtt.Errorf(mqtt.ProtocolError, "the first packet is %s", mqtt.Type(first[0]>>4))
	}
	frame, err := mqtt.ReadFrame(p.reader, maxConnect)
	if err != nil {
		return nil, fmt.Errorf("read CONNECT: %w", err)
	}
	p.version = versionOf(frame)
	q, err := mqtt.Decode(frame, mqtt.V311)
	if err != nil {
		return nil, err
	}
	return q.(*mqtt.Connect), nil
}

// versionOf looks for the version in which a CONNECT wants its answer, also in one that cannot be read; 0 where there is none.
func versionOf(frame []byte) mqtt.Version {
	at := 1
	for at < len(frame)-1 && frame[at] >= 0x80 {
		at++
	}
	if at+2 >= len(frame) {
		return 0
	}
	level := at + 3 + int(frame[at+2]) // behind Remaining Length and the Protocol Name
	switch {
	case level >= len(frame):
		return 0
	case frame[level] == byte(mqtt.V5):
		return mqtt.V5
	}
	return mqtt.V311 // as 3.1 and, for versions that nobody knows, 3.1.1 §3.1.2.2 want it
}

// admit asks who the peer is, and checks what of CONNECT is the hub's business.
func (p *peer) admit(ctx context.Context, c *mqtt.Connect) error {
	if method, ok := c.Properties.Find(mqtt.AuthenticationMethod); ok {
		return mqtt.Errorf(mqtt.BadAuthenticationMethod, "this hub knows no authentication method %.100q: use username and password", method.Text)
	}
	if err := checkClientID(c.ClientID); err != nil {
		return err
	}
	principal, err := p.b.access.Admit(ctx, p.door, c.Username, c.Password)
	if err != nil {
		return refusal(err)
	}
	name, ok := username(principal)
	if !ok {
		return mqtt.Errorf(mqtt.NotAuthorized, "the broker behind this hub has no username for you")
	}
	p.principal, p.username, p.since = principal, name, p.b.now()
	p.keepAlive, p.clean, p.bridge, p.said = time.Duration(c.KeepAlive)*time.Second, c.Clean, c.Bridge, c.Version
	if p.clientID = c.ClientID; p.clientID == "" {
		p.clientID, p.assigned = "auto-"+rand.Text(), true
	}
	return nil
}

// refusal is what a peer is told of an error of Access.
func refusal(err error) error {
	codes := map[wire.Code]mqtt.ReasonCode{wire.Invalid: mqtt.ProtocolError, wire.Unauthenticated: mqtt.BadUserNameOrPassword,
		wire.Forbidden: mqtt.NotAuthorized, wire.NotFound: mqtt.NotAuthorized, wire.RateLimited: mqtt.ConnectionRateExceeded, wire.Offline: mqtt.ServerUnavailable}
	code, ok := codes[wire.CodeOf(err)]
	if !ok {
		code = mqtt.Unspecified
	}
	return &mqtt.Error{Code: code, Message: wire.MessageOf(err)}
}

// refuse answers CONNECT with a reason, in words that its version has.
func (p *peer) refuse(e *mqtt.Error) error {
	if p.version == 0 || p.version != mqtt.V5 && (e.Code == mqtt.MalformedPacket || e.Code == mqtt.ProtocolError) {
		return nil // nobody who would understand it, or one whose standard says to close without a word
	}
	answer := &mqtt.Connack{Code: e.Code}
	if e.Message != "" {
		answer.Properties = mqtt.Properties{{ID: mqtt.ReasonString, Text: e.Message}}
	}
	frame, err := mqtt.Encode(answer, p.version)
	if err == nil {
		err = p.conn.SetWriteDeadline(time.Now().Add(closeWithin))
	}
	if err == nil {
		_, err = p.conn.Write(frame)
	}
	return err
}

// introduce says CONNECT to the broker as the peer, and gives its CONNACK as the peer shall have it.
func (p *peer) introduce(ctx context.Context, c *mqtt.Connect) ([]byte, error) {
	q := *c
	q.ClientID = clientID(p.principal, p.clientID)
	q.HasUsername, q.Username, q.HasPassword, q.Password = true, p.username, true, p.b.password
	frame, err := mqtt.Encode(&q, q.Version)
	if err != nil {
		return nil, err
	}
	away := func(err error) error {
		p.b.log.Warn("the external broker did not answer an MQTT client", "name", p.username, "cause", err)
		return mqtt.Errorf(mqtt.ServerUnavailable, "the broker behind this hub cannot be reached: try again")
	}
	if p.broker, err = p.b.dial(ctx); err != nil {
		return nil, away(err)
	}
	defer context.AfterFunc(ctx, func() { _ = p.broker.Close() })()
	if err := p.broker.SetDeadline(time.Now().Add(answerWithin)); err != nil {
		return nil, away(err)
	}
	if _, err := p.broker.Write(frame); err != nil {
		return nil, away(err)
	}
	p.back = bufio.NewReaderSize(p.broker, pieceSize)
	answer, err := mqtt.ReadPacket(p.back, c.Version, maxConnack)
	if err != nil {
		return nil, away(err)
	}
	connack, ok := answer.(*mqtt.Connack)
	if !ok {
		return nil, away(fmt.Errorf("%s in answer to CONNECT", answer.Type()))
	}
	return p.answer(ctx, connack)
}

// answer gives a ClientID back without what the hub put before it. What the broker refuses it refuses in its own words.
func (p *peer) answer(ctx context.Context, c *mqtt.Connack) ([]byte, error) {
	if c.Code != mqtt.Success {
		p.b.log.Warn("the external broker refused an MQTT client", "name", p.username, "reason", c.Code)
	}
	if p.said == mqtt.V5 {
		c.Properties = c.Properties.Without(mqtt.AssignedClientID)
		if p.assigned && c.Code == mqtt.Success {
			c.Properties = append(c.Properties, mqtt.Property{ID: mqtt.AssignedClientID, Text: p.clientID})
		}
	}
	frame, err := mqtt.Encode(c, p.said)
	if err != nil || c.Code == mqtt.Success {
		return frame, errors.Join(err, p.broker.SetDeadline(time.Time{}))
	}
	p.b.tell.Of(ctx, messaging.Refusal{Door: p.door, Principal: p.principal, ClientID: p.clientID},
		mqtt.Errorf(c.Code, "the broker behind this hub refused: %s", c.Code))
	_, err = p.conn.Write(frame)
	return nil, errors.Join(fmt.Errorf("refused by the external broker: %s", c.Code), err)
}

// add lets a peer in for good, unless the policy has changed meanwhile.
func (b *Broker) add(p *peer) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.life.Err() != nil {
		return errStopping
	}
	if len(b.peers) >= maxClients {
		return mqtt.Errorf(mqtt.ServerBusy, "%d clients are connected", maxClients)
	}
	b.peers[p] = struct{}{}
	b.askAgain(p)
	return nil
}

func (b *Broker) remove(p *peer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.peers, p)
}
