//go:build linux

package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// zeros are as many as are asked for.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// What is sent to a hub's hooks from outside, through the proxy, by somebody who wishes it no good: each gets its answer, and the
// memory of the hub and of the workers of its transforms stays.
func TestHookDoor(t *testing.T) {
	t.Parallel()
	r := newRig(t, "nginx")
	warm := r.newSource("warm", ask{"action": ask{"kind": "store"}, "transform": ask{"kind": "jq", "text": ".body"}})
	r.send(warm, "", "{}").id(t)
	memory := r.watchMemory()
	for _, step := range []struct {
		name string
		run  func(*rig)
	}{
		{"large bodies", (*rig).largeBodies},
		{"gzip bombs", (*rig).gzipBombs},
		{"programs", (*rig).hostilePrograms},
		{"signatures", (*rig).hostileSignatures},
		{"lines", (*rig).brokenLines},
		{"topics", (*rig).hostileTopics},
	} {
		t.Run(step.name, func(t *testing.T) {
			at, host := *r, *r.host
			at.t, host.t = t, t
			at.host = &host
			step.run(&at)
			memory.r = &at
			memory.flat(step.name)
		})
	}
	r.send(warm, "", `{"still":"there"}`).id(t)
}

// largeBodies come with and without a length, and with a length that is a lie; one that fits the source passes the proxy.
func (r *rig) largeBodies() {
	s := r.newSource("large", ask{"max_bytes": 4 << 20, "action": ask{"kind": "store"}})
	file := filepath.Join(r.t.TempDir(), "body")
	writeFile(r.t, file, strings.Repeat("x", 4<<20))
	bearer := "Authorization: Bearer " + s.secret
	r.curl(s.path, "-H", bearer, "--data-binary", "@"+file).id(r.t)
	writeFile(r.t, file, strings.Repeat("x", 4<<20+1))
	// The first was once 502 as often as not: the hub closed on a proxy that was still sending.
	for _, more := range [][]string{{"--http1.1"}, {"--http1.1", "-H", "Content-Length:", "-H", "Transfer-Encoding: chunked"}, {"--http2"}} {
		for range 5 {
			if a := r.curl(s.path, append(more, "-H", bearer, "--data-binary", "@"+file)...); a.status != http.StatusRequestEntityTooLarge || !strings.Contains(a.body, `"too_large"`) {
				r.t.Errorf("one byte too many, %s: %d %s", more, a.status, a.body)
			}
		}
	}
	endless := r.newSource("endless", ask{"action": ask{"kind": "store"}})
	var sending sync.WaitGroup
	for range 20 {
		sending.Go(func() {
			// The door answers while more comes; whoever only writes may not hear it.
			if status, err := r.post(endless.path, zeros{}, "Authorization: Bearer "+endless.secret); err == nil && status != http.StatusRequestEntityTooLarge && status != http.StatusTooManyRequests {
				r.t.Errorf("a body without an end: %d", status)
			}
		})
	}
	sending.Wait()
}

// post sends a body of no length through the proxy, as HTTP/1.1 does it, and gives the status.
func (r *rig) post(path string, body io.Reader, headers ...string) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, hubURL+path, body)
	if err != nil {
		return 0, err
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	res, err := r.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, err
}

