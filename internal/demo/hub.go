package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// signInLink is how the hub prints a one-time link with --dev.
var signInLink = regexp.MustCompile(`http://localhost:\d+/\S*#\S+`)

// startHub gives a hub that is ready, and its one-time sign-in link.
func startHub(ctx context.Context, p place) (*process, string, error) {
	hub, err := start(filepath.Join(p.demo, "hub.log"), p.hubEnv(), program("adit-hub"), "serve", "--dev")
	if err != nil {
		return nil, "", err
	}
	var link string
	err = wait(ctx, hub, func() error {
		if link == "" {
			log, err := os.ReadFile(hub.log)
			if link = string(signInLink.Find(log)); err != nil || link == "" {
				return errors.New("it has not printed a sign-in link")
			}
		}
		return ready(p)
	})
	if err != nil {
		tail := hub.tail()
		hub.stop()
		return nil, "", fmt.Errorf("the hub did not start: %w\n%s", err, tail)
	}
	return hub, link, nil
}

func (p place) hubEnv() []string { return []string{"PORT=" + p.port, "ADIT_DATA=" + p.data} }

func ready(p place) error {
	res, err := http.Get(p.url() + "/readyz")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	return nil
}

// wait polls check until it holds. It gives check's last error after startWithin, and ends early with the program.
func wait(ctx context.Context, p *process, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case end := <-p.ended:
			p.ended <- end
			return end
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}
