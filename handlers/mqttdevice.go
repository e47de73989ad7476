package handlers

import (
	"context"
	"net/netip"
	"time"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

const (
	// agentAsked is how long a page waits for an agent's word.
	agentAsked = 3 * time.Second
	// deviceTopics is how many topics a device's page shows.
	deviceTopics = 100
)

// GetDeviceMQTT is a device's MQTT.
func (a *api) GetDeviceMQTT(ctx context.Context, r GetDeviceMQTTRequestObject) (GetDeviceMQTTResponseObject, error) {
	p := principalOf(ctx)
	d, err := a.Devices.Find(ctx, p, r.Device)
	if err != nil {
		return nil, err
	}
	out := GetDeviceMQTT200JSONResponse{Topics: []MQTTMessage{}, Clients: []MQTTClient{}, AgentToml: messaging.AgentTOML(d.Name)}
	for _, m := range a.MQTT.Last(d.Name, deviceTopics, a.mayReceive(p)) {
		out.Topics = append(out.Topics, apiMQTTMessage(m))
	}
	for _, c := range a.MQTT.Backend.Clients() {
		if c.Principal.Device == d.ID {
			out.Clients = append(out.Clients, apiMQTTClient(c))
		}
	}
	if out.Agent, err = a.agentMQTT(ctx, d); err != nil {
		out.AgentProblem = some(wire.MessageOf(err))
	}
	out.MosquittoConf = messaging.MosquittoConf(d.Name, loopbackListener(out.Agent))
	return out, nil
}

// agentMQTT asks the agent for its listeners and bridges.
func (a *api) agentMQTT(ctx context.Context, d store.Device) (*AgentMQTT, error) {
	if !a.Tunnel.Online(d.ID) {
		return nil, wire.Errorf(wire.Offline, "%s is offline. What its agent does with MQTT shows when it is back.", d.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, agentAsked)
	defer cancel()
	var state AgentMQTT
	err := a.Tunnel.Call(ctx, d.ID, wire.MethodMQTT, struct{}{}, &state)
	if wire.CodeOf(err) == wire.NotFound {
		return nil, wire.Wrap(err, wire.NotFound, "The agent of %s is older than its MQTT. Update it to see listeners and bridges here.", d.Name)
	}
	if err != nil {
		return nil, err
	}
	state.Listeners, state.Bridges = nonNil(state.Listeners), nonNil(state.Bridges)
	for i := range state.Listeners {
		state.Listeners[i].Things = nonNil(state.Listeners[i].Things)
	}
	return &state, nil
}

// loopbackListener is the address on which the agent serves local programs; empty where there is none yet.
func loopbackListener(state *AgentMQTT) string {
	if state == nil {
		return ""
	}
	for _, l := range state.Listeners {
		if address, err := netip.ParseAddrPort(l.Address); err == nil && address.Addr().IsLoopback() {
			return address.String()
		}
	}
	return ""
}
