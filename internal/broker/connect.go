package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/wire"
)

// open reads CONNECT, lets the peer in or says why not, and takes up its MQTT session.
func (c *conn) open(ctx context.Context) error {
	if err := c.net.SetDeadline(time.Now().Add(connectWithin)); err != nil {
		return err
	}
	p, err := c.readConnect()
	if err != nil {
		c.b.tell.Of(ctx, messaging.Refusal{Door: c.door}, err)
		return err
	}
	said := p.ClientID
	principal, err := c.admit(ctx, p)
	if err == nil {
		err = c.net.SetDeadline(time.Time{})
	}
	if err == nil {
		err = c.attach(p, principal)
	}
	if e, ok := errors.AsType[*mqtt.Error](err); ok {
		c.b.tell.Of(ctx, messaging.Refusal{Door: c.door, Principal: principal, Username: p.Username, ClientID: said}, err)
		return errors.Join(err, c.refuse(e, c.version))
	}
	return err
}

func (c *conn) readConnect() (*mqtt.Connect, error) {
	frame, err := mqtt.ReadFrame(c.r, maxConnect)
	if err != nil {
		return nil, fmt.Errorf("read CONNECT: %w", err)
	}
	p, err := mqtt.Decode(frame, mqtt.V311)
	if e, ok := errors.AsType[*mqtt.Error](err); ok {
		return nil, errors.Join(err, c.refuseUnread(frame, e))
	}
	connect, ok := p.(*mqtt.Connect)
	if !ok {
		return nil, mqtt.Errorf(mqtt.ProtocolError, "the first packet is %s", p.Type())
	}
	c.version = connect.Version
	return connect, nil
}

// refuseUnread answers a CONNECT that cannot be read: one of another version as 3.1.1 wants it (§3.1.2.2), one of 5.0 by its
// Reason Code; those of older versions are closed without a word.
func (c *conn) refuseUnread(frame []byte, e *mqtt.Error) error {
	if mqtt.Type(frame[0]>>4) != mqtt.CONNECT {
		return nil
	}
	at := 1
	for at < len(frame)-1 && frame[at] >= 0x80 {
		at++
	}
	level := at + 3 // behind Remaining Length and the length of the name
	if level < len(frame) {
		level += int(frame[at+2])
	}
	switch {
	case e.Code == mqtt.UnsupportedVersion, e.Code == mqtt.ClientIDNotValid && level < len(frame) && frame[level] != byte(mqtt.V5):
		return c.refuse(e, mqtt.V311)
	case level < len(frame) && frame[level] == byte(mqtt.V5):
		return c.refuse(e, mqtt.V5)
	}
	return nil
}

// refuse answers CONNECT with a reason.
func (c *conn) refuse(e *mqtt.Error, v mqtt.Version) error {
	ack := &mqtt.Connack{Code: e.Code}
	if e.Message != "" {
		ack.Properties = mqtt.Properties{{ID: mqtt.ReasonString, Text: e.Message}}
	}
	frame, err := mqtt.Encode(ack, v)
	if err == nil {
		err = c.net.SetWriteDeadline(time.Now().Add(closeWithin))
	}
	if err == nil {
		_, err = c.net.Write(frame)
	}
	if err == nil && c.halfClose() {
		_, _ = io.Copy(io.Discard, c.net)
	}
	return err
}

// admit asks who the peer is, and checks what of CONNECT can be checked before anything is done.
func (c *conn) admit(ctx context.Context, p *mqtt.Connect) (messaging.Principal, error) {
	if method, ok := p.Properties.Find(mqtt.AuthenticationMethod); ok {
		return messaging.Principal{}, mqtt.Errorf(mqtt.BadAuthenticationMethod, "this hub knows no authentication method %.100q: use username and password", method.Text)
	}
	if err := checkClientID(p); err != nil {
		return messaging.Principal{}, err
	}
	principal, err := c.b.access.Admit(ctx, c.door, p.Username, p.Password)
	if err != nil {
		return principal, refusal(err)
	}
	if p.ClientID == "" {
		p.ClientID = "auto-" + rand.Text()
		c.assigned = true
	}
	if w := p.Will; w != nil {
		w.Topic = mapBridgeState(principal, w.Topic)
		if err := c.b.checkTopic(w.Topic); err != nil {
			return principal, err
		}
		if !c.b.access.MayPublish(principal, p.ClientID, w.Topic) {
			return principal, mqtt.Errorf(mqtt.NotAuthorized, "the Will goes to %q, which you may not write to", w.Topic)
		}
	}
	return principal, nil
}

// refusal is what a peer is told of an error of Access.
func refusal(err error) error {
	codes := map[wire.Code]mqtt.ReasonCode{wire.Invalid: mqtt.ProtocolError, wire.Unauthenticated: mqtt.BadUserNameOrPassword,
		wire.Forbidden: mqtt.NotAuthorized, wire.NotFound: mqtt.NotAuthorized, wire.RateLimited: mqtt.ConnectionRateExceeded, wire.Offline: mqtt.ServerUnavailable}
	code, ok := codes[wire.CodeOf(err)]
	if !ok {
		code = mqtt.Unspecified
	}
	return &mqtt.Error{Code: code, Message: wire.MessageOf(err)}
}

func checkClientID(p *mqtt.Connect) error {
	bad := func(r rune) bool { return strings.ContainsRune("#+/", r) || r < ' ' || r == 0x7f }
	switch {
	case p.ClientID == "" && !p.Clean && p.Version != mqtt.V5:
		return mqtt.Errorf(mqtt.ClientIDNotValid, "a session that is kept needs a ClientID")
	case len(p.ClientID) > maxClientID:
		return mqtt.Errorf(mqtt.ClientIDNotValid, "a ClientID has at most %d bytes", maxClientID)
	case strings.ContainsFunc(p.ClientID, bad):
		return mqtt.Errorf(mqtt.ClientIDNotValid, "a ClientID has none of # + / and no control characters")
	}
	return nil
}

