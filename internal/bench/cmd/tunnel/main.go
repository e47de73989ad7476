// Command tunnel prints the tunnel's rows of docs/performance.md.
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
