package tunnelhub_test

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/aditdev/adit/internal/wire"
)

func TestDialEcho(t *testing.T) {
	r := newRig(t)
	target := listen(t, echo)
	r.agent(nil)
	for range 3 {
		conn, err := r.hub.Dial(context.Background(), r.request(target))
		if err != nil {
			t.Fatal(err)
		}
		sent := bytes.Repeat([]byte("0123456789abcdef"), 512<<10)
		go func() {
			_, _ = conn.Write(sent)
			_ = conn.(interface{ CloseWrite() error }).CloseWrite()
		}()
		got, err := io.ReadAll(conn)
		if err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("echo of %d bytes: %d bytes, %v", len(sent), len(got), err)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDialRefused(t *testing.T) {
	r := newRig(t)
	r.agent(nil)
	_, err := r.hub.Dial(context.Background(), r.request("http"))
	if wire.CodeOf(err) != wire.Forbidden {
		t.Fatalf("got %v", err)
	}
}
