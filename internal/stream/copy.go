package stream

import (
	"io"
	"sync"
)

// HalfCloser is a connection whose writing side can end before its reading side.
type HalfCloser interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// Copy carries bytes between a and b in both directions until both have ended, then closes both. The end of one
// direction half-closes the other side; a failure closes both at once, and the first one is returned.
func Copy(a, b io.ReadWriteCloser) error {
	var once sync.Once
	var failure error
	fail := func(err error) {
		once.Do(func() { failure = err })
		_, _ = a.Close(), b.Close()
	}
	one := func(to, from io.ReadWriteCloser) {
		_, err := io.Copy(to, from)
		if err == nil {
			err = closeWrite(to)
		}
		if err != nil {
			fail(err)
		}
	}
	var back sync.WaitGroup
	back.Go(func() { one(a, b) })
	one(b, a)
	back.Wait()
	_, _ = a.Close(), b.Close()
	return failure
}

// closeWrite ends the writing side; a connection that has no sides is left open for the other direction.
func closeWrite(c io.ReadWriteCloser) error {
	if half, ok := c.(HalfCloser); ok {
		return half.CloseWrite()
	}
	return nil
}
