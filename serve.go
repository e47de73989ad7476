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
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aditdev/adit/internal/config"
	"github.com/aditdev/adit/internal/seal"
)

const (
	// drain is how long a stopping hub waits for requests, links and shells to end.
	drain = 10 * time.Second
	// maxHeader bounds a request's headers, in bytes.
	maxHeader = 16 << 10
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
	h, err := newHub(ctx, c, log)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	return errors.Join(h.serve(ctx, listener, p), h.store.Close())
}

// serve runs everything until ctx ends or a part fails, then stops in order: no new requests are announced (readyz),
// links are told to come back, streams and requests drain, and only then the rest ends.
func (h *hub) serve(ctx context.Context, listener net.Listener, p program) error {
	if err := h.store.Write(ctx, forgetOnline); err != nil {
		return errors.Join(fmt.Errorf("begin: %w", err), listener.Close())
	}
	stopping, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	handler, err := h.handler(stopping)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: maxHeader - 4096,
		IdleTimeout: 2 * time.Minute, ErrorLog: slog.NewLogLogger(h.log.Handler(), slog.LevelDebug)}
	background, endBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer endBackground()
	links, endLinks := context.WithCancel(background)
	defer endLinks()
	shells, endShells := context.WithCancel(background)
	defer endShells()

	var group errgroup.Group
	failed := make(chan error, 8)
	start := func(name string, run func() error) {
		group.Go(func() error {
			err := run()
			if err != nil && !errors.Is(err, context.Canceled) {
				err = fmt.Errorf("%s: %w", name, err)
				failed <- err
				return err
			}
			return nil
		})
	}
	start("policy", func() error { return h.gate.Run(background) })
	start("events", func() error { return h.events.Run(background) })
	start("presence", func() error { return h.devices.Follow(background, h.tunnel.Watch(background)) })
	start("sweep", func() error { return h.sweep(background) })
	start("shells", func() error { return h.shells.Run(shells) })
	start("links", func() error { return h.tunnel.Run(links) })
	start("http", func() error { return ignoreClosed(server.Serve(listener)) })
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
	case err := <-failed:
		h.log.Error("a part of the hub failed", "cause", err)
	}
	stop()
	endShells()
	endLinks()
	timeout, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if err := server.Shutdown(timeout); err != nil {
		h.log.Warn("requests were cut", "cause", err)
		_ = server.Close() // what Shutdown waited for in vain
	}
	endBackground()
	return group.Wait()
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
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
