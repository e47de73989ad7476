package broker

import (
	"time"

	"github.com/aditdev/adit/internal/mqtt"
)

// limitSilence has the next packet come within one and a half times Keep Alive (MQTT 5.0 §3.1.2.10). It is a timer and not a
// read deadline: one that passes ends a WebSocket at once, and the peer would not be told why. The lock is held.
func (c *conn) limitSilence() {
	limit := c.keepAlive + c.keepAlive/2
	switch {
	case limit == 0:
	case c.silence == nil:
		c.silence = time.AfterFunc(limit, c.tooSilent)
	default:
		c.silence.Reset(limit)
	}
}

func (c *conn) tooSilent() {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	c.close(mqtt.KeepAliveTimeout)
}

// endSilence ends the watch. The lock is held.
func (c *conn) endSilence() {
	if c.silence != nil {
		c.silence.Stop()
	}
}

// readError is why reading ended: where we did because nothing came, that.
func (c *conn) readError(err error) error {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if c.closing && c.farewell == mqtt.KeepAliveTimeout {
		return mqtt.Errorf(mqtt.KeepAliveTimeout, "nothing came for one and a half times its Keep Alive of %s", c.keepAlive)
	}
	return err
}
