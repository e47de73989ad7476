package sshgate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
	"github.com/aditdev/adit/tunnelhub"
)

// maxForwards is how many ports one device may forward.
const maxForwards = 64

// station is the connection of a device without our agent. What it forwards (RFC 4254 §7.1) are names inside this
// connection: the hub listens on nothing for it.
type station struct {
	*connection
	machine
	opening chan struct{} // channels whose answer is due
	carried atomic.Int64  // channels that are open

	mu    sync.Mutex
	ports map[wire.Target]asked
	ended bool // nothing begins any more
}

const (
	maxOpening = 64   // channels that wait for a device's answer at once
	maxCarried = 1000 // channels that are open, those included whose close a device has yet to answer
)

// asked is a forward in the client's own words, which it wants to hear again.
type asked struct {
	Address string
	Port    uint32
}

func (c *connection) serveMachine(ctx context.Context, who machine, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	s := &station{connection: c, machine: who, opening: make(chan struct{}, maxOpening), ports: map[wire.Target]asked{}}
	link := &tunnelhub.StockLink{
		Device: who.id, Key: who.key, Remote: c.address, Version: strings.TrimPrefix(string(c.ssh.ClientVersion()), "SSH-2.0-"),
		Open: s.open, Offers: s.offers, Heard: c.conn.lastHeard, Done: c.conn.lost,
		Close: func(cause error) {
			if cause != nil && !errors.Is(cause, stream.Restarting) {
				c.log.Info("ssh ended", "cause", cause)
			}
			_ = c.conn.Close()
		},
	}
	c.wg.Go(func() {
		s.requests(requests, func() { c.wg.Go(func() { _ = c.gate.options.Tunnel.Serve(ctx, link) }) })
	})
	c.each(channels, c.refuseChannel)
	c.conn.lose()
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
}

// unasked is how long a device may take to ask for its first forward.
const unasked = time.Second

// requests answers a device's global requests. Its link is served once those are answered that came with its login, since
// whoever is told that it is online expects what it forwards; one that asks for nothing is online too, a little later.
func (s *station) requests(all <-chan *ssh.Request, serve func()) {
	once := sync.OnceFunc(serve)
	late := time.NewTimer(unasked)
	defer late.Stop()
	for {
		select {
		case r, ok := <-all:
			if !ok {
				return
			}
			s.request(r)
			if len(all) == 0 {
				once()
			}
		case <-late.C:
			once()
		}
	}
}

// begin runs something that the connection waits for; ok is false when it is over.
func (s *station) begin(run func()) (ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.wg.Go(run)
	}
	return !s.ended
}

// request answers a global request: the one thing that a device's key may do is to forward.
func (s *station) request(r *ssh.Request) {
	var ok bool
	switch r.Type {
	case "tcpip-forward":
		ok = s.add(r.Payload)
	case "cancel-tcpip-forward":
		ok = s.remove(r.Payload)
	default:
		s.refuseRequest(r)
		return
	}
	if r.WantReply {
		_ = r.Reply(ok, nil)
	}
}

func (s *station) add(payload []byte) bool {
	var a asked
	if err := ssh.Unmarshal(payload, &a); err != nil {
		return false
	}
	target, err := a.target()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && len(s.ports) >= maxForwards {
		err = fmt.Errorf("%d forwards are open already", maxForwards)
	}
	if err != nil {
		s.tell(slog.LevelWarn, "ssh forward refused", "address", wire.Printable(a.Address, 80), "port", a.Port, "cause", err)
		return false
	}
	s.ports[target] = a
	s.tell(slog.LevelInfo, "ssh forward offered", "target", target)
	return true
}

func (s *station) remove(payload []byte) bool {
	var a asked
	if err := ssh.Unmarshal(payload, &a); err != nil {
		return false
	}
	target, err := a.target()
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.ports[target]
	delete(s.ports, target)
	return ok && err == nil
}

