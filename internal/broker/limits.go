package broker

import "time"

// What one peer, one MQTT session and all together may cost.
const (
	connectWithin = 10 * time.Second // from the first byte that could come to the last of CONNECT
	closeWithin   = 2 * time.Second  // for the last packet to a peer that is sent away
	maxConnect    = 16 << 10         // bytes of CONNECT, whoever sends it
	maxPacket     = 1 << 20          // bytes of any other packet

	maxTopic    = 256 // bytes
	maxLevels   = 16
	maxClientID = 64 // bytes

	maxFilters          = 500     // in one SUBSCRIBE; Home Assistant sends that many
	maxSubscriptions    = 2000    // of one MQTT session
	maxAllSubscriptions = 200_000 // a long filter of many levels takes some KB

	receiveMaximum = 64  // messages of QoS 1 and 2 that a peer may have under way to us
	sendMaximum    = 256 // and we to it, where it does not say less
	aliasMaximum   = 16  // topic aliases of a peer, and to it

	// Keep Alive in seconds. Only 5.0 lets a server ask for another than the peer wants: one that is gone is known to be, and
	// its Will sent, after 90 s. Peers of older versions keep theirs where it is short, and are let live where they have none.
	maxKeepAlive5 = 60
	maxKeepAlive  = 3600

	maxSessionExpiry = 7 * 24 * time.Hour

	// What waits for a peer that is away (QoS 1 and 2), and for one that is there but slow. What was queued for longer than
	// maxQueueAge is dropped.
	maxAwayMessages = 1000
	maxAwayBytes    = 1 << 20
	maxHereMessages = 10_000
	maxHereBytes    = 8 << 20
	maxQueueAge     = 24 * time.Hour

	maxRetained        = 10_000
	maxRetainedPayload = 64 << 10
	maxRetainedBytes   = 64 << 20

	// And of them on one account. A program that announces a whole house has a few thousand.
	maxRetainedByDevice      = 1000
	maxRetainedBytesByDevice = 8 << 20
	maxRetainedByOther       = 4000
	maxRetainedBytesByOther  = 32 << 20

	maxClients  = 5000
	maxSessions = 2 * maxClients // connected and kept

	maxAnswers = 1024 // packets that wait for a peer to read them; until it does, nothing more is read of it

	// Connections that have not been let in yet.
	maxStrangers           = 2000
	maxStrangersPerAddress = 32

	// A hub that was killed sends the Wills of those that were connected when they have not come back in this time.
	comeBackWithin = time.Minute

	hubQueue = 8192 // messages that wait for one subscriber within the hub
)
