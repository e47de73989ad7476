package external

import (
	"encoding/base64"
	"strings"

	"github.com/aditdev/adit/internal/messaging"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/wire"
)

// What a username begins with that is no device's. Names of devices and things have no colon.
const (
	userPrefix        = "user:"
	applicationPrefix = "app:"
)

// username is by what the broker knows a principal: kitchen, kitchen/oven, user:alice, app:NAME. No two principals share one,
// whatever they call themselves, and none has a wildcard: in Mosquitto's patterns %u becomes a part of a filter.
func username(p messaging.Principal) (string, bool) {
	switch p.Kind {
	case messaging.KindDevice:
		return p.Name, wire.ValidDeviceName(p.Name)
	case messaging.KindThing:
		device, thing, _ := strings.Cut(p.Name, "/")
		return p.Name, wire.ValidDeviceName(device) && wire.ValidDeviceName(thing)
	case messaging.KindUser:
		return userPrefix + plain(p.Name), p.Name != ""
	case messaging.KindApplication:
		return applicationPrefix + plain(p.Name), p.Name != ""
	}
	return "", false
}

// plain writes what has a meaning in topics as %HEX.
func plain(name string) string {
	return strings.NewReplacer("%", "%25", "+", "%2B", "#", "%23", "/", "%2F").Replace(name)
}

// mayBePeer reports whether username can give what the hub's own is.
func mayBePeer(name string) bool {
	if strings.HasPrefix(name, userPrefix) || strings.HasPrefix(name, applicationPrefix) {
		return true
	}
	device, thing, has := strings.Cut(name, "/")
	return wire.ValidDeviceName(device) && (!has || wire.ValidDeviceName(thing))
}

// clientID is the ClientID that the broker sees: nobody takes over, or reads, another principal's MQTT session. Ids have
// neither dot nor colon, names of things neither.
func clientID(p messaging.Principal, id string) string { return prefix(p) + id }

func prefix(p messaging.Principal) string { return strings.ReplaceAll(p.ID, "/", ".") + ":" }

// opaque is a broker's ClientID as the API shows it.
func opaque(id string) string { return base64.RawURLEncoding.EncodeToString([]byte(id)) }

func checkClientID(id string) error {
	bad := func(r rune) bool { return strings.ContainsRune("#+/", r) || r < ' ' || r == 0x7f }
	switch {
	case len(id) > maxClientID:
		return mqtt.Errorf(mqtt.ClientIDNotValid, "a ClientID has at most %d bytes", maxClientID)
	case strings.ContainsFunc(id, bad):
		return mqtt.Errorf(mqtt.ClientIDNotValid, "a ClientID has none of # + / and no control characters")
	}
	return nil
}
