package sshgate

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
	"github.com/aditdev/adit/tunnelhub"
)

// visit is a person's connection.
type visit struct {
	*connection
	person

	mu       sync.Mutex
	forwards map[*forward]struct{}
}

func (c *connection) servePerson(ctx context.Context, who person, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	held, release, err := c.gate.options.Gate.Hold(ctx, access.Use{User: who.principal.User.ID, Credential: who.principal.Credential})
	if err != nil {
		c.log.Info("ssh refused", "cause", err)
		return
	}
	defer release()
	defer context.AfterFunc(held, func() { _ = c.conn.Close() })()     // the key, the user or the certificate's owner is gone
	c.gate.options.Accounts.TouchSSHKey(ctx, who.principal.Credential) // where it is a key
	v := &visit{connection: c, person: who, forwards: map[*forward]struct{}{}}
	c.wg.Go(func() {
		for r := range requests {
			c.refuseRequest(r) // also tcpip-forward: the hub listens for nobody
		}
	})
	c.each(channels, func(n ssh.NewChannel) {
		switch n.ChannelType() {
		case "direct-tcpip":
			v.forward(held, n)
		case "session":
			v.session(held, n)
		default:
			c.refuseChannel(n)
		}
	})
}

// forward is a direct-tcpip channel and the stream that it leads to.
type forward struct {
	device  string
	target  wire.Target
	since   time.Time
	in, out atomic.Int64 // bytes from the device, and to it
}

// forwardOf is what a direct-tcpip channel is to lead to (RFC 4254 §7.2).
func forwardOf(n ssh.NewChannel) (host string, port uint32, err error) {
	var p struct {
		Host       string
		Port       uint32
		Originator string
		OriginPort uint32
	}
	if err := ssh.Unmarshal(n.ExtraData(), &p); err != nil || p.Port == 0 || p.Port > 65535 {
		return "", 0, wire.Errorf(wire.Invalid, "this names no host and port")
	}
	return p.Host, p.Port, nil
}

// forward serves a direct-tcpip channel: ssh -J, -L, -D and -W.
func (v *visit) forward(ctx context.Context, n ssh.NewChannel) {
	host, port, err := forwardOf(n)
	if err != nil {
		reject(n, err)
		return
	}
	if !v.options.AllowsOpen(host, port) {
		v.tell(slog.LevelWarn, "ssh forwarding refused by the key's options", "host", wire.Printable(host, 80), "port", port)
		v.note(host, port, "The options of the key do not allow it.")
		reject(n, wire.Errorf(wire.Forbidden, "this key may not forward to %s", wire.Printable(address(host, port), 100)))
		return
	}
	d, err := v.device(ctx, host)
	if err != nil {
		v.refuse(n, host, port, err)
		return
	}
	v.lead(ctx, n, d, targetsOf(port), host, port)
}

// refuse turns down a forwarding that the policy does not allow, or that leads nowhere.
func (v *visit) refuse(n ssh.NewChannel, host string, port uint32, err error) {
	v.tell(slog.LevelInfo, "ssh forwarding refused", "host", wire.Printable(host, 80), "port", port, "cause", err)
	if code := wire.CodeOf(err); code == wire.Forbidden || code == wire.NotFound {
		v.note(host, port, wire.MessageOf(err))
	}
	reject(n, err)
}

// lead carries a channel to the first of the targets that is allowed. host and port are the client's words for it.
func (v *visit) lead(ctx context.Context, n ssh.NewChannel, d store.Device, targets []wire.Target, host string, port uint32) {
	conn, f, release, err := v.open(ctx, d, targets)
	if errors.Is(err, auth.ErrHeld) && targets[0] == wire.TargetSSH {
		v.hold(ctx, n, d)
		return
	}
	if err != nil {
		v.refuse(n, host, port, err)
		return
	}
	defer release()
	channel, requests, err := n.Accept()
	if err != nil {
		conn.Reset(wire.Wrap(err, wire.Offline, "The connection was lost."))
		return
	}
	v.carry(f, channel, requests, conn)
}

// note has the event log tell of a forwarding that was refused. The target is as the client named it.
func (v *visit) note(host string, port uint32, reason string) {
	user, target := v.principal.User.ID, wire.Printable(address(host, port), 100)
	v.gate.options.Events.Refused(user+" "+target, events.Event{Type: events.StreamRefused, User: user, Data: events.Data{
		"target": target, "via": tunnelhub.ViaGate, "address": v.address, "reason": wire.Printable(reason, 200)}})
}

