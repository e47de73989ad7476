package sshserver

import (
	"bytes"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// crlf writes lines as a terminal wants them.
type crlf struct{ io.Writer }

func (w crlf) Write(p []byte) (int, error) {
	_, err := w.Writer.Write(bytes.ReplaceAll(p, []byte("\n"), []byte("\r\n")))
	return len(p), err
}

// setUTF8 lets the terminal erase whole characters while it edits lines. Failing is no harm.
func setUTF8(tty *os.File) {
	t, err := unix.IoctlGetTermios(int(tty.Fd()), getTermios)
	if err != nil {
		return
	}
	t.Iflag |= unix.IUTF8
	_ = unix.IoctlSetTermios(int(tty.Fd()), setTermios, t)
}
