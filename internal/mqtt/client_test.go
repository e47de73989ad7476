package mqtt

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// server is the other end of a Client's connection, played by a test.
type server struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
	v    Version
}

// connect starts a Client against a server that answers CONNECT with connack.
func connect(t *testing.T, o Options, connack *Connack) (*Client, *server) {
	t.Helper()
	near, far := net.Pipe()
	s := &server{t: t, conn: far, r: bufio.NewReader(far), v: o.Version}
	if s.v == 0 {
		s.v = V5
	}
	opened := make(chan struct{})
	go func() {
		defer close(opened)
		s.read()
		s.write(connack)
	}()
	c, err := NewClient(t.Context(), near, o)
	if err != nil {
		t.Fatal(err)
	}
	<-opened
	return c, s
}

func (s *server) read() Packet {
	p, err := ReadPacket(s.r, s.v, 1<<20)
	if err != nil {
		s.t.Errorf("server reads: %v", err)
	}
	return p
}

func (s *server) write(p Packet) {
	frame, err := Encode(p, s.v)
	if err != nil {
		s.t.Error(err)
	}
	if _, err := s.conn.Write(frame); err != nil {
		s.t.Errorf("server writes: %v", err)
	}
}

// close ends both: the server reads DISCONNECT and hangs up.
func (s *server) close(c *Client) {
	go func() {
		s.read()
		_ = s.conn.Close()
	}()
	_ = c.Close()
	if !errors.Is(c.Err(), net.ErrClosed) {
		s.t.Errorf("after Close: %v", c.Err())
	}
}

func TestQoS2GoesOnWhereTheConnectionBroke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		session := NewSession(nil)
		o := Options{ClientID: "c", Session: session}
		c, s := connect(t, o, &Connack{})
		var ended []string
		send := func(name string) {
			go func() {
				err := c.Enqueue(t.Context(), &Publish{Topic: name, QoS: 2}, func(code ReasonCode, err error) {
					ended = append(ended, fmt.Sprint(name, byte(code), err))
				})
				if err != nil {
					t.Error(err)
				}
			}()
			synctest.Wait()
		}
		send("a")
		first := s.read().(*Publish)
		s.write(&Ack{Kind: PUBREC, ID: first.ID})
		if p := s.read().(*Ack); p.Kind != PUBREL {
			t.Fatal(p)
		}
		send("b")
		second := s.read().(*Publish)
		_ = s.conn.Close()
		<-c.Done()
		c, s = connect(t, o, &Connack{SessionPresent: true})
		if p, ok := s.read().(*Ack); !ok || p.Kind != PUBREL || p.ID != first.ID {
			t.Errorf("the first to come is %#v", p)
		}
		if p, ok := s.read().(*Publish); !ok || !p.Dup || p.ID != second.ID || p.Topic != "b" {
			t.Errorf("the second is %#v", p)
		}
		_ = s.conn.Close()
		<-c.Done()
		c, s = connect(t, o, &Connack{}) // it forgot: what it had said to have must not come again, the other is new
		if p, ok := s.read().(*Publish); !ok || p.Dup || p.Topic != "b" {
			t.Errorf("to a server that forgot comes %#v", p)
		}
		s.write(&Ack{Kind: PUBREC, ID: second.ID})
		s.read()
		s.write(&Ack{Kind: PUBCOMP, ID: second.ID})
		synctest.Wait()
		if want := []string{"a0 <nil>", "b0 <nil>"}; !slices.Equal(ended, want) || session.Inflight() != 0 {
			t.Errorf("ended %q, %d in flight", ended, session.Inflight())
		}
		s.close(c)
	})
}

func TestNoMoreAreInFlightThanTheServerTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := connect(t, Options{}, &Connack{Properties: Properties{{ID: ReceiveMaximum, Number: 2}}})
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if err := c.Publish(t.Context(), Message{Topic: "a", QoS: 1}); err != nil {
					t.Error(err)
				}
			})
		}
		first, second := s.read().(*Publish), s.read().(*Publish)
		synctest.Wait()
		if n := c.options.Session.Inflight(); n != 2 {
			t.Errorf("%d in flight", n)
		}
		s.write(&Ack{Kind: PUBACK, ID: first.ID})
		third := s.read().(*Publish)
		s.write(&Ack{Kind: PUBACK, ID: second.ID})
		s.write(&Ack{Kind: PUBACK, ID: third.ID})
		wg.Wait()
		s.close(c)
	})
}

func TestMessagesAreAcknowledgedInTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var acks []func()
		session := NewSession(nil)
		o := Options{Session: session, OnPublish: func(_ *Publish, ack func()) { acks = append(acks, ack) }}
		c, s := connect(t, o, &Connack{})
		s.write(&Publish{Topic: "a", QoS: 1, ID: 7})
		s.write(&Publish{Topic: "b", QoS: 2, ID: 8})
		synctest.Wait()
		acks[1]()
		go acks[0]()
		if p := s.read().(*Ack); p.Kind != PUBACK || p.ID != 7 {
			t.Error(p)
		}
		if p := s.read().(*Ack); p.Kind != PUBREC || p.ID != 8 {
			t.Error(p)
		}
		s.write(&Publish{Topic: "c", QoS: 1, ID: 9})
		synctest.Wait()
		_ = s.conn.Close()
		<-c.Done()
		acks[2]() // between connections
		c, s = connect(t, o, &Connack{SessionPresent: true})
		s.write(&Publish{Topic: "b", QoS: 2, ID: 8, Dup: true})
		if p := s.read().(*Ack); p.Kind != PUBREC || p.ID != 8 {
			t.Error(p)
		}
		s.write(&Publish{Topic: "c", QoS: 1, ID: 9, Dup: true})
		if p := s.read().(*Ack); p.Kind != PUBACK || p.ID != 9 {
			t.Error(p)
		}
		s.write(&Ack{Kind: PUBREL, ID: 8})
		if p := s.read().(*Ack); p.Kind != PUBCOMP || p.Code != Success {
			t.Error(p)
		}
		if len(acks) != 3 {
			t.Errorf("%d messages were handed on, not 3: some came twice", len(acks))
		}
		s.close(c)
	})
}

func TestASilentServerIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := connect(t, Options{KeepAlive: 10 * time.Second}, &Connack{})
		began := time.Now()
		if p := s.read().(*Ping); p.Kind != PINGREQ {
			t.Error(p)
		}
		s.write(&Ping{Kind: PINGRESP})
		if p := s.read().(*Ping); p.Kind != PINGREQ {
			t.Error(p)
		}
		<-c.Done() // and no answer, nor does anybody read
		if e, ok := errors.AsType[*Error](c.Err()); !ok || e.Code != KeepAliveTimeout {
			t.Error(c.Err())
		}
		if after := time.Since(began); after > 30*time.Second {
			t.Errorf("left after %s", after)
		}
		c.wg.Wait()
	})
}

func TestRefusalsHaveTheirCode(t *testing.T) {
	for v, want := range map[Version]ReasonCode{V31: BadUserNameOrPassword, V311: UnsupportedVersion, V5: Banned} {
		near, far := net.Pipe()
		go func() {
			_, _ = ReadPacket(bufio.NewReader(far), v, 1000)
			frame, _ := Encode(&Connack{Code: want}, v)
			_, _ = far.Write(frame)
		}()
		_, err := NewClient(t.Context(), near, Options{Version: v})
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != want {
			t.Errorf("%s: %v", v, err)
		}
	}
	near, far := net.Pipe()
	defer far.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, _ = ReadPacket(bufio.NewReader(far), V5, 1000)
		cancel()
	}()
	if _, err := NewClient(ctx, near, Options{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestASessionOfItsOwnEndsWithItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := connect(t, Options{}, &Connack{Properties: Properties{{ID: MaximumPacketSize, Number: 30}}})
		result := make(chan error, 2)
		go func() { result <- c.Publish(t.Context(), Message{Topic: "a", QoS: 1}) }()
		go func() { _, err := c.Subscribe(t.Context(), Subscription{Filter: "a"}); result <- err }()
		s.read()
		s.read()
		err := c.Publish(t.Context(), Message{Topic: "a", Payload: make([]byte, 30)})
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != PacketTooLarge {
			t.Errorf("more than the server takes: %v", err)
		}
		s.write(&Disconnect{Code: ServerShuttingDown})
		for range 2 {
			if e, ok := errors.AsType[*Error](<-result); !ok || e.Code != ServerShuttingDown {
				t.Error(e)
			}
		}
		c.wg.Wait()
	})
}
