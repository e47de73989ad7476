//go:build unix

package cli

import (
	"context"
	"fmt"
	"os"
	"syscall"

	"github.com/aditdev/adit/internal/command"
)

// become replaces this process by another program, so that signals, the terminal and the exit status are its own.
func become(_ context.Context, program string, args []string, _ command.Stdio) error {
	if err := syscall.Exec(program, args, os.Environ()); err != nil {
		return fmt.Errorf("run %s: %w", program, err)
	}
	return nil
}
