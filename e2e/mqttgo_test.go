//go:build linux

package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	"github.com/gorilla/websocket"
)

// pahoGo is paho.mqtt.golang, which knows 3.1 and 3.1.1, over WebSocket.
type pahoGo struct {
	r       *rig
	version uint // 3 or 4
	c       mqttCredential
}

// options of a connection that ends when it is lost; cut loses it.
func (p pahoGo) options(t testing.TB) (o *paho3.ClientOptions, cut func()) {
	proxy, cut := p.r.forwardProxy(t)
	o = paho3.NewClientOptions().AddBroker(p.c.url).SetClientID(newID()).SetUsername(p.c.username).SetPassword(p.c.password)
	o.SetProtocolVersion(p.version).SetAutoReconnect(false).SetTLSConfig(p.r.clientTLS())
	o.SetWebsocketOptions(&paho3.WebsocketOptions{Proxy: http.ProxyURL(proxy)})
	return o, cut
}

func (r *rig) clientTLS() *tls.Config { return &tls.Config{RootCAs: r.ca.pool, ServerName: hubName} }

func done(t testing.TB, what string, token paho3.Token) {
	t.Helper()
	if !token.WaitTimeout(patience) || token.Error() != nil {
		t.Fatalf("paho.mqtt.golang: %s: %v", what, token.Error())
	}
}

func (p pahoGo) hear(t testing.TB, h hearing) *ear {
	t.Helper()
	o, cut := p.options(t)
	e := &ear{name: fmt.Sprint("paho.mqtt.golang ", p.version), lines: make(chan string, 10_000)}
	if h.Will != "" {
		o.SetWill(h.Will, "gone", 1, false)
	}
	client := paho3.NewClient(o)
	done(t, "connect", client.Connect())
	token := client.Subscribe(h.Filter, byte(h.QoS), func(_ paho3.Client, m paho3.Message) {
		e.lines <- line4(m.Topic(), m.Qos(), m.Retained(), m.Payload())
	})
	done(t, "subscribe", token)
	if granted := token.(*paho3.SubscribeToken).Result()[h.Filter]; granted > 2 {
		t.Fatalf("paho.mqtt.golang: subscribe to %s: refused", h.Filter)
	}
	e.stop, e.kill = func() { client.Disconnect(1000) }, cut
	return e
}

func line4(topic string, qos byte, retain bool, payload []byte) string {
	flag := 0
	if retain {
		flag = 1
	}
	return fmt.Sprintf("%s %d %d %s", topic, qos, flag, payload)
}

func (p pahoGo) say(t testing.TB, all ...saying) {
	t.Helper()
	o, _ := p.options(t)
	client := paho3.NewClient(o)
	done(t, "connect", client.Connect())
	defer client.Disconnect(1000)
	for _, s := range all {
		done(t, "publish", client.Publish(s.Topic, byte(s.QoS), s.Retain, s.Payload))
	}
}

// pahoGo5 is paho.golang, which knows 5.0, over WebSocket.
type pahoGo5 struct {
	r *rig
	c mqttCredential
}

func (p pahoGo5) connect(t testing.TB, will string, take func(paho.PublishReceived) (bool, error)) (m *autopaho.ConnectionManager, cut func()) {
	t.Helper()
	proxy, cut := p.r.forwardProxy(t)
	server, err := url.Parse(p.c.url)
	if err != nil {
		t.Fatal(err)
	}
	o := autopaho.ClientConfig{
		ServerUrls: []*url.URL{server}, TlsCfg: p.r.clientTLS(), KeepAlive: 30, CleanStartOnInitialConnection: true,
		ConnectUsername: p.c.username, ConnectPassword: []byte(p.c.password),
		WebSocketCfg: &autopaho.WebSocketConfig{Dialer: func(_ *url.URL, tls *tls.Config) *websocket.Dialer {
			return &websocket.Dialer{Proxy: http.ProxyURL(proxy), TLSClientConfig: tls, Subprotocols: []string{"mqtt"}}
		}},
		OnConnectionDown: func() bool { return false },
		ClientConfig:     paho.ClientConfig{ClientID: newID(), OnPublishReceived: []func(paho.PublishReceived) (bool, error){take}},
	}
	if will != "" {
		o.WillMessage = &paho.WillMessage{Topic: will, Payload: []byte("gone"), QoS: 1}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	m, err = autopaho.NewConnection(context.Background(), o)
	if err == nil {
		err = m.AwaitConnection(ctx)
	}
	if err != nil {
		t.Fatalf("paho.golang: connect: %v", err)
	}
	return m, cut
}

func (p pahoGo5) hear(t testing.TB, h hearing) *ear {
	t.Helper()
	e := &ear{name: "paho.golang 5", lines: make(chan string, 10_000)}
	client, cut := p.connect(t, h.Will, func(r paho.PublishReceived) (bool, error) {
		e.lines <- line4(r.Packet.Topic, r.Packet.QoS, r.Packet.Retain, r.Packet.Payload)
		return true, nil
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := client.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: h.Filter, QoS: byte(h.QoS)}}}); err != nil {
		t.Fatalf("paho.golang: subscribe to %s: %v", h.Filter, err)
	}
	e.stop = func() { p.end(t, client) }
	e.kill = cut
	return e
}

func (p pahoGo5) end(t testing.TB, client *autopaho.ConnectionManager) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := client.Disconnect(ctx); err != nil {
		t.Errorf("paho.golang: disconnect: %v", err)
	}
}

func (p pahoGo5) say(t testing.TB, all ...saying) {
	t.Helper()
	client, _ := p.connect(t, "", func(paho.PublishReceived) (bool, error) { return true, nil })
	defer p.end(t, client)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, s := range all {
		if _, err := client.Publish(ctx, &paho.Publish{Topic: s.Topic, QoS: byte(s.QoS), Retain: s.Retain, Payload: []byte(s.Payload)}); err != nil {
			t.Fatalf("paho.golang: publish: %v", err)
		}
	}
}
