package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

const forwardUsage = `Usage: adit forward [--json] DEVICE [[ADDRESS:]PORT:]TARGET…

Listens on this machine and carries every connection to a target on the device. A target is HOST:PORT as seen from the
device, a port of the device itself, or the name of a service: ssh, mqtt, http. It listens on 127.0.0.1 unless
another address is named, on the target's port or a free one unless one is named, and says where. Connections
survive a restart of the hub and a change of network.

  --json   one JSON object {address, target, device} on each line

Examples:
  adit forward kitchen 22883:127.0.0.1:1883
  adit forward kitchen 8080:192.168.1.10:80 mqtt
`

func forwardCommand() command.Command {
	return command.Command{Name: "forward", Summary: "Reach a port on or near a device from this machine", Usage: forwardUsage, Run: runForward}
}

func runForward(ctx context.Context, args []string, stdio command.Stdio) error {
	f := command.NewFlags("adit forward", forwardUsage)
	asJSON := f.Bool("json", false, "")
	if err := parse(f, args, 2, -1, stdio); err != nil {
		return err
	}
	device, err := deviceOf(f.Arg(0))
	if err != nil {
		return err
	}
	var forwards []forward
	for _, text := range f.Args()[1:] {
		fw, err := parseForward(text)
		if err != nil {
			return err
		}
		forwards = append(forwards, fw)
	}
	a, err := readAccount()
	if err != nil {
		return err
	}
	if err := a.call(ctx, http.MethodGet, "devices/"+device, nil, nil); err != nil {
		return err
	}
	fw := forwarder{account: a, device: device, json: *asJSON, say: &lines{w: stdio.Err}}
	return serveForwards(ctx, fw, forwards, stdio.Out)
}

// forward is one listener and where its connections go.
type forward struct {
	listen string
	target wire.Target
	chosen bool // a person named the port
}

// parseForward reads [[ADDRESS:]PORT:]TARGET. It fails with Invalid.
func parseForward(text string) (f forward, err error) {
	fields := splitColons(text)
	if n := len(fields); n >= 3 && fields[n-3] == "tcp" { // as grants and messages write it
		fields = slices.Delete(fields, n-3, n-2)
	}
	address, port, target := "127.0.0.1", "", fields
	switch n := len(fields); {
	case n == 1, n == 2 && !isPort(fields[0]):
	case n == 2, n == 3 && isPort(fields[0]):
		port, target = fields[0], fields[1:]
	case (n == 3 || n == 4) && isPort(fields[1]):
		address, port, target = fields[0], fields[1], fields[2:]
	default:
		return f, wire.Errorf(wire.Invalid, "%q is no forward. Write [[ADDRESS:]PORT:]TARGET, as 22883:127.0.0.1:1883", text)
	}
	if f.target, err = forwardTarget(target); err != nil {
		return f, err
	}
	f.chosen = port != ""
	if !f.chosen {
		port = "0"
		if host, ok := f.target.Address(); ok {
			_, port, _ = net.SplitHostPort(host)
		}
	}
	f.listen = net.JoinHostPort(strings.Trim(address, "[]"), port)
	return f, nil
}

// forwardTarget reads a named service, PORT, or HOST and PORT.
func forwardTarget(fields []string) (wire.Target, error) {
	if len(fields) == 1 {
		return wire.ParseTarget(fields[0])
	}
	target, err := wire.ParseTarget("tcp:" + net.JoinHostPort(strings.Trim(fields[0], "[]"), fields[1]))
	if err != nil {
		return "", wire.Errorf(wire.Invalid, "%q is no target. Write ssh, mqtt, http, PORT or HOST:PORT, as 127.0.0.1:1883 or [::1]:80.",
			strings.Join(fields, ":"))
	}
	return target, nil
}

// splitColons splits at colons outside of brackets.
func splitColons(text string) []string {
	var fields []string
	start, depth := 0, 0
	for i, r := range text {
		switch {
		case r == '[':
			depth++
		case r == ']':
			depth--
		case r == ':' && depth == 0:
			fields = append(fields, text[start:i])
			start = i + 1
		}
	}
	return append(fields, text[start:])
}

