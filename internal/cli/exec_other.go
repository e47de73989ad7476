//go:build !unix

package cli

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"github.com/aditdev/adit/internal/command"
)

// become runs another program in the place of this one and passes on its exit status.
func become(ctx context.Context, program string, args []string, stdio command.Stdio) error {
	cmd := exec.CommandContext(ctx, program, args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdio.In, stdio.Out, stdio.Err
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return &command.Exit{Status: exit.ExitCode()}
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", program, err)
	}
	return nil
}
