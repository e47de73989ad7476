package stream

// Dialer opens WebSockets to a hub. The zero value dials directly or through the proxy that HTTPS_PROXY and NO_PROXY
// name, and trusts the system's roots.
type Dialer struct {
	Address string // host:port to connect to instead of the URL's; name, SNI and Host stay the URL's
	CAFile  string // PEM file of further roots
}
