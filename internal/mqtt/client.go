package mqtt

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Options are how a Client connects.
type Options struct {
	Version       Version // V5 where it is 0
	Bridge        bool    // before 5.0: asks for no-local and retain-as-published, as Mosquitto's bridges do
	ClientID      string
	Username      string // empty: none
	Password      string // empty: none
	Clean         bool
	SessionExpiry time.Duration // 5.0: how long the server keeps the session of a connection that ended
	KeepAlive     time.Duration // of whole seconds; a minute where it is 0
	Will          *Publish      // with its properties, as Will Delay Interval; its ID and Dup are not used
	Properties    Properties    // of CONNECT, beside those that other options stand for
	MaxPacket     int           // bytes that are read of one packet; 1 MiB where it is 0
	// Inflight is how many messages wait for their acknowledgement at once, each way; 20 where it is 0. A server may ask for less.
	Inflight uint16
	// Session goes on with one of an earlier connection. nil begins one that ends with the connection.
	Session *Session
	// OnPublish is given each message in order, from one goroutine that reads nothing meanwhile. ack says that it is safe:
	// QoS 1 and 2 are acknowledged then, from any goroutine, in the order in which they came. nil drops and acknowledges.
	OnPublish func(p *Publish, ack func())
}

func (o *Options) fill() {
	if o.Version == 0 {
		o.Version = V5
	}
	if o.KeepAlive == 0 {
		o.KeepAlive = time.Minute
	}
	if o.MaxPacket == 0 {
		o.MaxPacket = 1 << 20
	}
	if o.Inflight == 0 {
		o.Inflight = 20
	}
	if o.Session == nil {
		o.Session = NewSession(nil)
	}
	if o.OnPublish == nil {
		o.OnPublish = func(_ *Publish, ack func()) { ack() }
	}
}

// Client is one connection to an MQTT server.
type Client struct {
	options Options
	conn    net.Conn
	reader  *bufio.Reader
	connack *Connack
	own     bool // the session ends with the connection
	limit   int  // bytes that the server takes in one packet
	out     chan []byte
	slots   chan struct{} // one for each message in flight
	done    chan struct{}
	wg      sync.WaitGroup

	heard   atomic.Int64 // when something was read last, and written
	wrote   atomic.Int64
	pinged  atomic.Int64 // when the PINGREQ was due that is not answered; 0 for none
	closing atomic.Bool
	failing sync.Once
	err     error // set before done closes

	mu   sync.Mutex
	acks []*delivery // in order of arrival
}

// delivery is a message that its handler has.
type delivery struct {
	id    uint16
	qos   byte
	acked bool
}

// NewClient speaks CONNECT on conn and waits for CONNACK until ctx ends; afterwards ctx does not matter. The Client owns conn.
// Of a Session that goes on, the earlier Client must be closed. A refusal is an *Error with the server's code.
func NewClient(ctx context.Context, conn net.Conn, o Options) (*Client, error) {
	own := o.Session == nil
	o.fill()
	c := &Client{options: o, own: own, conn: conn, reader: bufio.NewReader(conn), done: make(chan struct{}), out: make(chan []byte, 64), limit: MaxRemaining}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	err := c.open()
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = conn.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	c.start()
	return c, nil
}

func (c *Client) open() error {
	frame, err := Encode(c.options.connect(), c.options.Version)
	if err != nil {
		return err
	}
	if _, err := c.conn.Write(frame); err != nil {
		return err
	}
	p, err := ReadPacket(c.reader, c.options.Version, c.options.MaxPacket)
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	connack, ok := p.(*Connack)
	switch {
	case !ok:
		return Errorf(ProtocolError, "%s in answer to CONNECT", p.Type())
	case connack.Code != Success:
		return &Error{Code: connack.Code, Message: connack.Properties.Text(ReasonString)}
	}
	c.connack = connack
	c.options.heed(connack.Properties)
	c.limit = int(connack.Properties.Number(MaximumPacketSize, uint32(c.limit)))
	return nil
}

func (o *Options) connect() *Connect {
	p := &Connect{
		Version: o.Version, Bridge: o.Bridge, Clean: o.Clean, KeepAlive: uint16(min(seconds(o.KeepAlive), 65535)), ClientID: o.ClientID,
		HasUsername: o.Username != "" || o.Password != "" && o.Version != V5, Username: o.Username, HasPassword: o.Password != "", Password: o.Password,
		Properties: Properties{{ID: ReceiveMaximum, Number: uint32(o.Inflight)}, {ID: MaximumPacketSize, Number: uint32(o.MaxPacket)}},
	}
	if o.SessionExpiry > 0 {
		p.Properties = append(p.Properties, Property{ID: SessionExpiry, Number: seconds(o.SessionExpiry)})
	}
	p.Will = o.Will
	p.Properties = append(p.Properties, o.Properties...)
	return p
}

// heed takes what the server asks for in CONNACK.
func (o *Options) heed(p Properties) {
	o.Inflight = uint16(min(uint32(o.Inflight), p.Number(ReceiveMaximum, 65535)))
	if k, ok := p.Find(ServerKeepAlive); ok && k.Number > 0 {
		o.KeepAlive = time.Duration(k.Number) * time.Second
	}
	if id := p.Text(AssignedClientID); id != "" {
		o.ClientID = id
	}
}