// gzipBombs are small, and 128 MiB when they are unpacked.
func (r *rig) gzipBombs() {
	s := r.newSource("bomb", ask{"action": ask{"kind": "store"}, "transform": ask{"kind": "jq", "text": ".body|length"}})
	var bomb bytes.Buffer
	w, err := gzip.NewWriterLevel(&bomb, gzip.BestSpeed)
	if err == nil {
		_, err = io.CopyN(w, zeros{}, 128<<20)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Logf("a bomb has %d bytes", bomb.Len())
	var sending sync.WaitGroup
	for range 20 {
		sending.Go(func() {
			status, err := r.post(s.path, bytes.NewReader(bomb.Bytes()), "Authorization: Bearer "+s.secret, "Content-Encoding: gzip", "Content-Type: application/json")
			if err != nil || status != http.StatusRequestEntityTooLarge && status != http.StatusTooManyRequests {
				r.t.Errorf("a bomb: %d %v", status, err)
			}
		})
	}
	sending.Wait()
}

// hostilePrograms run for ever, or grow. Each request is refused, the hub answers others meanwhile, and no worker is left that is
// larger than it may be.
func (r *rig) hostilePrograms() {
	for name, text := range map[string]string{
		"loops":  `def f: f; f`,
		"counts": `reduce range(1e12) as $i (0; . + 1)`,
		"grows":  `reduce range(1e9) as $i ("x"; . + .)`,
		"nests":  `reduce range(1e9) as $i ([]; [., .]) | tojson`,
		"writes": `[range(1e9)]`,
		"takes":  `"x" * 1e9 | length`,
	} {
		s := r.newSource("program-"+name, ask{"action": ask{"kind": "store"}, "transform": ask{"kind": "jq", "text": text}})
		done := make(chan struct{})
		go func() {
			defer close(done)
			if a, err := r.tryCurl(s.path, "-H", "Authorization: Bearer "+s.secret, "-d", "{}"); err != nil || a.status != http.StatusBadRequest ||
				!strings.Contains(a.body, "longer than 100ms") && !strings.Contains(a.body, "more memory than 256 MiB") {
				r.t.Errorf("a program that %s: %d %s %v", name, a.status, a.body, err)
			} else {
				r.t.Logf("%s: after %v %s", name, a.took, a.body)
			}
		}()
		if a := r.curl("/readyz"); a.status != http.StatusOK || a.took > 20*time.Second {
			r.t.Errorf("while a program %s, the hub says %d after %v", name, a.status, a.took)
		}
		<-done
	}
	eventually(r.t, patience, "two workers at most", func() error {
		if workers := strings.Fields(r.host.sh("pgrep -f '[t]ransform-worker' || true")); len(workers) > 2 {
			return fmt.Errorf("%d are there", len(workers))
		}
		return nil
	})
}

// hostileSignatures are wrong, missing, old, of the future, and twice the same.
func (r *rig) hostileSignatures() {
	s := r.newSource("signed", ask{"verify": ask{"kind": "standard-webhooks"}, "action": ask{"kind": "store"}})
	key, err := standardwebhooks.NewWebhook(s.secret)
	if err != nil {
		r.t.Fatal(err)
	}
	send := func(id string, at time.Time, signed, body string, more ...string) hookReply {
		signature, err := key.Sign(id, at, []byte(signed))
		if err != nil {
			r.t.Fatal(err)
		}
		return r.curl(s.path, append([]string{"-H", "webhook-id: " + id, "-H", fmt.Sprint("webhook-timestamp: ", at.Unix()), "-H", "webhook-signature: " + signature,
			"-d", body}, more...)...)
	}
	now := time.Now()
	for name, a := range map[string]hookReply{
		"another body":       send("msg_1", now, `{"a":1}`, `{"a":2}`),
		"ten minutes old":    send("msg_2", now.Add(-10*time.Minute), "{}", "{}"),
		"of the future":      send("msg_3", now.Add(10*time.Minute), "{}", "{}"),
		"without any header": r.curl(s.path, "-d", "{}"),
		"an empty signature": r.curl(s.path, "-d", "{}", "-H", "webhook-id: m", "-H", fmt.Sprint("webhook-timestamp: ", now.Unix()), "-H", "webhook-signature;"),
		"two signatures":     send("msg_4", now, "{}", "{}", "-H", "webhook-signature: v1,AAAA"),
	} {
		if a.status != http.StatusUnauthorized || strings.Contains(a.body, s.secret) {
			r.t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	first := send("msg_5", now, "{}", "{}")
	again := send("msg_5", now, "{}", "{}", "-H", "Idempotency-Key: another", "-H", "X-GitHub-Delivery: another")
	if first.id(r.t) != again.id(r.t) || again.header.Get("adit-duplicate") != "true" || first.header.Get("adit-duplicate") != "" {
		r.t.Errorf("a replay: %v %s, the first was %s", again.header, again.body, first.body)
	}
}

// brokenLines put CR and LF where they end a line.
func (r *rig) brokenLines() {
	s := r.newSource("lines", ask{"action": ask{"kind": "publish", "topic": "lines/{{ .query.x }}"}})
	for name, header := range map[string]string{"CR": "X-A: a\rInjected: b", "NUL": "X-A: a\x00b", "a bare LF": "X-A: a\n Injected : b"} {
		if answer := r.raw("POST " + s.path + "?x=a HTTP/1.1\r\nHost: " + hubName + "\r\nConnection: close\r\nAuthorization: Bearer " + s.secret + "\r\n" + header +
			"\r\nContent-Length: 2\r\n\r\n{}"); !strings.HasPrefix(answer, "HTTP/1.1 400") {
			r.t.Errorf("%s in a header: %.200q", name, answer)
		}
	}
	for _, value := range []string{"a%0d%0aInjected:%20b", "a%00", "%0a"} {
		if a := r.send(s, "?x="+value, "{}"); a.status != http.StatusBadRequest || a.header.Get("Injected") != "" {
			r.t.Errorf("%s in a topic: %d %v %s", value, a.status, a.header, a.body)
		}
	}
	if a := r.send(s, "?x=a&wait=1s%0d%0aInjected:%20b", "{}"); a.status != http.StatusBadRequest || a.header.Get("Injected") != "" {
		r.t.Errorf("lines in wait: %d %v", a.status, a.header)
	}
	a := r.send(s, "?x=a", "{}", "-H", "adit-hops: 9")
	if a.status != http.StatusLoopDetected {
		r.t.Errorf("the ninth hop: %d %s", a.status, a.body)
	}
}

// raw says something to the proxy by TLS, and gives what it answers.
func (r *rig) raw(request string) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := r.host.dial(ctx, "tcp", "10.77.0.1:443")
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	client := tls.Client(conn, r.clientTLS())
	if _, err := io.WriteString(client, request); err != nil {
		r.t.Fatal(err)
	}
	answer, err := io.ReadAll(client)
	if err != nil && len(answer) == 0 {
		r.t.Fatal(err)
	}
	return string(answer)
}

// hostileTopics would be something else than a topic of this source.
func (r *rig) hostileTopics() {
	s := r.newSource("topics", ask{"action": ask{"kind": "publish", "topic": "doors/{{ .body.name }}/set"}})
	for _, name := range []string{"+", "#", "a/+", "$SYS", "", "/", "a//b", strings.Repeat("a/", 20) + "a", strings.Repeat("x", 300), "a\u0007", "a\x7f"} {
		body, err := json.Marshal(ask{"name": name})
		if err != nil {
			r.t.Fatal(err)
		}
		if a := r.send(s, "", string(body)); a.status != http.StatusBadRequest {
			r.t.Errorf("the topic doors/%q/set: %d %s", name, a.status, a.body)
		}
	}
	r.send(s, "", `{"name":"front"}`).id(r.t)
}