func isPort(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}

// forwarder carries connections to one device.
type forwarder struct {
	account
	device string
	json   bool // says for programs where it listens
	say    *lines
}

// announce says where it listens: a script waits for this line.
func (fw forwarder) announce(out io.Writer, address net.Addr, target wire.Target) error {
	if !fw.json {
		_, err := fmt.Fprintf(out, "%s -> %s on %s\n", address, target, fw.device)
		return err
	}
	return json.NewEncoder(out).Encode(map[string]string{"address": address.String(), "target": string(target), "device": fw.device})
}

// lines writes whole lines from several goroutines.
type lines struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func serveForwards(ctx context.Context, fw forwarder, forwards []forward, out io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var serving sync.WaitGroup
	defer serving.Wait()
	for _, f := range forwards {
		l, err := listen(f)
		if err != nil {
			cancel(err)
			return err
		}
		defer context.AfterFunc(ctx, func() { _ = l.Close() })()
		if err := fw.announce(out, l.Addr(), f.target); err != nil {
			cancel(err)
			return fmt.Errorf("print: %w", err)
		}
		serving.Go(func() { cancel(fw.serve(ctx, l, f.target)) })
	}
	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return &command.Exit{Status: failed, Err: cause}
	}
	return nil
}

// listen takes the target's port where nobody named another, and a free one where that is taken.
func listen(f forward) (net.Listener, error) {
	l, err := net.Listen("tcp", f.listen)
	if err != nil && !f.chosen {
		host, _, _ := net.SplitHostPort(f.listen)
		l, err = net.Listen("tcp", net.JoinHostPort(host, "0"))
	}
	if err != nil {
		return nil, wire.Wrap(err, wire.Conflict, "%s cannot be listened on here", f.listen)
	}
	return l, nil
}

// serve accepts connections until ctx ends, or the person may no longer open any.
func (fw forwarder) serve(ctx context.Context, l net.Listener, target wire.Target) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var carrying sync.WaitGroup
	defer carrying.Wait()
	defer cancel(nil)
	for {
		local, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil: // out of file descriptors, most likely: that passes
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
			continue
		}
		carrying.Go(func() {
			if err := fw.carry(ctx, local, target); wire.CodeOf(err) == wire.Unauthenticated {
				cancel(err)
				_ = l.Close()
			}
		})
	}
}

// carry takes one connection to the device and back, and says on stderr why it could not.
func (fw forwarder) carry(ctx context.Context, local net.Conn, target wire.Target) error {
	defer local.Close()
	remote, err := fw.reach(ctx, target)
	if err != nil {
		if ctx.Err() == nil {
			fmt.Fprintf(fw.say, "adit: %s: %s\n", wire.CodeOf(err), command.Message(err))
		}
		return err
	}
	defer remote.Close()
	defer context.AfterFunc(ctx, func() { _, _ = local.Close(), remote.Close() })()
	var back sync.WaitGroup
	back.Go(func() { pass(local, remote) })
	pass(remote, local)
	back.Wait()
	return nil
}

// pass copies one direction: an end closes the way on, a failure ends both.
func pass(to, from net.Conn) {
	if _, err := io.Copy(to, from); err == nil {
		_ = closeWrite(to)
		return
	}
	_ = to.Close()
	_ = from.Close()
}

// reachFor is how long a new connection waits for a hub that restarts.
const reachFor = 20 * time.Second

// reach opens a stream. Where the hub itself is not there it tries for a while: it may be restarting.
func (fw forwarder) reach(ctx context.Context, target wire.Target) (net.Conn, error) {
	for end := time.Now().Add(reachFor); ; {
		conn, err := fw.dialDevice(ctx, fw.device, target, "", fw.say)
		if err == nil || stream.CauseOf(err) != stream.CauseTCP || time.Now().After(end) {
			return conn, err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, err
		}
	}
}
