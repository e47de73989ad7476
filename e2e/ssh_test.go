//go:build linux

package e2e

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Everything that people do with stock OpenSSH, through `adit ssh-config`, ending at the device's own sshd.
//
// Long because each way is a paragraph of its own on one rig.
func TestStockSSH(t *testing.T) {
	r := newRig(t, "nginx")
	r.startSSHD()
	r.install()
	r.login()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	r.adit(ctx, "ssh-config").text(t)
	r.device.sh("head -c 3M /dev/urandom >/home/ada/photo; chown ada: /home/ada/photo")
	sum := r.device.sh("sha256sum </home/ada/photo")

	t.Run("sftp", func(t *testing.T) {
		got := filepath.Join(r.dir, "by-sftp")
		c := r.openssh(ctx, "sftp", "-b", "-", login+"@kitchen.adit")
		c.Stdin = strings.NewReader("get photo " + got + "\nput " + got + " back\n")
		c.text(t)
		if r.host.sh("sha256sum <"+got) != sum || r.device.sh("sha256sum </home/ada/back") != sum {
			t.Error("sftp changed the file")
		}
	})
	t.Run("scp up", func(t *testing.T) {
		r.openssh(ctx, "scp", "-q", filepath.Join(r.dir, "by-sftp"), login+"@kitchen.adit:up").text(t)
		if r.device.sh("sha256sum </home/ada/up") != sum {
			t.Error("scp changed the file")
		}
	})
	t.Run("rsync", func(t *testing.T) {
		got := filepath.Join(r.dir, "by-rsync")
		over := "ssh -o BatchMode=yes -F " + filepath.Join(r.dir, "home/.ssh/config")
		(&cli{r.host.command(ctx, r.userEnv(), "rsync", "-a", "-e", over, login+"@kitchen.adit:photo", got)}).text(t)
		if r.host.sh("sha256sum <"+got) != sum {
			t.Error("rsync changed the file")
		}
	})
	t.Run("adit cp", func(t *testing.T) {
		got := filepath.Join(r.dir, "by-cp")
		r.adit(ctx, "cp", login+"@kitchen:photo", got).text(t)
		if r.host.sh("sha256sum <"+got) != sum {
			t.Error("adit cp changed the file")
		}
	})
	r.device.serve("127.0.0.1:8000", "from the device")
	t.Run("-L", func(t *testing.T) {
		r.stays("ssh-L", "ssh", "-N", "-L", "9001:127.0.0.1:8000", login+"@kitchen.adit")
		r.host.fetches(t, "http://127.0.0.1:9001/", "from the device")
		r.host.signal("ssh-L", "TERM")
	})
	t.Run("-D", func(t *testing.T) {
		r.stays("ssh-D", "ssh", "-N", "-D", "9002", login+"@kitchen.adit")
		r.host.fetches(t, "http://127.0.0.1:8000/", "from the device", "--socks5-hostname", "127.0.0.1:9002")
		r.host.signal("ssh-D", "TERM")
	})
	t.Run("-R", func(t *testing.T) {
		r.host.serve("127.0.0.1:8001", "from the laptop")
		r.stays("ssh-R", "ssh", "-N", "-R", "9003:127.0.0.1:8001", login+"@kitchen.adit")
		r.device.fetches(t, "http://127.0.0.1:9003/", "from the laptop")
		r.host.signal("ssh-R", "TERM")
	})
	t.Run("adit forward", func(t *testing.T) {
		r.host.daemon("forward", filepath.Join(r.dir, "forward.log"), r.userEnv(), built("adit"), "forward", "kitchen", "9004:127.0.0.1:8000")
		r.host.fetches(t, "http://127.0.0.1:9004/", "from the device")
		r.host.signal("forward", "TERM")
	})
	t.Run("terminal", func(t *testing.T) {
		out := r.openssh(ctx, "ssh", "-tt", login+"@kitchen.adit", "tty; stty size").text(t)
		if !strings.Contains(out, "/dev/pts/") {
			t.Errorf("ssh -tt said %q", out)
		}
	})
	t.Run("a gibibyte", func(t *testing.T) { r.copyGibibyte(ctx, t) })
}

// copyGibibyte copies random bytes from the device and back to it, both ends in memory.
func (r *rig) copyGibibyte(ctx context.Context, t *testing.T) {
	r.host.sh("mkdir -p /mnt/big; mount -t tmpfs tmpfs /mnt/big")
	r.device.sh("mkdir -p /mnt/big; mount -t tmpfs tmpfs /mnt/big; chmod 777 /mnt/big")
	want := r.device.sh("head -c 1G /dev/urandom | tee /mnt/big/down | b2sum")
	scp := func(what, from, to string) {
		begin := time.Now()
		r.openssh(ctx, "scp", "-q", from, to).text(t)
		took := time.Since(begin)
		t.Logf("1 GiB %s in %v: %.0f MB/s", what, took.Round(time.Millisecond), float64(1<<30)/1e6/took.Seconds())
	}
	scp("down", login+"@kitchen.adit:/mnt/big/down", "/mnt/big/got")
	if got := r.host.sh("b2sum </mnt/big/got"); got != want {
		t.Errorf("a gibibyte came from the device as %s, want %s", got, want)
	}
	r.device.sh("rm /mnt/big/down") // room for the way back
	scp("up", "/mnt/big/got", login+"@kitchen.adit:/mnt/big/up")
	if got := r.device.sh("b2sum </mnt/big/up"); got != want {
		t.Errorf("a gibibyte went to the device as %s, want %s", got, want)
	}
}

// openssh is a stock client with the person's own configuration.
func (r *rig) openssh(ctx context.Context, program string, args ...string) *cli {
	config := []string{program, "-F", filepath.Join(r.dir, "home/.ssh/config"), "-o", "BatchMode=yes"}
	return &cli{r.host.command(ctx, r.userEnv(), append(config, args...)...)}
}

// stays starts a stock client that runs until it is told to end.
func (r *rig) stays(name, program string, args ...string) {
	r.t.Helper()
	config := []string{program, "-F", filepath.Join(r.dir, "home/.ssh/config"), "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes"}
	r.host.daemon(name, filepath.Join(r.dir, name+".log"), r.userEnv(), append(config, args...)...)
}

// serve answers every request to an address of the machine with one page.
func (m *machine) serve(address, page string) {
	m.t.Helper()
	l, err := m.listen(address)
	if err != nil {
		m.t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(page)) })}
	go func() { _ = server.Serve(l) }()
	m.t.Cleanup(func() { server.Close() })
}

func (m *machine) fetches(t *testing.T, url, want string, args ...string) {
	t.Helper()
	eventually(t, patience, "fetched "+url, func() error {
		out, err := m.try(append([]string{"curl", "-sS", "-m", "20", url}, args...)...)
		if err != nil || !strings.Contains(out, want) {
			err = errorText(out)
		}
		return err
	})
}
