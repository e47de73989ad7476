//go:build !unix

package main

import (
	"context"

	"github.com/aditdev/adit/internal/command"
)

func agentCommand() command.Command {
	return command.Command{Name: "agent", Run: func(context.Context, []string, command.Stdio) error {
		return command.Usagef("The agent runs on Linux and macOS. On this system adit is the command line for people only.")
	}}
}
