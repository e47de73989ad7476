package agent

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/aditdev/adit/internal/agent/runner"
	"github.com/aditdev/adit/internal/agent/sshserver"
	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

// device answers what the hub asks for: it is the carrier.Handler.
type device struct {
	log    *slog.Logger
	paths  Paths
	config Config
	ssh    *sshserver.Server // the built-in server
	gauge  gauge
	runner *runner.Runner // of commands

	rootPassword rootPassword
	updating     atomic.Bool
	restart      func()                         // has this process become the program that is in its place now
	pin          func(keys []ed25519.PublicKey) // tells the tunnel of the hub's keys

	mqtt *mqttSide // set before anything can call

	wg sync.WaitGroup // connections that the built-in server serves

	mu   sync.Mutex
	sshd sshd // found last; its address may be empty
}

func newDevice(log *slog.Logger, p Paths, c Config) (*device, error) {
	server, err := newSSHServer(log, p, c)
	if err != nil {
		return nil, err
	}
	commands, err := runner.New(log, c.Policy.Run, c.Commands, answersOfRuns(p))
	if err != nil {
		return nil, err
	}
	return &device{log: log, paths: p, config: c, ssh: server, runner: commands}, nil
}

// Open connects to the target of a stream, if the device's own policy allows it.
func (d *device) Open(ctx context.Context, open wire.Open) (net.Conn, error) {
	target, err := wire.ParseTarget(string(open.Target))
	if err != nil {
		return nil, err
	}
	if err := d.config.Policy.CheckTarget(target); err != nil {
		return nil, err
	}
	switch target {
	case wire.TargetRescue:
		return d.builtin()
	case wire.TargetSSH:
		return d.openSSH(ctx, open.User)
	case wire.TargetMQTT:
		return dialService(ctx, "MQTT broker", "mqtt", d.config.Services.MQTT)
	case wire.TargetHTTP:
		return dialService(ctx, "web server", "http", d.config.Services.HTTP)
	}
	address, _ := target.Address()
	return dialTCP(ctx, open.User, address)
}

// Call answers the hub's calls.
func (d *device) Call(ctx context.Context, method string, params json.RawMessage) (any, error) {
	switch method {
	case wire.MethodFacts:
		return d.report(ctx)
	case wire.MethodMQTT:
		return d.mqtt.status(), nil
	case wire.MethodMetrics:
		return d.gauge.read(ctx), nil
	case wire.MethodRootPassword:
		return d.rootPasswordCall(ctx, params)
	case wire.MethodRun:
		return d.runCall(ctx, params)
	case wire.MethodUpdate:
		return struct{}{}, d.update(ctx, params)
	case wire.MethodHubKeys:
		return struct{}{}, d.pinHubKeys(params)
	}
	return nil, wire.Errorf(wire.NotFound, "This agent does not know the call %s; a newer one may.", wire.Printable(method, 40))
}

// runCall answers the call wire.MethodRun.
func (d *device) runCall(ctx context.Context, params json.RawMessage) (any, error) {
	var ask wire.Run
	if err := json.Unmarshal(params, &ask); err != nil {
		return nil, wire.Wrap(err, wire.Invalid, "The call is not of the protocol's form.")
	}
	return d.runner.Run(ctx, ask)
}

// report is what the agent tells about the device.
func (d *device) report(ctx context.Context) (wire.FactsReport, error) {
	s := takeSurvey(ctx)
	keys, err := sshHostKeys(ctx, d.paths, d.config, s)
	if err != nil {
		return wire.FactsReport{}, err
	}
	facts, err := json.Marshal(collectFacts(ctx, d.paths, d.config, s))
	if err != nil {
		return wire.FactsReport{}, fmt.Errorf("collect facts: %w", err)
	}
	return wire.FactsReport{Facts: facts, SSHHostKeys: keys}, nil
}

