// Package messaging is MQTT as the rest of the hub sees it: the Backend that carries messages, who may speak as whom and
// of which topics, the tap that feeds pages, and messages that wait for an answer.
package messaging

import (
	"context"
	"net"
	"time"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/mqtt"
	"github.com/aditdev/adit/internal/store"
)

// Kind says what a principal is.
type Kind string

// The kinds of principals.
const (
	KindDevice      Kind = "device"
	KindThing       Kind = "thing" // something behind a device, known to it by a username of its own
	KindUser        Kind = "user"
	KindApplication Kind = "application"
	KindHub         Kind = "hub" // this hub itself
)

// Principal is who speaks MQTT. ID keys what is kept of it: dev_…, dev_…/THING, usr_…, mqc_… of an application.
type Principal struct {
	Kind       Kind
	ID         string
	Name       string // for people, as it is now: kitchen, kitchen/oven, alice
	Device     string // id, of devices and things
	Thing      string
	User       string // id, of users
	Credential string // id of the MQTT credential, login session or token that let it in; empty for carriers
}

// Door is how a connection came in. By is set where the door knows who it is before CONNECT: a device's carrier.
type Door struct {
	Name    string // websocket, carrier, tcp
	Address string // IP address of the peer, where known
	By      *Principal
}

// Network is what Address counts as where somebody may have many: of IPv6 a /64.
func (d Door) Network() string { return auth.Network(d.Address) }

// Access lets in and decides; an implementation reads the live policy.
type Access interface {
	// Admit says who connects. On a device's carrier username names a thing of it, or nobody for the device itself.
	// Errors are *wire.Error of code unauthenticated, forbidden or rate_limited.
	Admit(ctx context.Context, door Door, username, password string) (Principal, error)
	// MayPublish decides for one TopicName, MaySubscribe for one TopicFilter, with $share/NAME/ or without: what is allowed
	// must contain the whole of what it matches. A rule that denies a part of it does not end the subscription: MayReceive,
	// which decides for one message's TopicName, holds that part back.
	MayPublish(p Principal, clientID, topic string) bool
	MaySubscribe(p Principal, clientID, filter string) bool
	MayReceive(p Principal, clientID, topic string) bool
	// Lives reports whether p may stay connected: its device, user and credential are there and not disabled.
	Lives(p Principal) bool
	// Changed is closed at the next change of the policy: whoever holds connections asks again.
	Changed() <-chan struct{}
}

// Received is a message as the broker took it.
type Received struct {
	mqtt.Message
	At     time.Time
	From   string // the sender's Name; empty where it is not known
	Device string // id of the device that sent it, itself or a thing of it; empty where it is not known
}

// Taker keeps messages on its own account too, in the transaction that keeps what they cause: what the broker acknowledges, it has.
// Its methods must not call the broker; Wants, Taken and Left must not wait.
type Taker interface {
	// Wanting reports whether anything is wanted at all: where not, a message costs nothing more.
	Wanting() bool
	// Wants is asked of each message, before anything becomes of it, and reserves room where there is some, until Taken or Left. Without room the message
	// must be refused.
	Wants(m Received) (wanted, room bool)
	// Take writes those that were wanted.
	Take(ctx context.Context, q *store.Queries, list []Received) error
	// Taken says that they are on disk.
	Taken(list []Received)
	// Left says that they will not be taken after all.
	Left(list []Received)
	// Filters are the topic filters of what is wanted. FiltersChanged is closed when they may have become others.
	Filters() []string
	FiltersChanged() <-chan struct{}
}

// Client is one MQTT session, connected or kept.
type Client struct {
	ID            string // opaque; for Kick
	ClientID      string
	Principal     Principal
	Version       string // 3.1, 3.1.1, 5.0
	Connected     bool
	Door          Door
	Since         time.Time
	KeepAlive     time.Duration
	Clean, Bridge bool
	Subscriptions []Subscription
	Queued        int
	Inflight      int
	Dropped       int64
	Retained      int // on the account of its principal; a thing's is its device's
}

// Subscription is one of a Client's.
type Subscription struct {
	Filter string
	QoS    byte
}

// The kinds of Backend, as the API names them.
const (
	BackendEmbedded = "embedded"
	BackendExternal = "external" // Clients have no Subscriptions, and messages no From
)

// Stats are a broker's figures; counters run from Started.
type Stats struct {
	Backend                                    string // BackendEmbedded, BackendExternal
	Problem                                    error  // why the broker cannot be reached
	Clients, Sessions, Subscriptions, Retained int
	RetainedBytes, Received, Sent, Dropped     int64
	Unkept                                     int64 // messages that were to be retained and had no room
	Started                                    time.Time
}

// RetainedPage is a part of the retained messages that match.
type RetainedPage struct {
	Messages   []Received
	Total      int
	TotalBytes int64
	More       bool
}

// Backend carries messages. The hub's embedded broker is one, an external broker behind the hub another.
type Backend interface {
	// Serve speaks MQTT on conn until it ends or ctx does, and closes it.
	Serve(ctx context.Context, conn net.Conn, door Door) error
	// Publish sends as the hub itself, past every rule: whoever calls has asked Access for whom it is done. From is kept with the
	// message. It returns when the broker has the message as safely as its QoS asks.
	Publish(ctx context.Context, m mqtt.Message, from string) error
	// Subscribe calls fn for each message that matches, in order, from a goroutine of the broker's: fn must not block.
	// Retained messages are not given; Retained has them. The returned function ends it and waits for a call under way.
	Subscribe(filter string, fn func(Received)) (cancel func(), err error)
	// Retained lists retained messages by topic, those behind topic after, at most limit; may filters them, nil takes all.
	Retained(ctx context.Context, filter, after string, limit int, may func(topic string) bool) (RetainedPage, error)
	// Clients lists MQTT sessions by ClientID. An external broker's are those that came through this hub.
	Clients() []Client
	// Kick disconnects a client (0x98) and, where forget is set, ends its MQTT session. Errors: not_found.
	Kick(ctx context.Context, id string, forget bool) error
	// Moved carries what is retained below one topic prefix to another, or clears it where to is empty: a device was renamed or removed.
	Moved(ctx context.Context, from, to string) error
	Stats() Stats
}
