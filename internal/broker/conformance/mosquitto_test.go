package conformance

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/aditdev/adit/internal/porttest"
	"github.com/aditdev/adit/internal/sshdtest"
)

// mosquitto runs Debian's, by TCP and by WebSocket.
func mosquitto(t *testing.T) target {
	t.Helper()
	sshdtest.NeedTools(t, "mosquitto")
	tcp, ws := porttest.Free(t), porttest.Free(t)
	dir := t.TempDir()
	conf := fmt.Sprintf("allow_anonymous true\npersistence false\nper_listener_settings false\nlistener %d 127.0.0.1\nlistener %d 127.0.0.1\nprotocol websockets\n", tcp, ws)
	file := filepath.Join(dir, "mosquitto.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		program = "/usr/sbin/mosquitto"
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, "-c", file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	g := target{url: fmt.Sprintf("ws://127.0.0.1:%d/", ws), user: user, pass: pass}
	g.doors = map[string]dial{"tcp": dialTCP(fmt.Sprintf("127.0.0.1:%d", tcp)), "websocket": dialWebSocket(g.url)}
	for _, d := range g.doors {
		reachable(t, func() error {
			conn, err := d()
			if err == nil {
				err = conn.Close()
			}
			return err
		})
	}
	return g
}

// What Debian's Mosquitto 2.0 does otherwise than a row wants, and why the row stays.
var mosquittoDiffers = map[string]string{
	"1-data/flags":                        "takes a PINGREQ with reserved bits",
	"1-data/types":                        "takes a PINGRESP",
	"3.1-connect/will-at-session-end":     "waits for the Will Delay Interval although the session has ended",
	"3.3-publish/dup-0":                   "takes DUP with QoS 0",
	"3.3-publish/identifier-from-client":  "takes a Subscription Identifier from a client",
	"3.3-publish/identifiers":             "sends a copy for each subscription, which is allowed too",
	"3.3-publish/overlap":                 "sends one copy, with the QoS of any of the subscriptions",
	"3.3-publish/receive-maximum":         "lets a third message go while PUBCOMP is due",
	"3.3-publish/response-topic":          "takes a Response Topic with wildcards",
	"3.8-subscribe/disconnect":            "complains about what follows DISCONNECT, which is allowed too",
	"3.8-subscribe/no-local-shared":       "takes No Local on a shared subscription",
	"4-operation/expiry-stops-at-publish": "lets a message expire that was sent before",
	"4-operation/share-names":             "takes an empty ShareName",
}

// The rows are about MQTT and not about our broker: another passes them too. This guards against rows that our broker's
// own mistakes have shaped.
func TestRowsHoldForMosquitto(t *testing.T) {
	t.Parallel()
	g := mosquitto(t)
	for _, w := range rows(t, "rows") {
		if mosquittoDiffers[w.name] != "" {
			continue
		}
		each(t, w, g, false)
	}
}
