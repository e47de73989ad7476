package cli

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/wire"
)

const (
	testPoll  = 200 * time.Millisecond
	testGrace = 10 * time.Second // beside the endpoint's timeout: for the attempts before it
)

// testEndpoint sends a message to one endpoint, and says how its first attempt went.
func testEndpoint(ctx context.Context, args []string, stdio command.Stdio) error {
	f := newHookFlags("adit hook endpoint test", endpointUsage, stdio)
	noWait := f.Bool("no-wait", false, "")
	if err := f.read(args, 1, 1); err != nil {
		return err
	}
	path := "hooks/endpoints/" + url.PathEscape(f.Arg(0))
	if *noWait {
		var d api.HookDelivery
		if done, err := f.ask(ctx, http.MethodPost, path+"/test", nil, &d); done || err != nil {
			return err
		}
		f.say("%s", d.ID)
		f.note("`adit hook delivery %s` shows what came of it.", d.ID)
		return nil
	}
	var e api.HookEndpoint
	var made api.HookDelivery
	if err := f.a.call(ctx, http.MethodGet, path, nil, &e); err != nil {
		return err
	}
	if err := f.a.call(ctx, http.MethodPost, path+"/test", nil, &made); err != nil {
		return err
	}
	got, err := f.firstAttempt(ctx, made.ID, time.Duration(e.TimeoutSeconds)*time.Second+testGrace)
	if err != nil {
		return err
	}
	return f.tellTest(got)
}

// tested is a delivery with its attempts, and as the hub gave it.
type tested struct {
	Raw      json.RawMessage `json:"delivery"`
	Attempts []api.HookAttempt
	delivery api.HookDelivery
}

// firstAttempt waits until a delivery was tried, is held, or has waited long enough.
func (f *hookFlags) firstAttempt(ctx context.Context, id string, most time.Duration) (got tested, err error) {
	for end := time.Now().Add(most); ; {
		got = tested{}
		if err := f.a.call(ctx, http.MethodGet, "hooks/deliveries/"+url.PathEscape(id), nil, &got); err != nil {
			return got, err
		}
		if json.Unmarshal(got.Raw, &got.delivery) != nil {
			return got, refusal(http.StatusOK, nil)
		}
		d := got.delivery
		held := d.HeldBy != nil && *d.HeldBy != api.HookDeliveryHeldByRate
		if len(got.Attempts) > 0 || held || d.FinishedAt != nil || time.Now().After(end) {
			return got, nil
		}
		select {
		case <-time.After(testPoll):
		case <-ctx.Done():
			return got, ctx.Err()
		}
	}
}

// tellTest says how a test went; it is an error where it has not arrived.
func (f *hookFlags) tellTest(got tested) error {
	d := got.delivery
	if *f.json {
		if err := writeJSON(f.stdio.Out, got.Raw); err != nil {
			return err
		}
	}
	see := "`adit hook delivery " + d.ID + "` shows it."
	if len(got.Attempts) == 0 {
		return wire.Errorf(wire.Offline, "Nothing was sent yet: %s %s", heldWords(d), see)
	}
	a := got.Attempts[len(got.Attempts)-1]
	if d.State != api.HookDeliveryStateDelivered {
		return wire.Errorf(wire.Offline, "It failed: %s %s", or(a.Error), see)
	}
	if !*f.json && a.Status != nil {
		f.say("It arrived: %d in %d ms.", *a.Status, a.TookMs)
		f.note("%s", see)
	}
	return nil
}

// heldWords say why a delivery waits, and what lets it go on.
func heldWords(d api.HookDelivery) string {
	if d.HeldBy == nil {
		return "the hub has not come to it."
	}
	switch *d.HeldBy {
	case api.HookDeliveryHeldByPaused, api.HookDeliveryHeldByDisabled:
		return heldNote(d.EndpointName, string(*d.HeldBy))
	case api.HookDeliveryHeldByBreaker:
		return d.EndpointName + " failed before, and is tried again later: `adit hook try " + d.ID + "` tries it now."
	case api.HookDeliveryHeldByRate:
		return "the rate of " + d.EndpointName + " is used up."
	}
	return "it is held by " + string(*d.HeldBy) + "."
}

func heldNote(endpoint, state string) string {
	return endpoint + " is " + state + ": `adit hook endpoint resume " + endpoint + "` sends it."
}

// noteHeld says of what is sent again where somebody must let it go: of one endpoint, or of all where name is empty.
func (f *hookFlags) noteHeld(ctx context.Context, name string) error {
	var all []api.HookEndpoint
	if err := f.a.call(ctx, http.MethodGet, "hooks/endpoints", nil, &all); err != nil {
		return err
	}
	for _, e := range all {
		if (name == "" || name == e.Name || name == e.ID) && e.Waiting > 0 && e.State != api.HookEndpointStateActive {
			f.note("%s", heldNote(e.Name, string(e.State)))
		}
	}
	return nil
}
