package messaging

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

var (
	errCredentials = wire.Errorf(wire.Unauthenticated, "This MQTT username and password do not belong together, or have expired.")
	errTries       = wire.Errorf(wire.RateLimited, "Too many tries from your network. Wait some minutes.")
)

// maxUsername bounds a username, and with it what a stranger makes the hub look up, in bytes.
const maxUsername = 64

// PrincipalOf is how a person speaks who came by the API.
func PrincipalOf(p *auth.Principal) Principal {
	return Principal{Kind: KindUser, ID: p.User.ID, Name: p.User.Handle, User: p.User.ID, Credential: p.Credential}
}

// Admit is Access's. What a device's own carrier says of itself is believed only within that device.
func (r *Registry) Admit(ctx context.Context, door Door, username, password string) (Principal, error) {
	if err := r.Gate.Refresh(ctx); err != nil { // another process may have made the credential just now
		return Principal{}, err
	}
	if door.By != nil {
		return r.admitBehind(*door.By, username)
	}
	if username == "" || password == "" {
		return Principal{}, wire.Errorf(wire.Unauthenticated, "This hub lets nobody in without an MQTT username and password. Its pages make them.")
	}
	if len(username) > maxUsername || len(password) > auth.MaxPassword {
		return Principal{}, errCredentials
	}
	giveBack, ok := r.try(door.Address, username)
	if !ok {
		return Principal{}, errTries
	}
	p, err := r.identify(ctx, username, password)
	if err != nil {
		return Principal{}, err
	}
	giveBack()
	return p, nil
}

// admitBehind names a thing of the device whose carrier it is, or the device itself.
func (r *Registry) admitBehind(p Principal, thing string) (Principal, error) {
	if thing != "" {
		if !wire.ValidDeviceName(thing) {
			return Principal{}, wire.Errorf(wire.Unauthenticated, "%q is no name of a thing: a-z, 0-9 and dash.", wire.Printable(thing, 63))
		}
		p = Principal{Kind: KindThing, ID: p.Device + "/" + thing, Name: p.Name + "/" + thing, Device: p.Device, Thing: thing}
	}
	if !r.Lives(p) {
		return Principal{}, wire.Errorf(wire.Forbidden, "This device is gone, or waits for approval.")
	}
	return p, nil
}

// try takes one try of a username and of a network, or none.
func (r *Registry) try(address, username string) (giveBack func(), ok bool) {
	network := auth.Network(address)
	place := network + " " + username
	if !r.byAddress.Allow(network) {
		return nil, false
	}
	if !r.byPlace.Allow(place) {
		r.byAddress.GiveBack(network)
		return nil, false
	}
	return func() { r.byAddress.GiveBack(network); r.byPlace.GiveBack(place) }, true
}

func (r *Registry) identify(ctx context.Context, username, password string) (Principal, error) {
	if strings.HasPrefix(password, tokenPrefix) {
		return r.byToken(username, password)
	}
	row, err := r.Store.Read().MQTTCredentialByUsername(ctx, username)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return Principal{}, fmt.Errorf("find MQTT credential: %w", err)
	}
	ok, err := r.matches(ctx, row.Hash, password)
	if err != nil {
		return Principal{}, err
	}
	p := r.principal(row)
	if !ok || !r.Lives(p) {
		return Principal{}, errCredentials
	}
	if r.touched.Allow(row.ID) {
		now := r.millis()
		// A disk that takes no writes must not lock things out; the note of last use is only for the list.
		_ = r.Store.Write(ctx, func(q *store.Queries) error {
			return q.TouchMQTTCredential(ctx, store.TouchMQTTCredentialParams{ID: row.ID, LastUsedAt: &now})
		})
	}
	return p, nil
}

// principal is who speaks by a credential, under the names of now.
func (r *Registry) principal(row store.MQTTCredential) Principal {
	policy := r.Gate.Policy()
	p := Principal{Kind: Kind(row.Kind), Credential: row.ID, Device: orEmpty(row.DeviceID), User: orEmpty(row.UserID)}
	switch p.Kind {
	case KindDevice:
		p.ID, p.Name = p.Device, policy.Devices[p.Device].Name
	case KindThing:
		p.ID, p.Name, p.Thing = p.Device+"/"+row.Thing, policy.Devices[p.Device].Name+"/"+row.Thing, row.Thing
	case KindUser:
		p.ID, p.Name = p.User, policy.Users[p.User].Handle
	default:
		p.ID, p.Name = row.ID, row.Username
	}
	return p
}

// DevicePrincipal is a device that comes by its own carrier.
func (r *Registry) DevicePrincipal(device string) Principal {
	return Principal{Kind: KindDevice, ID: device, Name: r.Gate.Policy().Devices[device].Name, Device: device}
}

// NameOf is the name that p has now: of a device, a thing of it or a person; others keep theirs. It is empty where there is no
// such device or person any more.
func (r *Registry) NameOf(p Principal) string {
	policy := r.Gate.Policy()
	switch p.Kind {
	case KindDevice:
		return policy.Devices[p.Device].Name
	case KindThing:
		if name := policy.Devices[p.Device].Name; name != "" {
			return name + "/" + p.Thing
		}
		return ""
	case KindUser:
		return policy.Users[p.User].Handle
	}
	return p.Name
}

// MayPublish is Access's. Whoever may receive a request may answer it, on its topic and for as long as somebody waits.
func (r *Registry) MayPublish(p Principal, clientID, topic string) bool {
	if request, ok := r.replies.request(topic); ok {
		return r.MayReceive(p, clientID, request)
	}
	return p.Kind == KindHub || r.Gate.Policy().MayPublish(speaker(p, clientID), topic, r.Now())
}

// MaySubscribe is Access's.
func (r *Registry) MaySubscribe(p Principal, clientID, filter string) bool {
	return p.Kind == KindHub || r.Gate.Policy().MaySubscribe(speaker(p, clientID), filter, r.Now())
}

// MayReceive is Access's.
func (r *Registry) MayReceive(p Principal, clientID, topic string) bool {
	return p.Kind == KindHub || r.Gate.Policy().MayReceive(speaker(p, clientID), topic, r.Now())
}

// Lives is Access's.
func (r *Registry) Lives(p Principal) bool {
	return p.Kind == KindHub || r.Gate.Policy().Speaks(speaker(p, ""), r.Now())
}

// Changed is Access's.
func (r *Registry) Changed() <-chan struct{} { return r.Gate.Changed() }

func speaker(p Principal, clientID string) access.Speaker {
	return access.Speaker{Kind: access.SpeakerKind(p.Kind), Device: p.Device, Thing: p.Thing, User: p.User, Credential: p.Credential,
		ClientID: clientID}
}
