package mqtt

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/bench/figure"
	codec "github.com/aditdev/adit/internal/mqtt"
)

const (
	idleClients = 2000
	dialling    = 16               // at once: a hub lets 32 strangers of one address wait
	settle      = 30 * time.Second // with three rounds of keep-alive
	pingEvery   = 10 * time.Second
)

// memory is each server's resident memory for an idle client: one that has subscribed to a topic, and says every now and then that
// it is alive.
func memory(ctx context.Context, all servers, report func(string)) error {
	empty := map[string]float64{}
	var crowds []*crowd
	for _, s := range all {
		empty[s.name] = figure.Resident(s.cmd.Process.Pid)
		c, err := gather(s)
		defer c.leave()
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		crowds = append(crowds, c)
	}
	idle, stop := context.WithTimeout(ctx, settle)
	defer stop()
	var pinging sync.WaitGroup
	for _, c := range crowds {
		pinging.Go(func() { c.ping(idle) })
	}
	pinging.Wait()
	each := map[string]float64{}
	for i, s := range all {
		if lost := crowds[i].lost(); lost > 0 {
			return fmt.Errorf("%s: %d clients were cut off", s.name, lost)
		}
		each[s.name] = (figure.Resident(s.cmd.Process.Pid) - empty[s.name]) / idleClients
	}
	report(figure.Row(fmt.Sprintf("MQTT, memory per idle client of %d", idleClients), fmt.Sprintf("%.1f KiB", each[ours]),
		beside(each), fmt.Sprintf("≤ %d KiB", mostIdle), each[ours] <= mostIdle))
	return nil
}

// crowd is the idle clients of a server.
type crowd struct {
	peers   []*peer
	reading sync.WaitGroup
	mu      sync.Mutex
	gone    int
}

func gather(s *server) (*crowd, error) {
	c := &crowd{}
	work := make(chan int)
	errs := make(chan error, dialling)
	for range dialling {
		go func() {
			var failed error
			for i := range work {
				if failed == nil {
					failed = c.join(s, i)
				}
			}
			errs <- failed
		}()
	}
	for i := range idleClients {
		work <- i
	}
	close(work)
	var failed []string
	for range dialling {
		if err := <-errs; err != nil {
			failed = append(failed, err.Error())
		}
	}
	if failed != nil {
		return c, fmt.Errorf("connect: %s", strings.Join(failed, "; "))
	}
	return c, nil
}

func (c *crowd) join(s *server, i int) error {
	id := fmt.Sprintf("idle%d", i)
	p, err := s.dial(id, true)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.peers = append(c.peers, p)
	c.mu.Unlock()
	if err := p.subscribe("bench/idle/"+id, 1); err != nil {
		return err
	}
	c.reading.Go(func() {
		for {
			if _, err := p.next(); err != nil {
				c.mu.Lock()
				c.gone++
				c.mu.Unlock()
				return
			}
		}
	})
	return nil
}

// ping keeps all alive, one after the other, until ctx ends.
func (c *crowd) ping(ctx context.Context) {
	for ctx.Err() == nil {
		for _, p := range c.peers {
			if ctx.Err() != nil {
				return
			}
			_ = p.write(p.frame(nil, []byte{byte(codec.PINGREQ) << 4, 0})) // one that fails is counted by its reader
			figure.Pause(ctx, pingEvery/idleClients)
		}
	}
}

func (c *crowd) lost() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone
}

func (c *crowd) leave() {
	for _, p := range c.peers {
		p.close()
	}
	c.reading.Wait()
}
