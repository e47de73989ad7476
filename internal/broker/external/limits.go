package external

import "time"

// What one peer and all together may cost. Everything else is limited by the broker behind.
const (
	connectWithin = 10 * time.Second // from the first byte that could come to the last of CONNECT
	answerWithin  = 10 * time.Second // for what the broker is asked
	dialWithin    = 5 * time.Second
	closeWithin   = 2 * time.Second  // for the last packet to a peer that is sent away
	writeWithin   = 30 * time.Second // for a piece of at most pieceSize
	lingerWithin  = 10 * time.Second // for the second direction to end after the first

	maxConnect  = 16 << 10 // bytes of CONNECT
	maxConnack  = 64 << 10 // bytes of CONNACK
	pieceSize   = 4 << 10  // bytes that are passed at once; both directions of an idle peer hold so many
	maxClientID = 64       // bytes
	maxClients  = 5000

	// Connections that have not been let in yet.
	maxStrangers           = 2000
	maxStrangersPerAddress = 32

	maxVisits     = 4        // connections that are made to look at something, at once
	maxRetained   = 32 << 20 // bytes of retained messages that one look keeps
	hubKeepAlive  = 30 * time.Second
	hubInflight   = 1000
	visitInflight = 1<<16 - 1 // so that Mosquitto's max_queued_messages does not cut a list short
	retryFirst    = time.Second
	retryMost     = 30 * time.Second
)