// target is what a forward is called at the hub. An address that stands for this machine is its loopback, whatever the
// client's GatewayPorts made of it; any other is a neighbour.
func (a asked) target() (wire.Target, error) {
	if a.Port == 0 || a.Port > 65535 {
		return "", errors.New("a forward names its port")
	}
	host := a.Address
	switch host {
	case "", "*", "localhost", "0.0.0.0", "::", "::1":
		host = "127.0.0.1"
	}
	return wire.ParseTarget("tcp:" + net.JoinHostPort(host, fmt.Sprint(a.Port)))
}

// named are the ports behind the named services.
var named = map[wire.Target]int{wire.TargetSSH: 22, wire.TargetMQTT: 1883, wire.TargetHTTP: 80}

func (s *station) offers() []wire.Target {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.ports))
}

// find gives the forward behind a target.
func (s *station) find(target wire.Target) (asked, error) {
	wanted := target
	if port, ok := named[target]; ok {
		wanted = wire.TCPTarget("127.0.0.1", port)
	}
	if host, ok := wanted.Address(); ok {
		if name, port, _ := net.SplitHostPort(host); name == "localhost" || name == "::1" {
			wanted = wire.Target("tcp:" + net.JoinHostPort("127.0.0.1", port))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a, ok := s.ports[wanted]; ok {
		return a, nil
	}
	return asked{}, wire.Errorf(wire.Forbidden, "The device does not forward %s. It comes by stock OpenSSH: its ssh -R options say what it offers.", target)
}

// opened is a channel of a device, or why there is none.
type opened struct {
	channel  ssh.Channel
	requests <-chan *ssh.Request
	err      error
}

// open connects to a forwarded port. The device's ssh connects on to what its -R names.
func (s *station) open(ctx context.Context, target wire.Target) (net.Conn, error) {
	a, err := s.find(target)
	if err != nil {
		return nil, err
	}
	if s.carried.Load() >= maxCarried {
		return nil, wire.Errorf(wire.RateLimited, "%d connections to the device are open already.", maxCarried)
	}
	select {
	case s.opening <- struct{}{}:
	default:
		return nil, wire.Errorf(wire.RateLimited, "The device owes the answer to %d openings already.", maxOpening)
	}
	answer := make(chan opened, 1)
	if !s.begin(func() { s.ask(ctx, a, answer) }) {
		return nil, wire.Errorf(wire.Offline, "The device's connection was lost.")
	}
	select {
	case o := <-answer:
		if o.err != nil {
			return nil, wire.Wrap(o.err, wire.Offline, "Nothing answers on the device where its ssh forwards %s to.", target)
		}
		return s.conn(o)
	case <-ctx.Done():
		return nil, wire.Errorf(wire.Offline, "The device did not answer in time.")
	}
}

// ask opens a channel (RFC 4254 §7.2). One that comes too late for whoever wanted it is closed.
func (s *station) ask(ctx context.Context, a asked, answer chan<- opened) {
	channel, requests, err := s.ssh.OpenChannel("forwarded-tcpip", ssh.Marshal(struct {
		Address    string // not asked itself: Marshal leaves out a struct in a struct
		Port       uint32
		Originator string
		OriginPort uint32
	}{a.Address, a.Port, "127.0.0.1", 0}))
	<-s.opening
	if err == nil && ctx.Err() != nil {
		go ssh.DiscardRequests(requests) // until the device answers the close
		_ = channel.Close()
		return
	}
	answer <- opened{channel, requests, err}
}

// conn makes a conn of a channel, with deadlines and half-close.
func (s *station) conn(o opened) (net.Conn, error) {
	p, carry, err := newPair(o.channel, o.requests)
	if err != nil {
		return nil, fmt.Errorf("forwarded channel: %w", err)
	}
	s.carried.Add(1)
	if !s.begin(func() { carry(); s.carried.Add(-1) }) {
		_, _ = p.Close(), o.channel.Close()
		return nil, wire.Errorf(wire.Offline, "The device's connection was lost.")
	}
	return p, nil
}
