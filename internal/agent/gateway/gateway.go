// Package gateway is the device's own MQTT door: listeners of plain MQTT, on loopback and in the device's network, whose
// connections come out at the hub's broker as this device or as a thing behind it.
package gateway

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/wire"
)

// Limits of one listener.
const (
	connectTimeout = 10 * time.Second // for the whole of CONNECT, and for reaching the hub
	maxConnect     = 16 << 10         // bytes of CONNECT
	maxPacket      = 1 << 20          // bytes of any other packet of a thing
	maxConnections = 256
	maxOfOne       = 32 // connections from one address that is not loopback
	retryListen    = 5 * time.Second
)

// Options are what listeners need.
type Options struct {
	Log   *slog.Logger
	Users []User // none: whoever connects on loopback is the device
	// Dial opens a connection to the hub's broker that speaks as this device. Online says whether that is worth trying now.
	// The connection ends with ctx.
	Dial   func(ctx context.Context) (net.Conn, error)
	Online func() bool
}

// Listener is one entry of `[mqtt] listen`.
type Listener struct {
	options Options
	address string
	users   *users
	wg      sync.WaitGroup

	mu          sync.Mutex
	problem     string
	bound       []string // addresses listened on now
	connections map[net.Conn]string
	things      map[string]*thing
	refused     int64
	dropped     int64
}

// thing is what is known of a user of a listener.
type thing struct {
	connected int
	seen      time.Time
}

// New makes the listener of an entry that CheckAddress has passed; it does nothing until Run.
func New(address string, o Options) *Listener {
	return &Listener{options: o, address: address, users: newUsers(o.Users), connections: map[net.Conn]string{}, things: map[string]*thing{}}
}

// Run listens until ctx ends. What cannot be bound, or is not there yet as an interface without address, is tried again.
func (l *Listener) Run(ctx context.Context) {
	defer l.wg.Wait()
	defer l.closeAll()
	for ctx.Err() == nil {
		err := l.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		l.setProblem(err)
		select {
		case <-ctx.Done():
		case <-time.After(retryListen):
		}
	}
}

func (l *Listener) setProblem(err error) {
	problem := ""
	if err != nil {
		problem = wire.MessageOf(err)
	}
	l.mu.Lock()
	news := problem != l.problem && problem != ""
	l.problem = problem
	l.mu.Unlock()
	if news {
		l.options.Log.Warn("mqtt listener", "listen", l.address, "cause", err)
	}
}

// listen serves until the addresses of the entry change, something fails or ctx ends.
func (l *Listener) listen(ctx context.Context) error {
	addresses, err := resolve(l.address)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var accepting sync.WaitGroup
	defer accepting.Wait()
	for _, address := range addresses {
		socket, err := net.Listen("tcp", address)
		if err != nil {
			cancel()
			return wire.Wrap(err, wire.Conflict, "Cannot listen on %s", address)
		}
		stop := context.AfterFunc(ctx, func() { _ = socket.Close() })
		defer stop()
		defer func() { _ = socket.Close() }()
		accepting.Go(func() { l.accept(ctx, socket) })
	}
	l.setBound(addresses)
	defer l.setBound(nil)
	l.setProblem(nil)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retryListen):
		}
		if now, err := resolve(l.address); err != nil || !slices.Equal(now, addresses) {
			cancel()
			return err
		}
	}
}

func (l *Listener) setBound(addresses []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bound = addresses
}

func (l *Listener) accept(ctx context.Context, socket net.Listener) {
	for ctx.Err() == nil {
		conn, err := socket.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
			continue
		}
		if !l.enter(conn) {
			_ = conn.Close()
			continue
		}
		l.wg.Go(func() {
			defer l.leave(conn)
			err := l.serve(ctx, conn)
			l.options.Log.Info("mqtt connection ended", "listen", l.address, "peer", conn.RemoteAddr(), "cause", err)
		})
	}
}

// enter counts a connection in, up to the caps.
func (l *Listener) enter(conn net.Conn) bool {
	host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
	l.mu.Lock()
	defer l.mu.Unlock()
	same := 0
	for _, other := range l.connections {
		if other == host && !isLoopback(host) {
			same++
		}
	}
	if len(l.connections) >= maxConnections || same >= maxOfOne {
		l.refused++
		return false
	}
	l.connections[conn] = host
	return true
}

func (l *Listener) leave(conn net.Conn) {
	_ = conn.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.connections, conn)
}

func (l *Listener) closeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for conn := range l.connections {
		_ = conn.Close()
	}
}

// Status is what the hub and `adit agent status` are told.
func (l *Listener) Status() api.AgentMQTTListener {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := api.AgentMQTTListener{Address: l.address, Connections: len(l.connections), Refused: l.refused, Dropped: l.dropped, Things: []api.AgentMQTTThing{}}
	if l.problem != "" {
		s.Problem = &l.problem
	}
	for _, u := range l.options.Users {
		if u.Device {
			continue
		}
		t := api.AgentMQTTThing{Name: u.Name}
		if known := l.things[u.Name]; known != nil {
			t.Connected = known.connected > 0
			if !known.seen.IsZero() {
				t.LastSeenAt = new(known.seen.UTC().Truncate(time.Millisecond))
			}
		}
		s.Things = append(s.Things, t)
	}
	return s
}

// Bound are the addresses that are listened on now.
func (l *Listener) Bound() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bound
}

// come and go keep a thing's state; name is empty for the device itself.
func (l *Listener) come(name string, change int) {
	if name == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.things[name]
	if t == nil {
		t = &thing{}
		l.things[name] = t
	}
	t.connected += change
	t.seen = time.Now()
}

func (l *Listener) count(counter *int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*counter++
}

// refuse answers CONNECT with a code in the version that it spoke.
func refuse(conn io.Writer, v mqtt.Version, code mqtt.ReasonCode) {
	if v == 0 {
		v = mqtt.V311
	}
	if frame, err := mqtt.Encode(&mqtt.Connack{Code: code}, v); err == nil {
		_, _ = conn.Write(frame)
	}
}