// device is the one in a host name, if the person may know of it.
func (v *visit) device(ctx context.Context, host string) (store.Device, error) {
	name, err := deviceName(host)
	if err != nil {
		return store.Device{}, err
	}
	return v.gate.options.Devices.Find(ctx, v.principal, name)
}

// open leads to the first of a device's targets that is allowed.
func (v *visit) open(ctx context.Context, d store.Device, targets []wire.Target) (stream.Conn, *forward, context.CancelFunc, error) {
	o := v.gate.options
	use := access.Use{User: v.principal.User.ID, Credential: v.principal.Credential, Device: d.ID}
	var err error
	use.Target, err = v.choose(ctx, use, targets)
	if err != nil {
		return nil, nil, nil, err
	}
	held, release, err := o.Gate.Hold(ctx, use)
	if err != nil {
		return nil, nil, nil, err
	}
	conn, err := o.Tunnel.Dial(held, tunnelhub.Request{Device: d.ID, Target: wire.Target(use.Target), User: use.User,
		Via: tunnelhub.ViaGate, From: v.address})
	if err != nil {
		release()
		return nil, nil, nil, err
	}
	stop := context.AfterFunc(held, func() { conn.Reset(context.Cause(held)) })
	f := &forward{device: d.Name, target: wire.Target(use.Target), since: time.Now()}
	return conn, f, func() { stop(); release() }, nil
}

// choose gives the first target that is allowed, or why the first is not.
func (v *visit) choose(ctx context.Context, use access.Use, targets []wire.Target) (string, error) {
	var refused error
	for _, target := range targets {
		use.Target = string(target)
		err := v.gate.options.Gate.Check(ctx, use)
		if err == nil {
			return use.Target, nil
		}
		if refused == nil {
			refused = err
		}
	}
	return "", refused
}

// targetsOf is what a port of a device stands for: a named service, then the port itself.
func targetsOf(port uint32) []wire.Target {
	tcp := wire.TCPTarget("127.0.0.1", int(port))
	switch port {
	case 22:
		return []wire.Target{wire.TargetSSH, tcp}
	case 1883:
		return []wire.Target{wire.TargetMQTT, tcp}
	case 80:
		return []wire.Target{wire.TargetHTTP, tcp}
	}
	return []wire.Target{tcp}
}

// hostSuffix ends the host names under which devices are reached.
const hostSuffix = ".adit"

// deviceName is the name or id in a host name that a client asks for.
func deviceName(host string) (string, error) {
	name, _ := strings.CutSuffix(strings.ToLower(host), hostSuffix)
	if strings.HasPrefix(name, devicePrefix) {
		name = devicePrefix + strings.ToUpper(strings.TrimPrefix(name, devicePrefix))
		if wire.IsWord(name, "_") {
			return name, nil
		}
	}
	if !wire.ValidDeviceName(name) {
		return "", wire.Errorf(wire.Forbidden, "This gate leads to devices only, as NAME%s:PORT, not to %s.", hostSuffix, wire.Printable(host, 80))
	}
	return name, nil
}

// carry copies until both directions have ended.
func (v *visit) carry(f *forward, channel ssh.Channel, requests <-chan *ssh.Request, conn stream.Conn) {
	v.mu.Lock()
	v.forwards[f] = struct{}{}
	v.mu.Unlock()
	defer func() {
		v.mu.Lock()
		delete(v.forwards, f)
		v.mu.Unlock()
	}()
	carry(channel, requests, counted{conn, f})
}

// counted counts what passes through a stream.
type counted struct {
	stream.HalfCloser
	f *forward
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.HalfCloser.Read(p)
	c.f.in.Add(int64(n))
	return n, err
}

func (c counted) Write(p []byte) (int, error) {
	n, err := c.HalfCloser.Write(p)
	c.f.out.Add(int64(n))
	return n, err
}

// WriteTo and ReadFrom are io.Copy's ways past a copy of every byte, which streams have.
func (c counted) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(tally{w, nil, &c.f.in}, c.HalfCloser)
}

func (c counted) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(c.HalfCloser, tally{nil, r, &c.f.out})
}

// tally counts what is written or read.
type tally struct {
	to   io.Writer
	from io.Reader
	n    *atomic.Int64
}

func (t tally) Write(p []byte) (int, error) {
	n, err := t.to.Write(p)
	t.n.Add(int64(n))
	return n, err
}

func (t tally) Read(p []byte) (int, error) {
	n, err := t.from.Read(p)
	t.n.Add(int64(n))
	return n, err
}

func address(host string, port uint32) string {
	return net.JoinHostPort(host, strconv.FormatUint(uint64(port), 10))
}
