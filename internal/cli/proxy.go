package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

const proxyUsage = `Usage: adit proxy [--target TARGET] [--login LOGIN] DEVICE

Connects standard input and output to a target on a device: a ProxyCommand for ssh, which is what adit ssh-config uses
it for. The connection survives a restart of the hub and a change of network, for two minutes.

  --target TARGET   ssh (the default), rescue, mqtt, http, or tcp:HOST:PORT as seen from the device
  --login LOGIN     with ssh and rescue, as whom ssh logs in (%r in its configuration): the connection needs, and
                    ends with, a grant for this login
`

func proxyCommand() command.Command {
	return command.Command{Name: "proxy", Summary: "Connect standard input and output to a device", Usage: proxyUsage, Run: runProxy}
}

func runProxy(ctx context.Context, args []string, stdio command.Stdio) error {
	f := command.NewFlags("adit proxy", proxyUsage)
	named, login := f.String("target", "ssh", ""), f.String("login", "", "")
	if err := parse(f, args, 1, 1, stdio); err != nil {
		return err
	}
	device, err := deviceOf(f.Arg(0))
	if err != nil {
		return err
	}
	target, err := wire.ParseTarget(*named)
	if err != nil {
		return err
	}
	if *login != "" && !wire.ValidLogin(*login) {
		return wire.Errorf(wire.Invalid, "%q is no Unix account.", *login)
	}
	return as255(proxy(ctx, device, target, *login, stdio))
}

// proxyTo is a ProxyCommand to a target of a device, for one that is not in the configuration.
func proxyTo(device, target string) (string, error) {
	program, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("own path: %w", err)
	}
	if strings.ContainsAny(program, "'\"\n") {
		return "", wire.Errorf(wire.Invalid, "ssh takes no quotes in paths: %q", program)
	}
	return fmt.Sprintf("'%s' proxy --target %s --login '%%r' '%s'", escape(program), target, hostOf(device)), nil
}

// endTime is how long a proxy whose ssh is gone waits for the device to end the stream in good order: then its carrier
// is used again, where it would else be thrown away.
const endTime = 2 * time.Second

func proxy(ctx context.Context, device string, target wire.Target, login string, stdio command.Stdio) error {
	a, err := readAccount()
	if err != nil {
		return err
	}
	// ssh hangs up on its proxy when it ends, and stops reading. Neither may kill this process at once.
	ignored := make(chan os.Signal, 1)
	signal.Notify(ignored, syscall.SIGHUP, syscall.SIGPIPE)
	defer signal.Stop(ignored)
	conn, err := a.dialDevice(ctx, device, target, login, stdio.Err)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	// Reading standard input cannot be interrupted: this goroutine may outlive the proxy, and ends with the process.
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(conn, stdio.In)
		sent <- errors.Join(err, closeWrite(conn))
	}()
	_, err = io.Copy(stdio.Out, conn)
	switch {
	case ctx.Err() != nil:
		return &command.Exit{Status: failed}
	case err == nil:
		return nil
	case errors.Is(err, syscall.EPIPE): // ssh is gone; standard input says so too
		_ = conn.SetReadDeadline(time.Now().Add(endTime))
		_, _ = io.Copy(io.Discard, conn)
		return nil
	}
	select {
	case lost := <-sent: // whoever wrote had the first word
		err = firstOf(err, lost)
	default:
	}
	return err
}

// firstOf is the error that says more: one of ours.
func firstOf(err, other error) error {
	if _, ours := errors.AsType[*wire.Error](err); !ours && other != nil {
		return other
	}
	return err
}

func closeWrite(conn net.Conn) error {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// dialDevice opens a stream and tells the person when it waits for the hub. login is empty where the target has none.
func (a account) dialDevice(ctx context.Context, device string, target wire.Target, login string, say io.Writer) (net.Conn, error) {
	var mu sync.Mutex
	waiting := false
	return stream.DialDevice(ctx, a.Hub, a.Token, device, target, stream.DeviceOptions{Login: login, Waiting: func(cause error) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case cause != nil && !waiting:
			fmt.Fprintf(say, "adit: the connection was lost and is being taken up again: %s\r\n", wire.Printable(wire.MessageOf(cause), 300))
		case cause == nil && waiting:
			fmt.Fprint(say, "adit: connected again\r\n")
		}
		waiting = cause != nil
	}})
}
