//go:build unix

package main

import (
	"github.com/aditdev/adit/internal/agent"
	"github.com/aditdev/adit/internal/command"
)

func agentCommand() command.Command { return agent.Command() }
