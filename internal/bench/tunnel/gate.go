package tunnel

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/devices"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/sshca"
	"github.com/aditdev/adit/internal/sshgate"
	"github.com/aditdev/adit/internal/sshsig"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// logins is how many people come through the gate at one moment.
const logins = 200

// Gate measures the way of stock OpenSSH beside a bare relay, an SSH server of the same library with the bare relay of two
// WebSockets behind it, and beside one that connects to the target itself, as if the device were the hub.
func Gate(ctx context.Context, report func(Figure)) error {
	ours, err := newGate(ctx)
	if err != nil {
		return err
	}
	defer ours.close()
	way := newBare()
	defer way.close()
	paths := []path{ours}
	for name, carry := range map[string]func(wire.Target, ssh.Channel){"direct": joinTCP, "bare": way.carry} {
		relay, err := newSSHRelay(name, carry)
		if err != nil {
			return err
		}
		defer relay.close()
		paths = append(paths, relay)
	}
	for _, up := range []bool{true, false} {
		f, err := bulkFigure(ctx, paths, 1, up)
		if err != nil {
			return err
		}
		f.What = "SSH gate: " + f.What
		report(f)
	}
	f, err := idleFigure(ctx, paths)
	if err != nil {
		return err
	}
	f.What = "SSH gate: " + f.What
	report(f)
	took, err := ours.crowd(ctx)
	if err == nil {
		report(Figure{What: fmt.Sprintf("SSH gate: %d logins at once, all in", logins), Unit: "ms",
			Values: map[string]float64{"adit": float64(took.Milliseconds())}})
	}
	return err
}

// gate is the tunnel, with the real gate before it and one person who comes in through it.
type gate struct {
	*adit
	dir     string
	store   *store.Store
	address string
	cancel  context.CancelFunc
	parts   sync.WaitGroup
	config  *ssh.ClientConfig
	client  *ssh.Client
}

func newGate(ctx context.Context) (*gate, error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, err
	}
	g := &gate{adit: newAdit(), dir: dir}
	if g.store, err = store.Open(ctx, dir); err != nil {
		return nil, err
	}
	if err := g.start(ctx); err != nil {
		return nil, errors.Join(err, g.stop())
	}
	g.client, err = ssh.Dial("tcp", g.address, g.config)
	return g, err
}

// start runs the gate, with a device of the tunnel's id and a person whose key it knows.
func (g *gate) start(ctx context.Context) error {
	policy, err := auth.NewGate(ctx, g.store, time.Now)
	if err != nil {
		return err
	}
	accounts, err := auth.NewAccounts(g.store, policy)
	if err != nil {
		return err
	}
	_, caKey, _ := ed25519.GenerateKey(nil)
	ca, err := sshca.New(caKey)
	if err != nil {
		return err
	}
	hostKey, err := newSigner()
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	registry := devices.New(devices.Options{Store: g.store, Gate: policy, Events: events.New(g.store, time.Now), Now: time.Now, Log: log})
	door := sshgate.New(sshgate.Options{Log: log, Now: time.Now, HostKey: hostKey, UserCA: ca.PublicKey(), URL: "https://bench",
		Gate: policy, Accounts: accounts, Devices: registry, Tunnel: g.hub})
	if err := g.people(ctx, policy, accounts, hostKey.PublicKey()); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	g.address = listener.Addr().String()
	running, cancel := context.WithCancel(context.Background())
	g.cancel = cancel
	g.parts.Go(func() { _ = door.Run(running) })
	g.parts.Go(func() { _ = door.Listen(running, listener) })
	return nil
}