// start repeats what the session has in flight and begins to read and write.
func (c *Client) start() {
	s := c.options.Session
	s.mu.Lock()
	s.client = c
	frames, through := s.resume(c.connack.SessionPresent)
	s.mu.Unlock()
	c.slots = make(chan struct{}, max(int(c.options.Inflight), len(frames)))
	for range frames {
		c.slots <- struct{}{}
	}
	now := time.Now().UnixNano()
	c.heard.Store(now)
	c.wrote.Store(now)
	c.wg.Go(func() { c.fail(c.write(frames)) })
	c.wg.Go(func() { c.fail(c.read()) })
	for _, o := range through {
		o.end(&Ack{Kind: PUBCOMP}, nil)
	}
}

func (o *outgoing) end(p Packet, err error) {
	if o.done != nil {
		o.done(p, err)
	}
}

// Connack is the server's answer to CONNECT.
func (c *Client) Connack() *Connack { return c.connack }

// ClientID is the one asked for, or that the server assigned.
func (c *Client) ClientID() string { return c.options.ClientID }

// Done is closed when the connection ended; Err says why then.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err is why the connection ended: io.EOF where the server closed it, an *Error as the server said it or for what it did
// wrong, net.ErrClosed after Close.
func (c *Client) Err() error {
	<-c.done
	return c.err
}

// Close says DISCONNECT and waits for the connection's end, a second at most, and for OnPublish, which must not call it.
func (c *Client) Close() error { return c.CloseWith(Success) }

// CloseWith is Close with a Reason Code for a server of 5.0; DisconnectWithWill asks for the Will.
func (c *Client) CloseWith(code ReasonCode) error {
	c.closing.Store(true)
	patience := time.NewTimer(time.Second)
	defer patience.Stop()
	if frame, err := Encode(&Disconnect{Code: code}, c.options.Version); err == nil {
		select {
		case c.out <- frame:
		case <-c.done:
		case <-patience.C: // it does not read
		}
	}
	select { // the server closes; closing before it has read might take DISCONNECT from it
	case <-c.done:
	case <-patience.C:
	}
	c.fail(net.ErrClosed)
	c.wg.Wait()
	return nil
}

func (c *Client) fail(err error) {
	c.failing.Do(func() {
		if c.closing.Load() {
			err = net.ErrClosed
		}
		c.err = err
		_ = c.conn.Close()
		close(c.done)
		s := c.options.Session
		s.mu.Lock()
		if s.client == c {
			s.client = nil
		}
		var lost []*outgoing
		for id, o := range s.out {
			if c.own || o.frame == nil {
				lost = append(lost, s.finish(id))
			}
		}
		s.mu.Unlock()
		for _, o := range lost {
			o.end(nil, err)
		}
	})
}

// write puts frames together while they come fast, and keeps the connection alive.
func (c *Client) write(first [][]byte) error {
	var batch []byte
	for _, frame := range first {
		batch = append(batch, frame...)
	}
	tick := time.NewTicker(max(c.options.KeepAlive/4, time.Millisecond))
	defer tick.Stop()
	for {
		if len(batch) > 0 {
			if _, err := c.conn.Write(batch); err != nil {
				return err
			}
			c.wrote.Store(time.Now().UnixNano())
			batch = batch[:0]
		}
		select {
		case frame := <-c.out:
			batch = c.gather(append(batch, frame...))
		case <-tick.C:
			batch = c.keepAlive(batch)
		case <-c.done:
			return net.ErrClosed
		}
	}
}

// gather takes what else is to be written already, up to a point.
func (c *Client) gather(batch []byte) []byte {
	for len(batch) < 32<<10 {
		select {
		case frame := <-c.out:
			batch = append(batch, frame...)
		default:
			return batch
		}
	}
	return batch
}

// keepAlive asks for a sign of life where none came or went for half the time, and gives up when one is late by that.
func (c *Client) keepAlive(batch []byte) []byte {
	now := time.Now()
	quiet := func(since *atomic.Int64) bool { return now.UnixNano()-since.Load() > int64(c.options.KeepAlive/2) }
	if c.pinged.Load() != 0 || !quiet(&c.heard) && !quiet(&c.wrote) {
		return batch
	}
	c.pinged.Store(now.UnixNano())
	c.wg.Go(c.awaitPong)
	return append(batch, byte(PINGREQ)<<4, 0)
}

// awaitPong ends the connection where no answer comes, even while a write hangs.
func (c *Client) awaitPong() {
	timer := time.NewTimer(c.options.KeepAlive)
	defer timer.Stop()
	select {
	case <-timer.C:
		if at := c.pinged.Load(); at != 0 && time.Now().UnixNano()-at >= int64(c.options.KeepAlive) {
			c.fail(Errorf(KeepAliveTimeout, "the server does not answer"))
		}
	case <-c.done:
	}
}

// send hands a frame to the writer.
func (c *Client) send(frame []byte) error {
	select {
	case c.out <- frame:
		return nil
	case <-c.done:
		return c.err
	}
}
