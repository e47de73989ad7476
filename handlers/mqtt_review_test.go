package handlers

import (
	"testing"
	"time"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
)

// An application is its credential: while it is away, its MQTT session and what waits for it must outlive a change of the
// policy that has nothing to do with it (the first look at the policy after a restart is one too).
func TestApplicationsAwayKeepTheirSession(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c, password, err := r.MQTT.Registry.CreateCredential(t.Context(), "test", messaging.CredentialRequest{Kind: messaging.KindApplication, Username: "nodered"})
	r.must(err)
	_, err = r.MQTT.Registry.AddRule(t.Context(), "test", "credential:nodered", "read", "news/#")
	r.must(err)
	o := mqtt.Options{Version: mqtt.V311, ClientID: "n", Username: c.Username, Password: password}
	client, _, err := r.speak(o)
	r.must(err)
	if code := r.subscribe(client, "news/#"); code.Failed() {
		t.Fatal(code)
	}
	r.must(client.Close())
	r.mqttAway("n")
	_, err = r.MQTT.Registry.AddRule(t.Context(), "test", "everybody", "read", "weather")
	r.must(err)
	r.call("owner", "POST", v1("mqtt/publish"), object{"topic": "news/1", "payload": "hello", "qos": 1}, 200, nil)
	client, got, err := r.speak(o)
	r.must(err)
	if !client.Connack().SessionPresent {
		t.Error("the session is gone")
	}
	select {
	case m := <-got:
		if m.Topic != "news/1" {
			t.Errorf("%+v", m)
		}
	case <-time.After(patience):
		t.Error("what waited is lost")
	}
	r.must(client.Close())
	r.mqttAway("n")
	r.must(r.MQTT.Registry.RemoveCredential(t.Context(), "test", "nodered"))
	for deadline := time.Now().Add(patience); len(r.MQTT.Backend.Clients()) > 0; {
		if time.Now().After(deadline) {
			t.Fatal("the session outlives its credential")
		}
	}
}

// mqttAway waits until a client is seen to be away.
func (r *rig) mqttAway(clientID string) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		for _, c := range r.MQTT.Backend.Clients() {
			if c.ClientID == clientID && !c.Connected {
				return
			}
		}
	}
	r.t.Fatalf("%s is not away", clientID)
}

// A person who may make credentials for themselves chooses their usernames: a rule with %u must not take that for the name of
// another person or of a device.
func TestChosenUsernamesGiveNoRights(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, filter := range []string{"people/%u/#", "tele/%u/#"} {
		_, err := r.MQTT.Registry.AddRule(t.Context(), "test", "everybody", "readwrite", filter)
		r.must(err)
	}
	for _, name := range []string{"kitchen", "owner"} {
		var made CreateMQTTCredential201JSONResponse
		r.call("viewer", "POST", v1("mqtt/credentials"), object{"kind": "user", "username": name}, 201, &made)
		client, _, err := r.speak(mqtt.Options{Version: mqtt.V5, ClientID: "x", Clean: true, Username: name, Password: made.Password})
		r.must(err)
		for _, filter := range []string{"people/" + name + "/#", "tele/" + name + "/x"} {
			if code := r.subscribe(client, filter); !code.Failed() {
				t.Errorf("a viewer who calls a credential %s reads %s", name, filter)
			}
		}
		if code := r.subscribe(client, "people/"+r.users["viewer"].Handle+"/#"); code.Failed() {
			t.Errorf("their own: %v", code)
		}
		r.must(client.Close())
	}
}

// What a device says of its listeners goes into a file that people copy: only an address does.
func TestListenersOfHostileDevices(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]string{"127.0.0.1:1883": "127.0.0.1:1883", "[::1]:1883": "[::1]:1883", "192.0.2.1:1883": "",
		"127.0.0.1:1883\nplugin /tmp/evil.so": "", "127.0.0.1:": "", "localhost:1883": ""} {
		if got := loopbackListener(&AgentMQTT{Listeners: []AgentMQTTListener{{Address: said}}}); got != want {
			t.Errorf("%q: %q", said, got)
		}
	}
}
