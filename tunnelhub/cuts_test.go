package tunnelhub_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/agent/carrier"
	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

// Many short streams are cut at moments of chance, their openings and ends included: what was opened arrives whole, and
// a Join that carried everything does not fail.
func TestCutsAtAnyMoment(t *testing.T) {
	r := newRig(t)
	agentSide := newCuttable(t, r.server.Listener.Addr().String())
	personSide := newCuttable(t, r.server.Listener.Addr().String())
	target := listen(t, echo)
	r.agent(func(c *carrier.Config) { c.Dialer.Address = agentSide.address() })
	r.waitOnline(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := range 12 {
			<-time.After(time.Duration(20+rand.IntN(400)) * time.Millisecond)
			if n%2 == 0 {
				agentSide.cut()
			} else {
				personSide.cut()
			}
		}
	}()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for over := false; !over; {
				select {
				case <-done:
					over = true
				default:
				}
				joinOnce(t, r, target, personSide.address(), bytes.Repeat([]byte{byte(rand.Uint32())}, rand.IntN(2<<20)))
			}
		})
	}
	all.Wait()
}

func joinOnce(t *testing.T, r *rig, target wire.Target, address string, sent []byte) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := stream.DialDevice(ctx, r.server.URL, "token", device, target, stream.DeviceOptions{Dialer: stream.Dialer{Address: address}})
	if err != nil {
		return // it was cut before it was open
	}
	var back sync.WaitGroup
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Error(err)
		return
	}
	local, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Error(err)
		return
	}
	remote, err := l.Accept()
	l.Close()
	if err != nil {
		t.Error(err)
		return
	}
	back.Go(func() {
		if err := conn.Join(remote); err != nil {
			t.Errorf("join: %v", err)
		}
	})
	back.Go(func() {
		_, _ = local.Write(sent)
		_ = local.(*net.TCPConn).CloseWrite()
	})
	got, err := io.ReadAll(local)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("got %d of %d bytes: %v", len(got), len(sent), err)
	}
	back.Wait()
	local.Close()
}