// checkTopic holds a TopicName of a peer to our limits, and keeps names that begin with $ for the hub.
func (b *Broker) checkTopic(topic string) error {
	switch {
	case len(topic) > maxTopic || tooDeep(topic):
		return mqtt.Errorf(mqtt.TopicNameInvalid, "a Topic Name has at most %d bytes and %d levels", maxTopic, maxLevels)
	case strings.HasPrefix(topic, "$"):
		return mqtt.Errorf(mqtt.NotAuthorized, "topics that begin with $ are the hub's own")
	}
	return nil
}

func tooDeep(topic string) bool { return strings.Count(topic, "/") >= maxLevels }

// mapBridgeState gives the topic by which Mosquitto's bridges tell that they are up, $SYS/broker/connection/ID/state, a place
// in the tree of the device that the bridge is of.
func mapBridgeState(p messaging.Principal, topic string) string {
	rest, ok := strings.CutPrefix(topic, "$SYS/broker/connection/")
	id, state := strings.CutSuffix(rest, "/state")
	device, _, _ := strings.Cut(p.Name, "/")
	if !ok || !state || id == "" || strings.Contains(id, "/") || p.Device == "" || device == "" {
		return topic
	}
	return "devices/" + device + "/bridge/" + id + "/state"
}

// attach takes up or begins the MQTT session, and answers CONNACK.
func (c *conn) attach(p *mqtt.Connect, principal messaging.Principal) error {
	b, now := c.b, c.b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.stopped:
		return errStopping
	default:
	}
	if len(b.conns) >= maxClients {
		return mqtt.Errorf(mqtt.ServerBusy, "%d clients are connected", maxClients)
	}
	k := key{principal.ID, p.ClientID}
	s := b.sessions[k]
	if s != nil {
		b.takeOver(s, now)
	}
	if s != nil && (p.Clean || !s.persistent() || s.ended) {
		b.end(s)
		s = nil
	}
	present := s != nil
	if s == nil {
		b.makeRoom()
		s = b.newSession(k, principal)
	}
	c.session, c.principal, c.will = s, principal, p.Will
	s.principal = principal
	c.negotiate(p, s)
	s.info = info{version: p.Version, door: c.door, since: now, keepAlive: c.keepAlive, clean: p.Clean, bridge: p.Bridge}
	s.attach(c)
	b.conns[c] = struct{}{}
	if s.persistent() || c.will != nil {
		b.journal.session(s, c.will)
	}
	c.send(&mqtt.Connack{SessionPresent: present, Properties: c.granted(p, s)})
	return nil
}

// takeOver sends away whom a session has, for a peer that is the same (MQTT 5.0 §3.1.4).
func (b *Broker) takeOver(s *session, now time.Time) {
	old := s.conn
	if old == nil {
		return
	}
	old.close(mqtt.SessionTakenOver)
	delete(b.conns, old)
	s.detach(now)
	b.leaveWill(s, old, now)
}

// negotiate reads what CONNECT asks for.
func (c *conn) negotiate(p *mqtt.Connect, s *session) {
	q := p.Properties
	c.limit = int(min(q.Number(mqtt.MaximumPacketSize, mqtt.MaxRemaining), mqtt.MaxRemaining))
	c.window = int(min(q.Number(mqtt.ReceiveMaximum, sendMaximum), sendMaximum))
	c.aliasesLeft = uint16(min(q.Number(mqtt.TopicAliasMaximum, 0), aliasMaximum))
	c.quietErrors = q.Number(mqtt.RequestProblemInfo, 1) == 0
	c.keepAlive = time.Duration(keepAlive(p.Version, p.KeepAlive)) * time.Second
	switch {
	case p.Version == mqtt.V5:
		s.expiry = sessionExpiry(q.Number(mqtt.SessionExpiry, 0))
	case p.Clean:
		s.expiry = 0
	default:
		s.expiry = maxSessionExpiry
	}
}

func sessionExpiry(seconds uint32) time.Duration {
	return min(time.Duration(seconds)*time.Second, maxSessionExpiry)
}

// keepAlive is what holds of what a peer asks for, in seconds; 0 is none.
func keepAlive(v mqtt.Version, asked uint16) uint16 {
	switch {
	case v != mqtt.V5:
		return min(asked, maxKeepAlive)
	case asked == 0:
		return maxKeepAlive5
	}
	return min(asked, maxKeepAlive5)
}

// granted are CONNACK's properties (MQTT 5.0 §3.2.2.3).
func (c *conn) granted(p *mqtt.Connect, s *session) mqtt.Properties {
	out := mqtt.Properties{
		{ID: mqtt.ReceiveMaximum, Number: receiveMaximum},
		{ID: mqtt.MaximumPacketSize, Number: maxPacket},
		{ID: mqtt.TopicAliasMaximum, Number: aliasMaximum},
	}
	if asked := p.Properties.Number(mqtt.SessionExpiry, 0); time.Duration(asked)*time.Second != s.expiry {
		out = append(out, mqtt.Property{ID: mqtt.SessionExpiry, Number: uint32(s.expiry / time.Second)})
	}
	if c.assigned {
		out = append(out, mqtt.Property{ID: mqtt.AssignedClientID, Text: p.ClientID})
	}
	if k := keepAlive(p.Version, p.KeepAlive); k != p.KeepAlive {
		out = append(out, mqtt.Property{ID: mqtt.ServerKeepAlive, Number: uint32(k)})
	}
	return out
}
