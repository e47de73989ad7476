package broker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/mqtt"
)

// victim is a hub in a process of its own, which is killed and started again.
type victim struct {
	t    *testing.T
	dir  string
	mu   sync.Mutex
	addr string
	cmd  *exec.Cmd
}

func (v *victim) start() {
	v.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "ADIT_BROKER_DIR="+v.dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		v.t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		v.t.Fatalf("the hub does not say its port: %v", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.addr, v.cmd = strings.TrimSpace(line), cmd
}

func (v *victim) kill() {
	v.mu.Lock()
	defer v.mu.Unlock()
	_ = v.cmd.Process.Kill() // SIGKILL
	_ = v.cmd.Wait()
}

// connect tries until the hub is there.
func (v *victim) connect(ctx context.Context, o mqtt.Options) (*mqtt.Client, error) {
	for {
		v.mu.Lock()
		addr := v.addr
		v.mu.Unlock()
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			var c *mqtt.Client
			if c, err = mqtt.NewClient(ctx, conn, o); err == nil {
				return c, nil
			}
		}
		if refusal, ok := errors.AsType[*mqtt.Error](err); ok {
			return nil, refusal
		}
		timer := time.NewTimer(20 * time.Millisecond)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		case <-timer.C:
		}
	}
}

// ledger counts payloads.
type ledger struct {
	mu    sync.Mutex
	times map[string]int
}

func newLedger() *ledger { return &ledger{times: map[string]int{}} }

func (l *ledger) add(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.times[s]++
}

func (l *ledger) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.times)
}

func (l *ledger) all() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.times)
}

func (l *ledger) of(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.times[s]
}

// stream publishes numbered messages of one QoS until ctx ends, over connections that break, as a device with a session
// does; acked gets those that were acknowledged for good. Each message takes a token.
func (v *victim) stream(ctx context.Context, qos byte, acked *ledger, tokens <-chan struct{}) {
	o := mqtt.Options{ClientID: fmt.Sprint("pub", qos), Username: "admin", Password: "secret", SessionExpiry: time.Hour, Session: mqtt.NewSession(nil)}
	for n := 0; ctx.Err() == nil; {
		c, err := v.connect(ctx, o)
		if err != nil {
			return
		}
		for wait(ctx, c, tokens) {
			text := fmt.Sprintf("%d/%d", qos, n)
			err := c.Enqueue(ctx, &mqtt.Publish{Topic: "shared/x", QoS: qos, Payload: []byte(text), Retain: n%10 == 0}, func(code mqtt.ReasonCode, err error) {
				if err == nil && code == mqtt.Success {
					acked.add(text)
				}
			})
			if err != nil {
				break
			}
			n++
		}
		_ = c.Close()
	}
}

// wait takes a token; false means that the connection or the stream has ended.
func wait(ctx context.Context, c *mqtt.Client, tokens <-chan struct{}) bool {
	select {
	case <-ctx.Done():
	case <-c.Done():
	case <-tokens:
		return true
	}
	return false
}

// subscriber reads with a session that it keeps.
func (v *victim) subscriber(ctx context.Context, id string, qos byte, got *ledger, subscribed func()) {
	o := mqtt.Options{ClientID: id, Username: "admin", Password: "secret", SessionExpiry: time.Hour, Session: mqtt.NewSession(nil),
		OnPublish: func(p *mqtt.Publish, ack func()) { got.add(string(p.Payload)); ack() }}
	for ctx.Err() == nil {
		c, err := v.connect(ctx, o)
		if err != nil {
			return
		}
		if !c.Connack().SessionPresent {
			if _, err := c.Subscribe(ctx, mqtt.Subscription{Filter: "shared/x", QoS: qos, RetainHandling: 2}); err == nil {
				subscribed()
			}
		}
		select {
		case <-ctx.Done():
		case <-c.Done():
		}
		_ = c.Close()
	}
}

// kill -9 in the middle of streams of QoS 1 and 2: nothing that was acknowledged is lost, for a subscriber that is there and
// for one that is away, and who reads at QoS 2 gets nothing twice.
func TestKill(t *testing.T) {
	v := &victim{t: t, dir: t.TempDir()}
	v.start()
	defer func() { v.kill() }()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	here, late := newLedger(), newLedger()
	acked := []*ledger{nil, newLedger(), newLedger()}
	lateCtx, leave := context.WithCancel(ctx)
	var subscribed sync.WaitGroup
	subscribed.Add(2)
	work.Go(func() { v.subscriber(lateCtx, "late", 1, late, subscribed.Done) })
	work.Go(func() { v.subscriber(ctx, "here", 2, here, subscribed.Done) })
	subscribed.Wait()
	streaming, endStream := context.WithCancel(ctx)
	var streams sync.WaitGroup
	tokens := make(chan struct{}, maxAwayMessages)
	more := func() {
		for range 180 { // fewer in all than are kept for who is away
			tokens <- struct{}{}
		}
	}
	more()
	for qos := byte(1); qos <= 2; qos++ {
		streams.Go(func() { v.stream(streaming, qos, acked[qos], tokens) })
	}
	eventually(t, "both subscribers hear something", func() bool { return late.len() > 0 && here.len() > 0 })
	leave()
	for round := range 4 {
		more()
		before := []int{0, acked[1].len(), acked[2].len()}
		eventually(t, "messages are acknowledged", func() bool { return acked[1].len() > before[1]+20 && acked[2].len() > before[2]+20 })
		t.Logf("kill %d after %d and %d acknowledged", round, acked[1].len(), acked[2].len())
		v.kill()
		v.start()
	}
	endStream()
	streams.Wait()
	total := acked[1].len() + acked[2].len()
	work.Go(func() { v.subscriber(ctx, "late", 1, late, func() { t.Error("the session is lost") }) })
	for qos := 1; qos <= 2; qos++ {
		for text := range acked[qos].times {
			eventually(t, "who was there has "+text, func() bool { return here.of(text) > 0 })
			eventually(t, "who was away has "+text, func() bool { return late.of(text) > 0 })
		}
	}
	t.Logf("%d acknowledged; %d arrived, %d for whom was away", total, here.len(), late.len())
	for text, times := range here.all() { // what was not acknowledged may come still
		if times > 1 && text[0] == '2' {
			t.Errorf("%s came %d times", text, times)
		}
	}
}
