package tunnel

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/agent/carrier"
	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
	"github.com/aditdev/adit/tunnelhub"
)

const device = "dev_BENCH"

// adit is the tunnel itself: hub, agent and the CLI's stream.
type adit struct {
	server *httptest.Server
	hub    *tunnelhub.Hub
	stop   context.CancelFunc
	done   sync.WaitGroup
}

func newAdit() *adit { return newAditBehind(func(hub string) string { return "" }) }

// newAditBehind has the agent connect to what via makes of the hub's address, where that is not empty.
func newAditBehind(via func(hub string) string) *adit {
	_, hubKey, _ := ed25519.GenerateKey(nil)
	_, key, _ := ed25519.GenerateKey(nil)
	a := &adit{}
	a.server = httptest.NewUnstartedServer(http.HandlerFunc(a.serveHTTP))
	a.hub = tunnelhub.New(tunnelhub.Options{
		Log: slog.New(slog.DiscardHandler), Key: hubKey, Hosts: []string{a.server.Listener.Addr().String()}, Name: "bench", Version: "1",
		Device: func(_ context.Context, id string) (tunnelhub.Device, error) {
			return tunnelhub.Device{ID: id, Key: key.Public().(ed25519.PublicKey), Status: tunnelhub.StatusActive}, nil
		},
	})
	ctx, stop := context.WithCancel(context.Background())
	a.stop = stop
	a.server.Start()
	address := via(a.server.Listener.Addr().String())
	a.done.Go(func() { _ = a.hub.Run(ctx) })
	a.done.Go(func() {
		_ = carrier.Run(ctx, carrier.Config{
			Log: slog.New(slog.DiscardHandler), URL: a.server.URL, Device: device, Key: key,
			HubKeys:  []ed25519.PublicKey{hubKey.Public().(ed25519.PublicKey)},
			Instance: wire.Instance{Counter: 1, Random: wire.NewID()}, AgentVersion: "bench", Handler: dialTarget{},
			Dialer: stream.Dialer{Address: address},
		})
	})
	for !a.hub.Online(device) {
		time.Sleep(time.Millisecond)
	}
	return a
}

func (a *adit) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == wire.PathTunnel {
		ws, err := stream.Accept(w, r, wire.SubprotocolTunnel)
		if err != nil {
			return
		}
		if c, err := a.hub.Handshake(context.Background(), ws, r.RemoteAddr, nil); err == nil {
			go a.hub.Serve(context.Background(), c)
		}
		return
	}
	if ws, err := stream.Accept(w, r, wire.SubprotocolStream); err == nil {
		target := wire.Target(r.URL.Query().Get("target"))
		_ = a.hub.Relay(context.Background(), tunnelhub.Request{Device: device, Target: target, User: "usr_1"}, ws)
	}
}

func (a *adit) name() string { return "adit" }

func (a *adit) dial(ctx context.Context, target wire.Target) (net.Conn, error) {
	conn, err := stream.DialDevice(ctx, a.server.URL, "token", device, target, stream.DeviceOptions{})
	if err != nil {
		return nil, err
	}
	return forward(func(local net.Conn) { _ = conn.Join(local) })
}

// forward gives a local connection whose other end is carried on, as `adit forward` does it.
func forward(carry func(local net.Conn)) (net.Conn, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, err
	}
	local, err := l.Accept()
	if err != nil {
		return nil, err
	}
	go carry(local)
	return conn, nil
}

func (a *adit) close() {
	a.stop()
	a.done.Wait()
	a.server.Close()
}

type dialTarget struct{}

func (dialTarget) Open(ctx context.Context, open wire.Open) (net.Conn, error) {
	address, _ := open.Target.Address()
	return (&net.Dialer{}).DialContext(ctx, "tcp", address)
}

func (dialTarget) Call(context.Context, string, json.RawMessage) (any, error) { return nil, nil }

// bare is the least that two hops of WebSocket can be: messages read and written on, nothing kept, nothing checked.
type bare struct {
	server *httptest.Server
	agents sync.WaitGroup
	mu     sync.Mutex
	waits  map[string]chan *websocket.Conn // by stream, for the agent's WebSocket
}

func newBare() *bare {
	b := &bare{waits: make(map[string]chan *websocket.Conn)}
	b.server = httptest.NewServer(http.HandlerFunc(b.serveHTTP))
	return b
}

func (b *bare) serveHTTP(w http.ResponseWriter, r *http.Request) {
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	id := r.URL.Query().Get("id")
	if r.URL.Path == "/agent" {
		b.wait(id) <- ws // the person's handler takes it over
		return
	}
	agent := <-b.wait(id)
	var both sync.WaitGroup
	both.Go(func() { relay(agent, ws) })
	relay(ws, agent)
	both.Wait()
}

func (b *bare) wait(id string) chan *websocket.Conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waits[id] == nil {
		b.waits[id] = make(chan *websocket.Conn, 1)
	}
	return b.waits[id]
}

// relay passes messages on until one side ends, then ends the other.
func relay(to, from *websocket.Conn) {
	defer from.CloseNow()
	defer to.CloseNow()
	buf := make([]byte, block)
	for {
		p, err := readMessage(from, buf)
		if err != nil || to.Write(context.Background(), websocket.MessageBinary, p) != nil {
			return
		}
	}
}

