package agent

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

// names is a DNS server that knows one address for every name. While it is dead it does with what it is asked as dead
// says, or swallows it.
type names struct {
	isDead atomic.Bool
	dead   func(net.Conn)
}

// serve makes this process ask n until the test ends.
func (n *names) serve(t *testing.T) {
	t.Helper()
	usual := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		asking, answering := net.Pipe()
		go n.answer(answering)
		return asking, nil
	}}
	t.Cleanup(func() { net.DefaultResolver = usual })
	// What the resolver makes once must not belong to a bubble.
	if _, err := net.DefaultResolver.LookupHost(t.Context(), "hub.example."); err != nil {
		t.Fatal(err)
	}
}

func (n *names) answer(conn net.Conn) {
	defer conn.Close()
	switch {
	case n.isDead.Load() && n.dead != nil:
		n.dead(conn)
	case n.isDead.Load():
		_, _ = io.Copy(io.Discard, conn)
	default:
		answerName(conn)
	}
}

// answerName answers one question, in the way of RFC 1035 §4: with 127.0.0.1 where it is for an address of IPv4.
func answerName(conn net.Conn) {
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return
	}
	question := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, question); err != nil {
		return
	}
	end := 12
	for question[end] != 0 {
		end += 1 + int(question[end])
	}
	end += 5 // the root, type and class
	reply := append([]byte{question[0], question[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, question[12:end]...)
	if isA := question[end-3] == 1; isA {
		reply[7] = 1
		reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1)
	}
	_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...))
}

// byName makes the agent reach h by a name. It is asked for no proxy, and the certificate stays that of the URL's host.
func (h *lateHub) byName(c *Config) {
	c.Dial = "hub.example:" + h.URL[strings.LastIndexByte(h.URL, ':')+1:]
}

// Rule 30, by the whole agent: DNS is dead for ten minutes. It says so, goes on trying, and is there when DNS is.
func TestAgentOutlastsDeadDNS(t *testing.T) {
	const dead = 10 * time.Minute
	hub := newLateHub(t)
	hub.open.Store(true)
	hub.answer = func(ws *stream.FrameConn) {
		for err := error(nil); err == nil; {
			_, _, err = ws.ReadMessage(context.Background())
		}
	}
	p, c, _ := installed(t)
	hub.byName(&c)
	hub.pin(p, &c)
	if err := os.MkdirAll(p.Socket()+"/in the way", 0o700); err != nil { // as above: no socket in a bubble
		t.Fatal(err)
	}
	if err := writeHubTime(p.HubTime(), time.Now()); err != nil {
		t.Fatal(err)
	}
	var dns names
	dns.serve(t)
	dns.isDead.Store(true)
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		time.AfterFunc(dead, func() { dns.isDead.Store(false) })
		ctx, cancel := context.WithTimeout(t.Context(), dead+time.Hour)
		defer cancel()
		var failed, named int
		logs := io.MultiWriter(
			&lineWaiter{want: "carrier failed", found: func() { failed++ }},
			&lineWaiter{want: `"carrier failed" device=` + testDevice + " cause=dns ", found: func() { named++ }},
			&lineWaiter{want: "hub reached", found: cancel},
		)
		if err := Run(ctx, p, logs); err != nil {
			t.Errorf("it ended: %v", err)
		}
		if waited := time.Since(began); waited < dead || waited > dead+2*time.Minute {
			t.Errorf("there after %v, where DNS was dead for %v", waited, dead)
		}
		// Each dial gives up after ten seconds, and waits for less than thirty.
		if failed < int(dead/(40*time.Second)) || named != failed {
			t.Errorf("%d dials failed in %v, %d of them by DNS", failed, dead, named)
		}
	})
}

// The same while one carrier lives: that no other can be brought is called DNS, and is no limit on connections.
func TestDNSDiesWhileConnected(t *testing.T) {
	dns := names{dead: func(net.Conn) {}} // answers at once that there is no answer
	dns.serve(t)
	target, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	hub := newLateHub(t)
	hub.open.Store(true)
	var opened atomic.Bool
	hub.answer = func(ws *stream.FrameConn) {
		if opened.CompareAndSwap(false, true) {
			dns.isDead.Store(true)
			_ = ws.WriteMessage(wire.Open{Stream: 1, User: "usr_1", Target: wire.TCPTarget("127.0.0.1", target.Addr().(*net.TCPAddr).Port)})
		}
		for err := error(nil); err == nil; {
			_, _, err = ws.ReadMessage(context.Background())
		}
	}
	p, c, _ := installed(t)
	hub.byName(&c)
	hub.pin(p, &c)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var named, again bool
	logs := io.MultiWriter(
		&lineWaiter{want: "cause=connection-cap", found: func() { t.Error("a limit on connections is reported") }},
		&lineWaiter{want: "hub lost", found: func() { t.Error("the carrier that lived was dropped") }},
		&lineWaiter{want: `"hub not reached" device=` + testDevice + " cause=dns ", found: func() { named = true; dns.isDead.Store(false) }},
	)
	go func() {
		defer cancel()
		again = await(ctx, func() bool { return hub.shakes.Load() > 1 }) == nil
	}()
	if err := Run(ctx, p, logs); err != nil || !named {
		t.Errorf("DNS named: %v, %v", named, err)
	}
	if limit := hub.cap.Load(); !again || limit != 0 {
		t.Errorf("brought another: %v, with a limit of %d", again, limit)
	}
}
