package handlers

import (
	"context"
	"net"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

// subprotocolMQTT31 is what MQTT.js names for 3.1.
const subprotocolMQTT31 = "mqttv3.1"

// mqtt is GET /mqtt: MQTT in the binary messages of a WebSocket (MQTT 5.0 §6). No cookie signs in here: CONNECT has username
// and password. A page's Origin was checked before; programs send none.
func (a *api) mqtt(c echo.Context) error {
	if !isUpgrade(c.Request()) {
		c.Response().Header().Set("Upgrade", "websocket")
		return echo.NewHTTPError(http.StatusUpgradeRequired, "This is the door of MQTT over WebSocket: a client with a username and password "+
			"of this hub connects here. If yours did, a proxy before the hub has stripped the Upgrade header.")
	}
	ws, err := stream.Accept(c.Response(), c.Request(), wire.SubprotocolMQTT, subprotocolMQTT31)
	if err != nil {
		return nil // Accept has answered
	}
	if ws.Subprotocol() == "" {
		ws.Close(wire.Errorf(wire.Invalid, "Name the subprotocol mqtt."))
		return nil
	}
	conn := &pingedConn{Conn: ws.NetConn(context.Background()), stop: a.Tunnel.KeepAlive(ws, 0)}
	a.MQTT.Accept(conn, messaging.Door{Name: "websocket", Address: c.RealIP()})
	return nil
}

// pingedConn is a WebSocket that is pinged until it is closed: MQTT's own keep-alive is longer than proxies are patient.
type pingedConn struct {
	net.Conn
	stop func()
}

// Close is net.Conn's.
func (c *pingedConn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// GetMQTT is the broker and its figures.
func (a *api) GetMQTT(context.Context, GetMQTTRequestObject) (GetMQTTResponseObject, error) {
	s := a.MQTT.Backend.Stats()
	out := GetMQTT200JSONResponse{Backend: MQTTStatusBackend(s.Backend), Connected: s.Problem == nil, Clients: s.Clients, Sessions: s.Sessions,
		Subscriptions: s.Subscriptions, Retained: s.Retained, RetainedBytes: s.RetainedBytes, Received: s.Received, Sent: s.Sent,
		Dropped: s.Dropped, StartedAt: s.Started.UTC(), Address: some(a.mqttAddress())}
	if s.Problem != nil {
		out.Problem = some(wire.MessageOf(s.Problem))
	}
	return out, nil
}

// mqttAddress is where MQTT goes without HTTPS; empty where ADIT_MQTT_ADDR is not set.
func (a *api) mqttAddress() string {
	if a.Config.MQTTListen == "" {
		return ""
	}
	_, port, _ := net.SplitHostPort(a.Config.MQTTListen)
	return net.JoinHostPort(a.Config.URLs[0].Hostname(), port)
}

// mqttURL is that of the WebSocket door.
func (a *api) mqttURL() string {
	u := *a.Config.URLs[0]
	u.Scheme, u.Path = map[string]string{"https": "wss", "http": "ws"}[u.Scheme], "/mqtt"
	return u.String()
}

// ListMQTTClients lists the MQTT sessions in the caller's view: their own and those of devices that they see; managers all.
func (a *api) ListMQTTClients(ctx context.Context, _ ListMQTTClientsRequestObject) (ListMQTTClientsResponseObject, error) {
	p := principalOf(ctx)
	out := ListMQTTClients200JSONResponse{}
	for _, c := range a.MQTT.Backend.Clients() {
		if a.seesClient(p, c) {
			out = append(out, apiMQTTClient(c))
		}
	}
	return out, nil
}

func (a *api) seesClient(p *auth.Principal, c messaging.Client) bool {
	policy := a.Gate.Policy()
	return policy.Users[p.User.ID].Role.Manages() || c.Principal.User == p.User.ID ||
		(c.Principal.Device != "" && policy.Sees(p.User.ID, c.Principal.Device, a.Now()))
}

// KickMQTTClient disconnects a client.
func (a *api) KickMQTTClient(ctx context.Context, r KickMQTTClientRequestObject) (KickMQTTClientResponseObject, error) {
	forget, kicked := value(r.Params.Forget), messaging.Client{}
	for _, c := range a.MQTT.Backend.Clients() {
		if c.ID == r.MqttClient {
			kicked = c
		}
	}
	if err := a.MQTT.Backend.Kick(ctx, r.MqttClient, forget); err != nil {
		return nil, err
	}
	a.note(ctx, events.Event{Type: events.MQTTKicked, Device: kicked.Principal.Device, User: kicked.Principal.User, Data: events.Data{
		"client_id": wire.Printable(kicked.ClientID, 64), "name": kicked.Principal.Name, "forget": forget, "by": principalOf(ctx).User.Handle}})
	return KickMQTTClient204Response{}, nil
}

func apiMQTTClient(c messaging.Client) MQTTClient {
	out := MQTTClient{ID: c.ID, ClientID: c.ClientID, Principal: apiMQTTPrincipal(c.Principal), Version: MQTTClientVersion(c.Version),
		Connected: c.Connected, Door: MQTTClientDoor(c.Door.Name), Address: some(c.Door.Address), Since: c.Since.UTC(),
		KeepAliveSeconds: int(c.KeepAlive.Seconds()), Clean: c.Clean, Bridge: c.Bridge, Subscriptions: []MQTTSubscription{},
		Queued: c.Queued, Inflight: c.Inflight, Dropped: c.Dropped, Retained: some(c.Retained)}
	for _, s := range c.Subscriptions {
		out.Subscriptions = append(out.Subscriptions, MQTTSubscription{Filter: s.Filter, Qos: int(s.QoS)})
	}
	return out
}

func apiMQTTPrincipal(p messaging.Principal) MQTTPrincipal {
	return MQTTPrincipal{Kind: MQTTPrincipalKind(p.Kind), ID: p.ID, Name: p.Name, DeviceID: some(p.Device)}
}

// mayReceive is what the person may read on the hub's broker, as the policy is at each message.
func (a *api) mayReceive(p *auth.Principal) func(topic string) bool {
	who := messaging.PrincipalOf(p)
	return func(topic string) bool { return a.MQTT.Registry.MayReceive(who, "", topic) }
}

// holdBroker opens the way to a device's own broker, where one is named; "" means the hub's.
func (a *api) holdBroker(ctx context.Context, p *auth.Principal, ref string) (device string, held context.Context, release context.CancelFunc, err error) {
	if ref == "" {
		held, release, err = a.Gate.Hold(ctx, access.Use{User: p.User.ID, Credential: p.Credential})
		return "", held, release, err
	}
	if !p.Scope.Holds(access.ScopeConnect) {
		return "", nil, nil, wire.Errorf(wire.Forbidden, "A device's own broker takes a token of scope %s; the scope of this one is %s.", access.ScopeConnect, p.Scope)
	}
	d, held, release, err := a.hold(ctx, p, ref, wire.TargetMQTT, "")
	return d.ID, held, release, err
}
