package stream

import (
	"bytes"
	"crypto/rand"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/aditdev/adit/internal/wire"
)

// io.Copy takes the short way through a stream, and every byte arrives once, whatever the pieces.
func TestCopyThrough(t *testing.T) {
	t.Parallel()
	a, b := NewEnd(wire.Window), NewEnd(wire.Window)
	c := connect(a, b)
	must(t, a.Attach(&c.a, 1, 0))
	must(t, b.Attach(&c.b, 1, 0))
	defer c.sever()
	sent := make([]byte, 5<<20) // more than two windows
	_, _ = rand.Read(sent)
	go func() {
		_, _ = io.Copy(a, iotest.HalfReader(bytes.NewReader(sent)))
		_ = a.CloseWrite()
	}()
	var got bytes.Buffer
	if n, err := io.Copy(&got, b); err != nil || n != int64(len(sent)) || !bytes.Equal(got.Bytes(), sent) {
		t.Errorf("%d of %d bytes arrived as they were sent, %v", n, len(sent), err)
	}
	must(t, b.CloseWrite())
	if n, err := io.Copy(io.Discard, a); n != 0 || err != nil {
		t.Errorf("the other direction: %d bytes, %v", n, err)
	}
}

// What is read after an end is not sent behind it.
func TestNothingFollowsTheEnd(t *testing.T) {
	t.Parallel()
	a, b := NewEnd(wire.Window), NewEnd(wire.Window)
	c := connect(a, b)
	must(t, a.Attach(&c.a, 1, 0))
	must(t, b.Attach(&c.b, 1, 0))
	defer c.sever()
	reading, ended := make(chan struct{}), make(chan struct{})
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(a, io.MultiReader(strings.NewReader("before"), readerFunc(func(p []byte) (int, error) {
			close(reading)
			<-ended
			return copy(p, "after"), nil
		})))
		copied <- err
	}()
	<-reading
	must(t, a.CloseWrite())
	close(ended)
	if err := <-copied; err == nil {
		t.Error("what came after the end was taken")
	}
	if got, err := io.ReadAll(b); string(got) != "before" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
