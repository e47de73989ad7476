// Command bench prints the figures of docs/performance.md, each beside its baseline. Arguments name the ones wanted:
// paths, gate, link, memory, return, mqtt, hooks.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/aditdev/adit/internal/bench/hooks"
	"github.com/aditdev/adit/internal/bench/mqtt"
	"github.com/aditdev/adit/internal/bench/tunnel"
)

func main() {
	for _, part := range []func(context.Context, []string, io.Writer) error{tunnel.Main, mqtt.Main, hooks.Main} {
		if err := part(context.Background(), os.Args[1:], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
	}
}