// openSSH leads to sshd where the hub's certificates open it, else to the built-in server. Where people are meant to
// arrive at sshd and it does not run, nothing takes its place silently: target rescue is for that.
func (d *device) openSSH(ctx context.Context, user string) (net.Conn, error) {
	switch address := d.config.Services.SSH; address {
	case sshAuto:
	case sshBuiltin:
		return d.builtin()
	default:
		return dialTCP(ctx, user, address)
	}
	if record, err := readTrust(d.paths.Trust()); err != nil || !record.usesSSHD() {
		return d.builtin()
	}
	if conn, ok := d.dialKnownSSHD(ctx, user); ok {
		return conn, nil
	}
	found := findSSHD(ctx, listeningSockets())
	if found.kind != api.SSHFactsServerOpenssh {
		return nil, wire.Errorf(wire.Offline,
			"The device's sshd does not run. `adit shell DEVICE` reaches the device without it, if its policy allows.")
	}
	d.mu.Lock()
	d.sshd = found
	d.mu.Unlock()
	return dialTCP(ctx, user, found.address)
}

// dialKnownSSHD tries sshd where it was found last: looking for it again costs a walk through /proc.
func (d *device) dialKnownSSHD(ctx context.Context, user string) (net.Conn, bool) {
	d.mu.Lock()
	address := d.sshd.address
	d.mu.Unlock()
	if address == "" {
		return nil, false
	}
	conn, err := dialTCP(ctx, user, address)
	return conn, err == nil
}

func dialService(ctx context.Context, what, key, address string) (net.Conn, error) {
	conn, err := dialTCP(ctx, "", address)
	if err != nil {
		return nil, wire.Wrap(err, wire.CodeOf(err),
			"No %s answers at %s on the device. services.%s in its agent.toml says where it is.", what, address, key)
	}
	return conn, nil
}

// dialTCP connects to address, to loopback from an address of the user's own where the system lets us. The name
// localhost is this machine, whatever a resolver says: it was allowed as such.
func dialTCP(ctx context.Context, user, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || !strings.EqualFold(host, localhost) {
		return dialAddress(ctx, user, address)
	}
	conn, err := dialAddress(ctx, user, net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		if six, errSix := dialAddress(ctx, user, net.JoinHostPort("::1", port)); errSix == nil {
			return six, nil
		}
	}
	return conn, err
}

func dialAddress(ctx context.Context, user, address string) (net.Conn, error) {
	var dialer net.Dialer
	if user != "" && fromLoopback(address) {
		dialer.LocalAddr = &net.TCPAddr{IP: loopbackSource(user)}
		if conn, err := dialer.DialContext(ctx, "tcp", address); err == nil || !errors.Is(err, syscall.EADDRNOTAVAIL) {
			return conn, dialError(address, err)
		}
		dialer.LocalAddr = nil
	}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	return conn, dialError(address, err)
}

func dialError(address string, err error) error {
	var dns *net.DNSError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ECONNREFUSED):
		return wire.Wrap(err, wire.Offline, "Nothing listens at %s on the device", address)
	case errors.As(err, &dns):
		return wire.Wrap(err, wire.Offline, "The device cannot find the name in %s", address)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return wire.Wrap(err, wire.Offline, "%s does not answer the device", address)
	}
	return wire.Wrap(err, wire.Offline, "The device cannot connect to %s", address)
}

// builtin hands one end of a new connection to the built-in SSH server and gives the other. It is a socket pair, so
// that buffers, deadlines and half-closing are the kernel's.
func (d *device) builtin() (net.Conn, error) {
	ours, theirs, err := stream.SocketPair()
	if err != nil {
		return nil, fmt.Errorf("connect to the built-in SSH server: %w", err)
	}
	d.wg.Go(func() { d.ssh.Serve(theirs) })
	return ours, nil
}

// close waits for the built-in server's connections after ending them.
func (d *device) close() {
	d.ssh.Close()
	d.wg.Wait()
}
