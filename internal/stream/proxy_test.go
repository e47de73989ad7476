package stream

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

// A proxy that takes a connection and says nothing costs one step of a dial, and is named.
func TestSilentProxy(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := &url.URL{Scheme: "http", Host: l.Addr().String()}
	d := Dialer{Proxy: func(*url.URL) (*url.URL, error) { return at, nil }}
	start := time.Now()
	_, err = d.Dial(context.Background(), "https://hub.example/tunnel", nil, wire.SubprotocolTunnel)
	if took := time.Since(start); CauseOf(err) != CauseTCP || took > stepTimeout+time.Minute {
		t.Fatalf("after %v: %v", took, err)
	}
}

func TestPlainProxyWantsPassword(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	defer proxy.Close()
	at, _ := url.Parse(proxy.URL)
	d := Dialer{Proxy: func(*url.URL) (*url.URL, error) { return at, nil }}
	_, err := d.Dial(context.Background(), "http://hub.example/tunnel", nil, wire.SubprotocolTunnel)
	if CauseOf(err) != CauseProxy407 {
		t.Fatal(err)
	}
}
