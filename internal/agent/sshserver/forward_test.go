package sshserver

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aditdev/adit/internal/porttest"
	"github.com/aditdev/adit/internal/sshdtest"
)

// `ssh -L` and `ssh -D` of the stock client, both ways and with half-closing.
func TestLocalAndDynamicForwarding(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	sshdtest.NeedTools(t, "ssh")
	port := echoServer(t)
	socks := porttest.Address(t)
	socket := filepath.Join(r.dir, "local")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	args := append(r.options("id"), "-N", "-L", socket+":127.0.0.1:"+port, "-D", socks, r.login+"@127.0.0.1")
	cmd := exec.CommandContext(ctx, "ssh", args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	for name, dial := range map[string]func() (net.Conn, error){
		"-L": func() (net.Conn, error) { return net.Dial("unix", socket) },
		"-D": func() (net.Conn, error) { return dialSOCKS(socks, port) },
	} {
		conn, err := dial()
		for err != nil && ctx.Err() == nil {
			conn, err = dial()
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		text := strings.Repeat("there and back ", 1<<12)
		go func() {
			_, _ = io.WriteString(conn, text)
			_ = conn.(interface{ CloseWrite() error }).CloseWrite()
		}()
		got, err := io.ReadAll(conn)
		if err != nil || string(got) != text {
			t.Errorf("%s: %d bytes of %d, %v", name, len(got), len(text), err)
		}
		_ = conn.Close()
	}
}

// dialSOCKS connects to port on 127.0.0.1 by way of a SOCKS 5 proxy (RFC 1928 §3, §4).
func dialSOCKS(proxy, port string) (net.Conn, error) {
	conn, err := net.Dial("tcp", proxy)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	request := binary.BigEndian.AppendUint16([]byte{5, 1, 0, 1, 127, 0, 0, 1}, uint16(n))
	if _, err := conn.Write([]byte{5, 1, 0}); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(conn, make([]byte, 2)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(request); err != nil {
		return nil, err
	}
	reply := make([]byte, 10)
	if _, err := io.ReadFull(conn, reply); err != nil {
		return nil, err
	}
	if reply[1] != 0 {
		return nil, net.UnknownNetworkError("SOCKS reply " + strconv.Itoa(int(reply[1])))
	}
	return conn, nil
}
