package agent

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aditdev/adit/internal/api"
)

const procNetTCP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:075B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1111 1 0000000000000000 100 0 0 10 0
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2222 1 0000000000000000 100 0 0 10 0
   2: 0100007F:0016 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 3333 1 0000000000000000 20 4 30 10 -1
   3: garbage 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4444 1
   4: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 5555 1
`

func TestParseListening(t *testing.T) {
	t.Parallel()
	got := parseListening(strings.NewReader(procNetTCP))
	want := []socket{
		{address: netip.MustParseAddrPort("127.0.0.1:1883"), inode: "1111", uid: -1},
		{address: netip.MustParseAddrPort("0.0.0.0:22"), inode: "2222", uid: -1},
		{address: netip.MustParseAddrPort("[::1]:80"), inode: "5555", uid: -1},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(socket{}), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestOwnSocketIsSeen(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	address := l.Addr().(*net.TCPAddr).AddrPort()
	all := listeningSockets()
	i := slices.IndexFunc(all, func(s socket) bool { return s.address == address })
	if i < 0 || all[i].pid != os.Getpid() || all[i].uid != os.Getuid() || all[i].program == "" {
		t.Fatalf("not among %v", all)
	}
}

func TestServices(t *testing.T) {
	t.Parallel()
	port := func(s, program string) socket { return socket{address: netip.MustParseAddrPort(s), program: program} }
	got := services([]socket{port("0.0.0.0:8123", "python3"), port("127.0.0.1:1883", "mosquitto"), port("[::]:8123", "python3"), port("0.0.0.0:2222", "sshd")})
	want := []api.Service{
		{Port: 1883, Address: new("127.0.0.1"), Protocol: api.ServiceProtocolMqtt, Process: new("mosquitto")},
		{Port: 2222, Address: new("0.0.0.0"), Protocol: api.ServiceProtocolSSH, Process: new("sshd")},
		{Port: 8123, Address: new("0.0.0.0"), Protocol: api.ServiceProtocolHTTP, Process: new("python3")},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPreferredSSHD(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ better, worse string }{
		{"0.0.0.0:22", "0.0.0.0:2222"}, {"127.0.0.1:2222", "192.168.1.5:22"}, {"127.0.0.1:2022", "127.0.0.1:2222"}, {"[::]:22", "0.0.0.0:222"},
	} {
		if !preferable(netip.MustParseAddrPort(c.better), netip.MustParseAddrPort(c.worse)) {
			t.Errorf("%s is not preferred to %s", c.better, c.worse)
		}
	}
	if got := dialable(netip.MustParseAddrPort("[::]:22")); got != "127.0.0.1:22" {
		t.Error(got)
	}
}

func TestReadSSHDConfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	main := filepath.Join(dir, "sshd_config")
	write("d/a.conf", "port 2222\nHostKey=\"/a key\"\n")
	write("sshd_config", "# comment\nInclude "+dir+"/d/*.conf\n  Port\t22\nMatch User x\n  Port 23\n  TrustedUserCAKeys /x\n")
	s := readSSHDConfig(main)
	if diff := cmp.Diff([]int{2222, 22}, s.ports()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"/a key"}, s.hostKeyFiles()); diff != "" {
		t.Error(diff)
	}
	if file, key := mentions(main, "trustedusercakeys"); file != main || key != "trustedusercakeys" {
		t.Errorf("%s %s", file, key)
	}
	if got := includeDir(main); got != filepath.Join(dir, "d") {
		t.Errorf("includes %q", got)
	}
	write("sshd_config", "Match all\nInclude "+dir+"/d/*.conf\n")
	if got := includeDir(main); got != "" {
		t.Errorf("an Include inside of a Match was taken: %s", got)
	}
	write("sshd_config", "Include "+main+"\n") // includes itself
	if got := readSSHDConfig(main).ports(); len(got) != 1 {
		t.Error(got)
	}
}
