package handlers

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/sshsig"
)

// The three forms in which SSH comes in. What is sent right behind the request is not lost.
func TestSSHDoor(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, headers := range map[string]string{
		"upgrade": "GET /ssh HTTP/1.1\r\nUpgrade: ssh\r\n",
		"shout":   "GET /ssh HTTP/1.1\r\nUpgrade: SSH\r\n",
		"raw":     "GET /ssh?raw HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
		r.must(err)
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		fmt.Fprintf(conn, "%sHost: hub\r\nConnection: Upgrade\r\n\r\nright behind", headers)
		reader := bufio.NewReader(conn)
		reply, err := http.ReadResponse(reader, nil)
		r.must(err)
		if reply.StatusCode != http.StatusSwitchingProtocols {
			t.Errorf("%s: %s", name, reply.Status)
			continue
		}
		// RFC 6455 §1.3 has this key and this answer.
		if name == "raw" && reply.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
			t.Errorf("the WebSocket's key is answered by %q", reply.Header.Get("Sec-WebSocket-Accept"))
		}
		_ = conn.(*net.TCPConn).CloseWrite()
		got, err := io.ReadAll(reader)
		if want := "from 127.0.0.1\nright behind"; string(got) != want || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestSSHDoorAsWebSocket(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	dial := func(subprotocols ...string) *websocket.Conn {
		ws, _, err := websocket.Dial(ctx, r.url+"/ssh", &websocket.DialOptions{Subprotocols: subprotocols})
		r.must(err)
		t.Cleanup(func() { _ = ws.CloseNow() })
		return ws
	}
	ws := dial("ssh")
	conn := websocket.NetConn(ctx, ws, websocket.MessageBinary)
	_, err := conn.Write([]byte("hello"))
	r.must(err)
	want := "from 127.0.0.1\nhello"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Errorf("%q, %v", got, err)
	}
	for name, c := range map[string]struct {
		ws   *websocket.Conn
		text bool
	}{"text": {dial("ssh"), true}, "no subprotocol": {dial(), false}} {
		if c.text {
			r.must(c.ws.Write(ctx, websocket.MessageText, []byte("SSH-2.0-x\r\n")))
		}
		var err error
		for err == nil {
			_, _, err = c.ws.Read(ctx)
		}
		if websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
			t.Errorf("%s: %v, want 1008", name, err)
		}
	}
}

func TestSSHDoorTellsBrowsers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	got := r.do("", "GET", "/ssh", nil)
	if got.status != http.StatusUpgradeRequired || !strings.Contains(got.header.Get("Upgrade"), "ssh") ||
		!strings.Contains(got.body, "stock OpenSSH") {
		t.Errorf("a browser gets %d %v %s", got.status, got.header, got.body)
	}
	if got := r.do("", "GET", "/ssh?raw", nil); got.status != http.StatusUpgradeRequired {
		t.Errorf("?raw without an upgrade: %d", got.status)
	}
}

// The life of a key: proof of possession, in one profile only, its options kept.
func TestSSHKeys(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var gate SSHGate
	r.call("operator", "GET", "/api/v1/ssh-gate", nil, 200, &gate)
	signer := newSSHSigner(t)
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	sign := func(text string) string {
		signature, err := sshsig.Sign(signer, gate.Namespace, []byte(text))
		r.must(err)
		return sshsig.Armor(signature)
	}
	options := `restrict,port-forwarding,permitopen="kitchen.adit:22"`
	var key SSHKey
	r.call("operator", "POST", "/api/v1/ssh-keys", object{"key": options + " " + line + " ada@laptop", "signature": sign(gate.Challenge)}, 201, &key)
	if key.Options != options || key.Name != "ada@laptop" || key.Key != line || key.Fingerprint != ssh.FingerprintSHA256(signer.PublicKey()) {
		t.Errorf("the key is kept as %+v", key)
	}
	if key.ExpiresAt == nil || key.ExpiresAt.After(time.Now().Add(auth.TokenLife)) {
		t.Errorf("a key that a token added outlives it: %v", key.ExpiresAt)
	}
	for name, c := range map[string]struct {
		as     string
		body   object
		status int
		field  string
	}{
		"again":             {"operator", object{"key": line, "signature": sign(gate.Challenge)}, 409, ""},
		"somebody else's":   {"other", object{"key": line, "signature": sign(gate.Challenge)}, 400, "signature"},
		"another signature": {"operator", object{"key": sshKey(t), "signature": sign(gate.Challenge)}, 400, "signature"},
		"another text":      {"operator", object{"key": line, "signature": sign("hello")}, 400, "signature"},
		"no signature":      {"operator", object{"key": line, "signature": "hello"}, 400, "signature"},
		"unknown option":    {"operator", object{"key": `command="id" ` + line, "signature": sign(gate.Challenge)}, 400, "key"},
		"no key":            {"operator", object{"key": "hello", "signature": sign(gate.Challenge)}, 400, "key"},
	} {
		got := r.do(c.as, "POST", "/api/v1/ssh-keys", c.body)
		var problem Problem
		_ = json.Unmarshal([]byte(got.body), &problem)
		if got.status != c.status || c.field != "" && value(problem.Fields)[c.field] == "" {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	r.call("other", "DELETE", "/api/v1/ssh-keys/"+key.ID, nil, 404, nil)
	r.call("operator", "DELETE", "/api/v1/ssh-keys/"+key.ID, nil, 204, nil)
	var left []SSHKey
	r.call("operator", "GET", "/api/v1/ssh-keys", nil, 200, &left)
	if len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
}
