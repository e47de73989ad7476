//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const (
	goReceiver = "127.0.0.1:9100"
	jsReceiver = "127.0.0.1:9101"
)

// signedHooks are endpoints, by v1 and v1a, at receivers in two languages, and what comes there.
type signedHooks struct {
	*rig
	v1, v1a, raw             endpoint // at goReceiver
	cameV1, cameV1a, cameRaw *receiver
	js                       chan jsVerdict
}

// jsVerdict is a line of hookverify.mjs.
type jsVerdict struct {
	Path, Type string
	Verified   bool
	Forged     int
}

// Real events and messages verify with other people's code: the library of Standard Webhooks in Go and in JavaScript, and
// OpenSSL. Whatever byte is changed, they do not.
func TestHookSignatures(t *testing.T) {
	t.Parallel()
	r := newRig(t, "nginx", "ADIT_WEBHOOK_ALLOW=loopback")
	answering := func() *receiver { return &receiver{status: http.StatusOK} }
	h := &signedHooks{rig: r, cameV1: answering(), cameV1a: answering(), cameRaw: answering(), js: make(chan jsVerdict, 100)}
	mux := http.NewServeMux()
	mux.Handle("/v1", h.cameV1)
	mux.Handle("/v1a", h.cameV1a)
	mux.Handle("/raw", h.cameRaw)
	r.serveHTTP(goReceiver, mux)
	to := func(name, address, signature string) endpoint {
		return r.newEndpoint(name+"-"+signature, "http://"+address+"/"+signature,
			ask{"events": []string{"device.online"}, "topics": []string{"devices/kitchen/door"}, "signature": signature})
	}
	h.v1, h.v1a = to("go", goReceiver, "v1"), to("go", goReceiver, "v1a")
	h.raw = r.newEndpoint("raw", "http://"+goReceiver+"/raw", ask{"topics": []string{"devices/kitchen/picture"}, "format": "raw"})
	h.startNode(map[string]string{"/v1": to("js", jsReceiver, "v1").secret, "/v1a": to("js", jsReceiver, "v1a").PublicKey})

	r.startSSHD()
	r.install()
	h.verified(t, "device.online")
	r.configure("[mqtt]\nlisten = \"127.0.0.1:" + agentPort + "\"")
	r.publishFromDevice("-t", "devices/kitchen/door", "-m", `{"door":"offen","höhe":1.50}`)
	h.verified(t, "mqtt.message")

	r.device.sh(`head -c 4096 /dev/urandom >/tmp/picture`)
	r.publishFromDevice("-t", "devices/kitchen/picture", "-f", "/tmp/picture")
	picture := h.cameRaw.last(t, 1)
	if want := r.device.sh("base64 -w0 /tmp/picture"); base64.StdEncoding.EncodeToString(picture.body) != want {
		t.Errorf("the picture came as %d bytes: %.40x", len(picture.body), picture.body)
	}
	goVerifies(t, h.raw.secret, picture)
	h.opensslV1(t, h.raw.secret, picture)
}

// publishFromDevice is mosquitto_pub there, once the agent's port is open.
func (r *rig) publishFromDevice(args ...string) {
	r.t.Helper()
	args = append([]string{"mosquitto_pub", "-p", agentPort, "-q", "1"}, args...)
	eventually(r.t, patience, "published by "+strings.Join(args, " "), func() error {
		if out, err := r.device.try(args...); err != nil {
			return errors.New(out)
		}
		return nil
	})
}

// startNode runs the receiver in JavaScript.
func (h *signedHooks) startNode(keys map[string]string) {
	h.t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		h.t.Fatal(err)
	}
	script, err := filepath.Abs("hookverify.mjs")
	if err != nil {
		h.t.Fatal(err)
	}
	_, port, _ := strings.Cut(jsReceiver, ":")
	options, err := json.Marshal(ask{"port": port, "keys": keys})
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := h.host.command(ctx, nil, node, script, string(options))
	var problem bytes.Buffer
	cmd.Stderr = &problem
	out, err := cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "listening" {
		cancel()
		_ = cmd.Wait()
		h.t.Fatalf("hookverify.mjs said %q and %s", lines.Text(), &problem)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer func() { _ = cmd.Wait() }()
		for lines.Scan() {
			var v jsVerdict
			if json.Unmarshal(lines.Bytes(), &v) == nil {
				h.js <- v
			}
		}
	}()
	h.t.Cleanup(func() { cancel(); <-ended })
}