func (g *gate) people(ctx context.Context, policy *auth.Gate, accounts *auth.Accounts, hostKey ssh.PublicKey) error {
	user, err := accounts.CreateUser(ctx, auth.NewUser{Email: "owner@bench.test", Handle: "owner", Role: access.Owner})
	if err != nil {
		return err
	}
	key, err := newSigner()
	if err != nil {
		return err
	}
	signature, err := sshsig.Sign(key, auth.KeyNamespace, []byte(auth.KeyChallenge(user.ID, "bench")))
	if err != nil {
		return err
	}
	_, err = accounts.AddSSHKey(ctx, &auth.Principal{User: user}, auth.NewSSHKey{
		Line: string(ssh.MarshalAuthorizedKey(key.PublicKey())), Signature: sshsig.Armor(signature), Host: "bench"})
	if err != nil {
		return err
	}
	g.config = &ssh.ClientConfig{User: "owner", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.FixedHostKey(hostKey)}
	return policy.Change(ctx, func(q *store.Queries) error {
		_, err := q.CreateDevice(ctx, store.CreateDeviceParams{ID: device, Name: "bench", PublicKey: "bench", Status: "active", Via: "agent", Facts: "{}"})
		return err
	})
}

func newSigner() (ssh.Signer, error) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	return ssh.NewSignerFromKey(key)
}

func (g *gate) dial(_ context.Context, target wire.Target) (net.Conn, error) {
	address, _ := target.Address()
	_, port, _ := strings.Cut(address, ":")
	return dialThrough(g.client, "bench.adit:"+port)
}

// dialThrough opens a channel of direct-tcpip behind a local connection, as ssh -L does.
func dialThrough(client *ssh.Client, to string) (net.Conn, error) {
	channel, err := client.Dial("tcp", to)
	if err != nil {
		return nil, err
	}
	return forward(func(local net.Conn) {
		defer channel.Close()
		defer local.Close()
		go func() { _, _ = io.Copy(channel, local); channel.Close() }()
		_, _ = io.Copy(local, channel)
	})
}

// crowd logs everybody in at once, each on a connection of their own, and gives the time until the last is in.
func (g *gate) crowd(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	errs := make(chan error, logins)
	clients := make(chan *ssh.Client, logins)
	for range logins {
		go func() {
			client, err := ssh.Dial("tcp", g.address, g.config)
			if err == nil {
				clients <- client
			}
			errs <- err
		}()
	}
	var failed error
	for range logins {
		failed = errors.Join(failed, <-errs)
	}
	took := time.Since(began)
	close(clients)
	for client := range clients {
		_ = client.Close()
	}
	return took, failed
}

func (g *gate) stop() error {
	if g.cancel != nil {
		g.cancel()
		g.parts.Wait()
	}
	g.adit.close()
	return errors.Join(g.store.Close(), os.RemoveAll(g.dir))
}

func (g *gate) close() {
	_ = g.client.Close()
	_ = g.stop()
}

// carry leads a channel through the two WebSockets.
func (b *bare) carry(target wire.Target, channel ssh.Channel) {
	ws, err := b.open(context.Background(), target)
	if err != nil {
		_ = channel.Close()
		return
	}
	join(ws, channel)
}

// sshRelay is an SSH server that leads direct-tcpip channels to where they want to go, and nothing else.
type sshRelay struct {
	called   string
	listener net.Listener
	client   *ssh.Client
	serving  sync.WaitGroup
}

func newSSHRelay(name string, carry func(wire.Target, ssh.Channel)) (*sshRelay, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &sshRelay{called: name, listener: listener}
	r.serving.Go(func() {
		if conn, err := listener.Accept(); err == nil {
			serveSSH(conn, carry)
		}
	})
	r.client, err = ssh.Dial("tcp", listener.Addr().String(), &ssh.ClientConfig{
		HostKeyCallback: func(string, net.Addr, ssh.PublicKey) error { return nil }})
	return r, err
}

func (r *sshRelay) name() string { return r.called }

func (r *sshRelay) dial(_ context.Context, target wire.Target) (net.Conn, error) {
	address, _ := target.Address()
	return dialThrough(r.client, address)
}

func (r *sshRelay) close() {
	_ = r.client.Close()
	_ = r.listener.Close()
	r.serving.Wait()
}
