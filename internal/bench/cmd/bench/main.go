// Command bench prints the figures of docs/performance.md, each beside its baseline. Arguments name the ones wanted:
// paths, gate, link, memory, return.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/aditdev/adit/internal/bench/tunnel"
)

func main() {
	if err := tunnel.Main(context.Background(), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
