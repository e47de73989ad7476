package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aditdev/adit/internal/config"
	"github.com/aditdev/adit/internal/hubkeys"
	"github.com/aditdev/adit/internal/seal"
)

const (
	// drain is how long a stopping hub waits for requests, links and shells to end.
	drain = 10 * time.Second
	// maxHeader bounds a request's headers, in bytes; net/http adds headerSlop to what it is told.
	maxHeader  = 16 << 10
	headerSlop = 4 << 10
)

type serveCommand struct {
	Dev bool `help:"For this machine only: makes a data directory and a secret by itself, listens on 127.0.0.1 and prints a sign-in link."`
}

// Run serves until ctx ends.
func (s serveCommand) Run(ctx context.Context, p program) error {
	c, err := config.Load(p.environ, s.Dev)
	if err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	log := newLog(c, p)
	unlock, err := lockData(c.Data)
	if err != nil {
		return err
	}
	defer unlock()
	if c.Dev && c.Secret == "" {
		if c.Secret, err = devSecret(c.Data); err != nil {
			return err
		}
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if len(c.URLs) == 0 {
		port := listener.Addr().(*net.TCPAddr).Port
		c.URLs = []*url.URL{{Scheme: "http", Host: fmt.Sprintf("localhost:%d", port)}}
	}
	h, err := newHub(ctx, c, log, p)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	return errors.Join(h.serve(ctx, listener, p), h.store.Close())
}

// serve runs everything until ctx ends or a part fails, then stops in order: readyz says so, links are told to come back
// and shells are left to the next hub, requests drain, and only then the rest ends.
func (h *hub) serve(ctx context.Context, listener net.Listener, p program) error {
	if err := h.begin(ctx); err != nil {
		return errors.Join(fmt.Errorf("begin: %w", err), listener.Close())
	}
	base := context.WithoutCancel(ctx)
	stopping, stop := context.WithCancel(base)
	defer stop()
	handler, err := h.handler(stopping)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: maxHeader - headerSlop,
		IdleTimeout: 2 * time.Minute, ErrorLog: slog.NewLogLogger(h.log.Handler(), slog.LevelDebug)}
	background, end := context.WithCancel(base)
	defer end()
	raw, err := h.listenRaw(ctx)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	parts := h.start(background, stopping, func() error { return server.Serve(listener) }, raw)
	if err := h.welcome(ctx, p); err != nil {
		h.log.Error("no link printed", "cause", err)
	}
	h.log.Info("serving", "address", listener.Addr().String(), "url", h.config.URLs[0].String())
	if p.listening != nil {
		p.listening(listener.Addr().String())
	}
	select {
	case <-ctx.Done():
		h.log.Info("stopping")
	case <-parts.failed:
		h.log.Error("a part of the hub failed; it stops")
	}
	stop()
	timeout, cancel := context.WithTimeout(base, drain)
	defer cancel()
	if err := server.Shutdown(timeout); err != nil {
		h.log.Warn("requests were cut", "cause", err)
		_ = server.Close() // what Shutdown waited for in vain
	}
	end()
	return parts.group.Wait()
}

// rawListeners are those without HTTPS; nil where they are not set.
type rawListeners struct{ ssh, mqtt net.Listener }

func (h *hub) listenRaw(ctx context.Context) (l rawListeners, err error) {
	if l.ssh, err = h.listen(ctx, "ADIT_SSH_ADDR", h.config.SSHListen); err != nil {
		return l, err
	}
	if l.mqtt, err = h.listen(ctx, "ADIT_MQTT_ADDR", h.config.MQTTListen); err != nil && l.ssh != nil {
		return l, errors.Join(err, l.ssh.Close())
	}
	return l, err
}

// listen opens the listener of a setting; nil where it is not set.
func (h *hub) listen(ctx context.Context, setting, address string) (net.Listener, error) {
	if address == "" {
		return nil, nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", setting, err)
	}
	h.log.Info("serving without HTTPS", "setting", setting, "address", l.Addr().String())
	return l, nil
}