func readMessage(ws *websocket.Conn, buf []byte) ([]byte, error) {
	_, r, err := ws.Reader(context.Background())
	if err != nil {
		return nil, err
	}
	n := 0
	for {
		m, err := r.Read(buf[n:])
		if n += m; err == io.EOF {
			return buf[:n], nil
		}
		if err != nil || n == len(buf) && m == 0 {
			return nil, err
		}
	}
}

func (b *bare) name() string { return "bare" }

func (b *bare) dial(ctx context.Context, target wire.Target) (net.Conn, error) {
	ws, err := b.open(ctx, target)
	if err != nil {
		return nil, err
	}
	return forward(func(local net.Conn) { join(ws, local) })
}

// open gives the person's WebSocket of a stream to target.
func (b *bare) open(ctx context.Context, target wire.Target) (*websocket.Conn, error) {
	id := wire.NewID()
	url := strings.Replace(b.server.URL, "http", "ws", 1)
	agent, _, err := websocket.Dial(ctx, url+"/agent?id="+id, nil)
	if err != nil {
		return nil, err
	}
	agent.SetReadLimit(-1)
	address, _ := target.Address()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	b.agents.Go(func() { join(agent, conn) })
	ws, _, err := websocket.Dial(ctx, url+"/person?id="+id, nil)
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(-1)
	return ws, nil
}

// join carries bytes between a WebSocket and a target.
func join(ws *websocket.Conn, conn io.ReadWriteCloser) {
	var both sync.WaitGroup
	both.Go(func() {
		defer conn.Close()
		buf := make([]byte, block)
		for {
			p, err := readMessage(ws, buf)
			if err != nil {
				return
			}
			if _, err := conn.Write(p); err != nil {
				return
			}
		}
	})
	buf := make([]byte, block)
	for {
		n, err := conn.Read(buf)
		if err != nil || ws.Write(context.Background(), websocket.MessageBinary, buf[:n]) != nil {
			break
		}
	}
	_ = ws.CloseNow()
	both.Wait()
}

func (b *bare) close() {
	b.server.CloseClientConnections()
	b.server.Close()
	b.agents.Wait()
}

// sshMux carries every stream as an SSH channel in the agent's one WebSocket, as multiplexing tunnels do.
type sshMux struct {
	server *httptest.Server
	ready  chan *ssh.Client
	client *ssh.Client
	agent  sync.WaitGroup
}

func newSSHMux() (*sshMux, error) {
	return newSSHMuxBehind(func(hub string) (string, error) { return hub, nil })
}

// newSSHMuxBehind has the agent connect to what via makes of the hub's address.
func newSSHMuxBehind(via func(hub string) (string, error)) (*sshMux, error) {
	m := &sshMux{ready: make(chan *ssh.Client, 1)}
	m.server = httptest.NewServer(http.HandlerFunc(m.serveHTTP))
	at, err := via(m.server.Listener.Addr().String())
	if err != nil {
		return nil, err
	}
	ws, _, err := websocket.Dial(context.Background(), "ws://"+at+"/agent", nil)
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(-1)
	m.agent.Go(func() { serveSSH(websocket.NetConn(context.Background(), ws, websocket.MessageBinary), joinTCP) })
	m.client = <-m.ready
	return m, nil
}

func (m *sshMux) serveHTTP(w http.ResponseWriter, r *http.Request) {
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	ws.SetReadLimit(-1)
	if r.URL.Path == "/agent" {
		conn := websocket.NetConn(context.Background(), ws, websocket.MessageBinary)
		c, channels, requests, err := ssh.NewClientConn(conn, "agent", &ssh.ClientConfig{HostKeyCallback: func(string, net.Addr, ssh.PublicKey) error { return nil }})
		if err == nil {
			client := ssh.NewClient(c, channels, requests)
			m.ready <- client
			_ = client.Wait()
		}
		return
	}
	conn, err := m.client.Dial("tcp", r.URL.Query().Get("address"))
	if err != nil {
		return
	}
	join(ws, conn)
}

// serveSSH lets everybody in, and has carry lead each direct-tcpip channel to its target.
func serveSSH(conn net.Conn, carry func(wire.Target, ssh.Channel)) {
	_, key, _ := ed25519.GenerateKey(nil)
	signer, _ := ssh.NewSignerFromKey(key)
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(signer)
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for fresh := range channels {
		var open struct {
			Host       string
			Port       uint32
			Origin     string
			OriginPort uint32
		}
		_ = ssh.Unmarshal(fresh.ExtraData(), &open)
		channel, requests, err := fresh.Accept()
		if err != nil {
			continue
		}
		go ssh.DiscardRequests(requests)
		go carry(wire.TCPTarget(open.Host, int(open.Port)), channel)
	}
}

// joinTCP leads a channel to its target by a plain connection.
func joinTCP(target wire.Target, channel ssh.Channel) {
	defer channel.Close()
	address, _ := target.Address()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer conn.Close()
	go func() { _, _ = io.Copy(conn, channel); conn.Close() }()
	_, _ = io.Copy(channel, conn)
}

func (m *sshMux) name() string { return "ssh" }

func (m *sshMux) dial(ctx context.Context, target wire.Target) (net.Conn, error) {
	address, _ := target.Address()
	ws, _, err := websocket.Dial(ctx, strings.Replace(m.server.URL, "http", "ws", 1)+"/person?address="+address, nil)
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(-1)
	return forward(func(local net.Conn) { join(ws, local) })
}

func (m *sshMux) close() {
	m.client.Close()
	m.server.CloseClientConnections()
	m.server.Close()
	m.agent.Wait()
}
