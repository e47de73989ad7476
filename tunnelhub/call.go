package tunnelhub

import (
	"context"
	"encoding/json"
	"time"

	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

// Call asks a device's agent for something and stores the answer in result, a pointer or nil. The call is signed for
// the carrier it goes out on. It waits up to 10 s for the device, and is repeated with its id where its carrier died;
// how long the answer may take is ctx's to say. Errors are *wire.Error.
func (h *Hub) Call(ctx context.Context, device, method string, params, result any) error {
	raw, err := json.Marshal(params)
	if err != nil {
		return wire.Wrap(err, wire.Internal, "The call %s cannot be written.", method)
	}
	call := wire.Call{ID: wire.NewID(), Method: method, Params: raw}
	h.mu.Lock()
	d := h.deviceLocked(device)
	h.mu.Unlock()
	answer, forget := d.calls.Expect(call.ID)
	defer forget()
	for {
		c, err := h.carrierForCall(ctx, d)
		if err != nil {
			return err
		}
		known, err := h.options.Device(ctx, device) // asked anew: it may have been told of another key since
		if err != nil {
			return err
		}
		// A frame that cannot be sent ends the carrier, and so this wait.
		if err := c.ws.WriteMessage(wire.SignCall(h.keyFor(known), device, c.nonce, c.agentNonce, call)); wire.CodeOf(err) == wire.TooLarge {
			return err
		}
		select {
		case r := <-answer:
			return stream.ReadResult(r, result)
		case <-c.gone:
		case <-ctx.Done():
			return wire.Wrap(context.Cause(ctx), wire.Offline, "The device did not answer %s in time.", method)
		}
	}
}

// carrierForCall waits for any carrier: calls need no parked one.
func (h *Hub) carrierForCall(ctx context.Context, d *device) (*Carrier, error) {
	const look = 50 * time.Millisecond
	for waited := time.Duration(0); ; waited += look {
		if c := d.anyCarrier(); c != nil {
			return c, nil
		}
		if waited >= dialWait || ctx.Err() != nil {
			return nil, wire.Errorf(wire.Offline, "The device is not connected.")
		}
		sleep(ctx, look)
	}
}

// callsAtOnce bounds the calls of one device that are being answered.
const callsAtOnce = 32

// onCall answers a call in the background.
func (c *Carrier) onCall(ctx context.Context, call wire.Call) error {
	if c.device.calling.Add(1) > callsAtOnce {
		c.device.calling.Add(-1)
		return c.ws.WriteMessage(wire.Result{ID: call.ID, Code: wire.RateLimited, Message: "Too many calls at once."})
	}
	if !c.hub.start(func() { defer c.device.calling.Add(-1); c.answer(ctx, call) }) {
		c.device.calling.Add(-1)
	}
	return nil
}

// answer runs a call of the device and sends its result back on the carrier it came on.
func (c *Carrier) answer(ctx context.Context, call wire.Call) {
	result := c.device.answers.Answer(ctx, call.ID, func() wire.Result {
		if c.hub.options.Handle == nil {
			return wire.Result{ID: call.ID, Code: wire.NotFound, Message: "This hub answers no calls."}
		}
		value, err := c.hub.options.Handle(ctx, c.id, call.Method, call.Params)
		if err != nil {
			c.hub.options.Log.Info("call failed", "device", c.id, "method", wire.Printable(call.Method, 64), "cause", err)
		}
		return stream.ResultOf(call.ID, value, err)
	})
	_ = c.ws.WriteMessage(result) // where the carrier died, the call will be repeated
}
