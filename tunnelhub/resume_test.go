package tunnelhub_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/aditdev/adit/internal/agent/carrier"
	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

// cuttable is a TCP proxy whose connections can be cut all at once, as a network does.
type cuttable struct {
	t        testing.TB
	listener net.Listener
	to       string
	serving  sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	cuts  int
}

func newCuttable(t testing.TB, to string) *cuttable {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cuttable{t: t, listener: l, to: to, conns: make(map[net.Conn]struct{})}
	c.serving.Go(c.accept)
	t.Cleanup(func() { l.Close(); c.cut(); c.serving.Wait() })
	return c
}

func (c *cuttable) accept() {
	for {
		in, err := c.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", c.to)
		if err != nil {
			in.Close()
			continue
		}
		c.mu.Lock()
		c.conns[in], c.conns[out] = struct{}{}, struct{}{}
		c.mu.Unlock()
		c.serving.Go(func() { c.copy(in, out) })
		c.serving.Go(func() { c.copy(out, in) })
	}
}

func (c *cuttable) copy(a, b net.Conn) {
	_, _ = io.Copy(a, b)
	a.Close()
	b.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conns, a)
	delete(c.conns, b)
}

// cut ends every connection and says how many times it found one.
func (c *cuttable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.conns) > 0 {
		c.cuts++
	}
	for conn := range c.conns {
		_ = conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
}

func (c *cuttable) address() string { return c.listener.Addr().String() }

// exchange sends size random bytes to an echo and checks what comes back, calling cut at each of marks in between.
func exchange(t *testing.T, conn net.Conn, size int, marks int, cut func()) {
	t.Helper()
	sent, got := sha256.New(), sha256.New()
	var up sync.WaitGroup
	up.Go(func() {
		block := make([]byte, 64<<10)
		for n := 0; n < size; n += len(block) {
			_, _ = rand.Read(block)
			sent.Write(block)
			if _, err := conn.Write(block); err != nil {
				t.Errorf("write at %d: %v", n, err)
				return
			}
		}
		if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Error(err)
		}
	})
	received := int64(0)
	for i := range marks {
		n, err := io.CopyN(got, conn, int64(size/(marks+1)))
		if received += n; err != nil {
			t.Fatalf("read at %d, cut %d: %v", received, i, err)
		}
		cut()
	}
	n, err := io.Copy(got, conn)
	if received += n; err != nil || received != int64(size) {
		t.Fatalf("read %d of %d: %v", received, size, err)
	}
	up.Wait()
	if string(sent.Sum(nil)) != string(got.Sum(nil)) {
		t.Fatal("what came back is not what was sent")
	}
}

func TestStreamOutlivesCarriers(t *testing.T) {
	r := newRig(t)
	proxy := newCuttable(t, r.server.Listener.Addr().String())
	target := listen(t, echo)
	r.agent(func(c *carrier.Config) { c.Dialer.Address = proxy.address() })
	conn, err := r.hub.Dial(context.Background(), r.request(target))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	exchange(t, conn, 64<<20, 5, proxy.cut)
	if proxy.cuts != 5 {
		t.Fatalf("cut %d times", proxy.cuts)
	}
}

func TestDeviceStreamOutlivesBothSides(t *testing.T) {
	r := newRig(t)
	agentSide := newCuttable(t, r.server.Listener.Addr().String())
	personSide := newCuttable(t, r.server.Listener.Addr().String())
	target := listen(t, echo)
	r.agent(func(c *carrier.Config) { c.Dialer.Address = agentSide.address() })
	conn := r.dialDevice(target, stream.DeviceOptions{Dialer: stream.Dialer{Address: personSide.address()}})
	defer conn.Close()
	i := 0
	exchange(t, conn, 64<<20, 6, func() {
		if i++; i%2 == 0 {
			agentSide.cut()
		} else {
			personSide.cut()
		}
	})
}

func TestDeviceStreamOutlivesHub(t *testing.T) {
	r := newRig(t)
	target := listen(t, echo)
	r.agent(nil)
	conn := r.dialDevice(target, stream.DeviceOptions{})
	defer conn.Close()
	exchange(t, conn, 16<<20, 1, func() {
		r.stopHub()
		r.startHub()
	})
}

func (r *rig) dialDevice(target wire.Target, opts stream.DeviceOptions) stream.Conn {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	u, _ := url.Parse(r.server.URL)
	conn, err := stream.DialDevice(ctx, u.String(), "token", device, target, opts)
	if err != nil {
		r.t.Fatal(err)
	}
	return conn
}
