package sshserver

import (
	"errors"
	"fmt"
	"io"

	"github.com/pkg/sftp"
)

// ServeSFTP speaks SFTP on stdin and stdout as the user that the process runs as, until stdin ends. The server runs it
// in a process of its own, so that the kernel keeps one account's files from another.
func ServeSFTP(stdin io.Reader, stdout io.WriteCloser) error {
	server, err := sftp.NewServer(struct {
		io.Reader
		io.WriteCloser
	}{stdin, stdout})
	if err != nil {
		return fmt.Errorf("serve SFTP: %w", err)
	}
	if err := server.Serve(); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("serve SFTP: %w", err)
	}
	return server.Close()
}
