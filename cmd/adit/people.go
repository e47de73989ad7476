package main

import (
	"github.com/aditdev/adit/internal/cli"
	"github.com/aditdev/adit/internal/command"
)

// people are the commands that a person types on their own machine.
func people() []command.Command { return cli.Commands() }