// parts are the loops of a hub. The first that fails closes failed.
type parts struct {
	group  errgroup.Group
	once   sync.Once
	failed chan struct{}
}

// start begins the loops: those that run to the very end, and those that end when the hub begins to stop.
func (h *hub) start(background, stopping context.Context, http func() error, raw rawListeners) *parts {
	p := &parts{failed: make(chan struct{})}
	p.run("policy", func() error { return h.gate.Run(background) })
	p.run("events", func() error { return h.events.Run(background) })
	p.run("presence", func() error { return h.devices.Follow(background, h.tunnel.Watch(background)) })
	p.run("keys", func() error {
		return h.hubKeys.Run(stopping, hubkeys.Line{Log: h.log, Call: h.tunnel.Call, Online: h.online})
	})
	p.run("updates", func() error { return h.updates.Run(stopping) })
	p.run("root passwords", func() error { return h.rootPasswords.Run(stopping) })
	p.run("sweep", func() error { return h.sweep(background) })
	p.run("links", func() error { return h.tunnel.Run(stopping) })
	p.run("shells", func() error { return h.shells.Run(stopping) })
	p.run("ssh", func() error { return h.sshGate.Run(stopping) })
	if raw.ssh != nil {
		p.run("ssh listener", func() error { return h.sshGate.Listen(stopping, raw.ssh) })
	}
	p.run("mqtt", func() error { return h.mqtt.Run(stopping) })
	if raw.mqtt != nil {
		p.run("mqtt listener", func() error { return h.mqtt.Listen(stopping, raw.mqtt) })
	}
	p.run("transforms", func() error { return h.transforms.Run(background) })
	p.run("webhooks", func() error { return h.outgoing.Run(stopping) })
	p.run("ports", func() error { return h.ports.Run(stopping) })
	p.run("http", http)
	return p
}

func (p *parts) run(name string, loop func() error) {
	p.group.Go(func() error {
		err := loop()
		if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		p.once.Do(func() { close(p.failed) })
		return fmt.Errorf("%s: %w", name, err)
	})
}

// welcome prints the one-time link that lets the first person in. Nothing else ever prints one.
func (h *hub) welcome(ctx context.Context, p program) error {
	needed, err := h.accounts.NeedsOwner(ctx)
	if err != nil {
		return err
	}
	base := h.config.URLs[0].String()
	if h.config.Dev {
		secret, err := h.devLink(ctx, needed)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(p.stderr, "\nSign in once with this link:\n\n  %s/app/login#%s\n\n", base, secret)
		return err
	}
	if !needed {
		return nil
	}
	secret, err := h.accounts.NewSetupLink(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stderr, "\nThis hub has no owner yet. Whoever opens this link first becomes it (once, within 24 hours):\n\n"+
		"  %s/app/setup#%s\n\n", base, secret)
	return err
}

func newLog(c config.Config, p program) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		level = slog.LevelInfo // config has checked the word
	}
	options := &slog.HandlerOptions{Level: level}
	if c.LogJSON {
		return slog.New(slog.NewJSONHandler(p.stderr, options))
	}
	return slog.New(slog.NewTextHandler(p.stderr, options))
}

// lockData keeps a second hub, and restore, out of a data directory in use. The lock dies with the process.
func lockData(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "adit.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("data directory: a hub runs on %s already", dir), f.Close())
	}
	return func() { _ = f.Close() }, nil // closing is what unlocks
}

// devSecret reads the secret that an earlier --dev made, or makes it.
func devSecret(dir string) (string, error) {
	path := filepath.Join(dir, "secret")
	if text, err := os.ReadFile(path); err == nil {
		return strings.TrimSpace(string(text)), nil
	}
	secret := seal.NewSecret()
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("secret: %w", err)
	}
	return secret, nil
}
