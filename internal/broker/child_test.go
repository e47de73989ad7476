package broker

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"

	"github.com/aditdev/adit/internal/store"
)

// runChild is a hub of its own process for TestKill: a broker on a port that it prints, until it is killed.
func runChild() {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	ctx := context.Background()
	s, err := store.Open(ctx, os.Getenv("ADIT_BROKER_DIR"))
	fail(err)
	b, err := New(ctx, Options{Access: newPolicy(), Store: s})
	fail(err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	fail(err)
	fmt.Println(l.Addr())
	var work sync.WaitGroup
	go accept(l, b, &work)
	fail(b.Run(ctx))
}
