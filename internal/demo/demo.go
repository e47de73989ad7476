// Command demo is `make run`: a hub for this machine's browser at http://localhost:PORT, and a device to try it on. The
// device is a real agent, enrolled by a real install code, with the built-in SSH server; it runs as whoever runs this,
// keeps its files below the data directory, and publishes a little by MQTT. The last line printed is the way in. Ctrl-C stops both.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

// startWithin is how long the hub may take to answer, and the device to come online.
const startWithin = 30 * time.Second

const usage = `adit-demo starts a hub for this machine's browser, and a device to try it on. It is what make run does.

Usage: adit-demo

The last line that it prints is the way in. Ctrl-C stops both; their data stays for the next time.

  PORT        where the hub listens on localhost; 8080
  ADIT_DATA   the directory of the data; data, below the current one
`

func main() {
	if status, done := arguments(os.Args[1:], os.Stdout, os.Stderr); done {
		os.Exit(status)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// arguments answers whoever asks for help, or for something that there is not; done says that nothing is to be started.
func arguments(args []string, out, errs io.Writer) (status int, done bool) {
	switch {
	case len(args) == 0:
		return 0, false
	case len(args) == 1 && (args[0] == "--help" || args[0] == "-help" || args[0] == "-h"):
		fmt.Fprint(out, usage)
		return 0, true
	}
	fmt.Fprintf(errs, "adit-demo takes no arguments, and was given %q. adit-demo --help says how it is set.\n", args[0])
	return wire.Invalid.ExitCode(), true
}

// place is where the demo's things are.
type place struct {
	port  string
	data  string // the hub's
	demo  string // the device's
	agent string // its settings and key
}

func run(ctx context.Context) error {
	p, err := prepare()
	if err != nil {
		return err
	}
	hub, link, err := startHub(ctx, p)
	if err != nil {
		return err
	}
	agent, name, says, err := startDevice(ctx, p)
	if err != nil {
		hub.stop()
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	all.Go(func() { says.run(ctx) })
	defer func() {
		cancel()
		all.Go(agent.stop)
		all.Go(hub.stop)
		all.Wait()
	}()
	fmt.Printf("\nHub and device %q are running; Ctrl-C stops both. Data, kept for the next time: %s\n", name, p.data)
	if says.address != "" {
		fmt.Printf("MQTT programs of this machine speak as %q at %s, without a password.\n", name, says.address)
	}
	fmt.Printf("Logs: %s, %s\n\nSign in once with this link:\n\n  %s\n", hub.log, agent.log, link)
	select {
	case <-ctx.Done():
		return nil
	case err := <-hub.ended:
		return fmt.Errorf("the hub ended by itself (%w); its log is %s", err, hub.log)
	case err := <-agent.ended:
		return fmt.Errorf("the demo device ended by itself (%w); its log is %s", err, agent.log)
	}
}

func prepare() (place, error) {
	p := place{port: os.Getenv("PORT"), data: os.Getenv("ADIT_DATA")}
	if p.port == "" {
		p.port = "8080"
	}
	if p.data == "" {
		p.data = "data"
	}
	var err error
	if p.data, err = filepath.Abs(p.data); err != nil {
		return p, err
	}
	p.demo = filepath.Join(p.data, "demo")
	p.agent = filepath.Join(p.demo, "agent")
	if err := os.MkdirAll(filepath.Join(p.demo, "home"), 0o700); err != nil {
		return p, fmt.Errorf("make the demo's directory: %w", err)
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", p.port))
	if errors.Is(err, syscall.EADDRINUSE) {
		return p, fmt.Errorf("port %s is taken by another program. Choose another: make run PORT=8081", p.port)
	}
	if err != nil {
		return p, fmt.Errorf("port %s: %w", p.port, err)
	}
	return p, l.Close()
}

func (p place) url() string { return "http://localhost:" + p.port }