// verified looks at a message of the type, everywhere it went.
func (h *signedHooks) verified(t *testing.T, kind string) {
	t.Helper()
	goVerifies(t, h.v1.secret, h.cameV1.ofType(t, kind))
	h.opensslV1(t, h.v1.secret, h.cameV1.ofType(t, kind))
	h.opensslV1a(t, h.v1a.PublicKey, h.cameV1a.ofType(t, kind))
	for wanted := []string{"/v1", "/v1a"}; len(wanted) > 0; {
		var v jsVerdict
		eventually(t, patience, kind+" at JavaScript", func() error {
			select {
			case v = <-h.js:
				return nil
			default:
				return errNotYet
			}
		})
		if !v.Verified || v.Forged > 0 {
			t.Errorf("JavaScript: %+v", v)
		}
		wanted = slices.DeleteFunc(wanted, func(path string) bool { return v.Path == path && v.Type == kind })
	}
}

// ofType waits for a message of the type and gives the last.
func (r *receiver) ofType(t testing.TB, kind string) (found delivered) {
	t.Helper()
	eventually(t, patience, kind+" at the receiver", func() error {
		for _, d := range r.all() {
			var message struct{ Type string }
			if err := json.Unmarshal(d.body, &message); err != nil {
				return err
			}
			if message.Type == kind {
				found = d
			}
		}
		if found.body == nil {
			return errNotYet
		}
		return nil
	})
	return found
}

// goVerifies verifies with the official library, and each forgery not.
func goVerifies(t *testing.T, secret string, d delivered) {
	t.Helper()
	key, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := key.Verify(d.body, d.header); err != nil {
		t.Errorf("Go: %v", err)
	}
	for at := range d.body {
		forged := slices.Clone(d.body)
		if forged[at] ^= 1; key.Verify(forged, d.header) == nil {
			t.Errorf("Go: verifies although byte %d was changed", at)
		}
	}
	for _, name := range []string{"webhook-id", "webhook-timestamp", "webhook-signature"} {
		header := d.header.Clone()
		value := []byte(header.Get(name))
		value[len(value)*3/4] ^= 1
		if header.Set(name, string(value)); key.Verify(d.body, header) == nil {
			t.Errorf("Go: verifies although %s is %q", name, value)
		}
	}
}

// signedContent writes down what was signed, exactly, and once more with one byte changed.
func (h *signedHooks) signedContent(d delivered) (dir string) {
	h.t.Helper()
	dir = h.t.TempDir() // the hub's machine has the same /tmp
	content := append([]byte(d.header.Get("webhook-id")+"."+d.header.Get("webhook-timestamp")+"."), d.body...)
	writeFile(h.t, filepath.Join(dir, "content"), string(content))
	content[len(content)-2] ^= 1
	writeFile(h.t, filepath.Join(dir, "forged"), string(content))
	return dir
}

// opensslV1 makes the signature with openssl dgst, by a key in hex on its command line.
func (h *signedHooks) opensslV1(t *testing.T, secret string, d delivered) {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	dir := h.signedContent(d)
	for file, genuine := range map[string]bool{"content": true, "forged": false} {
		line := fmt.Sprintf("openssl dgst -sha256 -mac HMAC -macopt hexkey:%s -binary %s/%s | base64 -w0", hex.EncodeToString(key), dir, file)
		if fits := "v1,"+h.host.sh(line) == d.header.Get("webhook-signature"); fits != genuine {
			t.Errorf("openssl dgst over the %s: fits is %v", file, fits)
		}
	}
}

// opensslV1a verifies with openssl pkeyutl, by the public key that the hub shows.
func (h *signedHooks) opensslV1a(t *testing.T, public string, d delivered) {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(public, "whpk_"))
	if err != nil {
		t.Fatal(err)
	}
	signature, ok := strings.CutPrefix(d.header.Get("webhook-signature"), "v1a,")
	if !ok {
		t.Fatalf("signed as %q", d.header.Get("webhook-signature"))
	}
	dir := h.signedContent(d)
	der := append([]byte("\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00"), key...) // RFC 8410 §4
	writeFile(t, filepath.Join(dir, "key.der"), string(der))
	h.host.sh(fmt.Sprintf("printf %%s '%s' | base64 -d >%s/signature", signature, dir))
	for file, genuine := range map[string]bool{"content": true, "forged": false} {
		out, err := h.host.try("openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", dir+"/key.der", "-rawin",
			"-in", dir+"/"+file, "-sigfile", dir+"/signature")
		if (err == nil) != genuine {
			t.Errorf("openssl pkeyutl over the %s: %v %s", file, err, out)
		}
	}
}
