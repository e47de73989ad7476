package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/agent/sshserver"
	"github.com/aditdev/adit/internal/api"
	"github.com/aditdev/adit/internal/wire"
)

// sshd is the SSH server that runs on the device, as far as it can be read without talking to it.
type sshd struct {
	kind    api.SSHFactsServer // openssh, dropbear or none
	program string             // path of the executable
	config  string             // path of sshd_config; OpenSSH only
	args    []string           // options that it was started with and that a test run must repeat
	pid     int                // of the listener; 0 where it cannot be seen or a service manager listens for it
	address string             // where to connect, HOST:PORT
}

// survey is what listens on the machine at one moment. Making it walks through /proc.
type survey struct {
	sockets []socket
	sshd    sshd
}

func takeSurvey(ctx context.Context) survey {
	sockets := listeningSockets()
	return survey{sockets, findSSHD(ctx, sockets)}
}

const defaultSSHDConfig = "/etc/ssh/sshd_config"

// findSSHD looks for a running SSH server: first by who owns the listening sockets; then, for plain users and sockets
// that a service manager holds, by what sshd's settings say and whether anything listens there.
func findSSHD(ctx context.Context, sockets []socket) sshd {
	for _, kind := range []api.SSHFactsServer{api.SSHFactsServerOpenssh, api.SSHFactsServerDropbear} {
		if s, ok := ownedSSHD(sockets, kind); ok {
			return s
		}
	}
	program := findProgram("sshd")
	if program == "" {
		return dropbearOn22(sockets)
	}
	s := sshd{kind: api.SSHFactsServerOpenssh, program: program, config: defaultSSHDConfig}
	settings := s.settings(ctx)
	for _, port := range settings.ports() {
		if i := slices.IndexFunc(sockets, func(k socket) bool { return int(k.address.Port()) == port && k.isSystems() }); i >= 0 {
			s.address = dialable(sockets[i].address)
			return s
		}
	}
	return sshd{kind: api.SSHFactsServerNone}
}

var programNames = [...]struct {
	name string
	kind api.SSHFactsServer
}{{"sshd", api.SSHFactsServerOpenssh}, {"dropbear", api.SSHFactsServerDropbear}, {"dropbearmulti", api.SSHFactsServerDropbear}}

func ownedSSHD(sockets []socket, kind api.SSHFactsServer) (sshd, bool) {
	var best *socket
	for i, s := range sockets {
		if s.pid == 0 || !s.isSystems() || !slices.ContainsFunc(programNames[:], func(n struct {
			name string
			kind api.SSHFactsServer
		}) bool {
			return n.name == s.program && n.kind == kind
		}) {
			continue
		}
		if best == nil || preferable(s.address, best.address) {
			best = &sockets[i]
		}
	}
	if best == nil {
		return sshd{}, false
	}
	found := sshd{kind: kind, pid: best.pid, address: dialable(best.address), config: defaultSSHDConfig}
	found.program, _ = os.Readlink(filepath.Join("/proc", strconv.Itoa(best.pid), "exe"))
	found.program = strings.TrimSuffix(found.program, " (deleted)")
	found.readArgs()
	return found, true
}

// preferable: port 22 first, then what loopback reaches, then the lower port.
func preferable(a, b netip.AddrPort) bool {
	rank := func(p netip.AddrPort) int {
		r := int(p.Port())
		if p.Port() == 22 {
			r = 0
		}
		if !p.Addr().IsUnspecified() && !p.Addr().IsLoopback() {
			r += 1 << 17
		}
		return r
	}
	return rank(a) < rank(b)
}

// readArgs takes over the options that decide which settings the listener has read. sshd shows them also after it has
// changed its title: "sshd: /usr/sbin/sshd -D -f FILE [listener] 0 of 10-100 startups".
func (s *sshd) readArgs() {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.pid), "cmdline"))
	if err != nil || s.kind != api.SSHFactsServerOpenssh {
		return
	}
	words := strings.FieldsFunc(string(data), func(r rune) bool { return r == 0 || r == ' ' })
	for i := 0; i+1 < len(words); i++ {
		switch words[i] {
		case "-f":
			s.config = words[i+1]
		case "-p", "-o", "-h":
			s.args = append(s.args, words[i], words[i+1])
		}
	}
}

func dropbearOn22(sockets []socket) sshd {
	program := findProgram("dropbear")
	for _, s := range sockets {
		if program != "" && s.address.Port() == 22 && s.isSystems() {
			return sshd{kind: api.SSHFactsServerDropbear, program: program, address: dialable(s.address)}
		}
	}
	return sshd{kind: api.SSHFactsServerNone}
}

func findProgram(name string) string {
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/bin", "/usr/local/bin"} {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path
		}
	}
	path, _ := exec.LookPath(name)
	return path
}

// version is "OpenSSH_9.2p1 …" as the program names itself.
func (s sshd) version(ctx context.Context) string {
	if s.program == "" {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, _ := exec.CommandContext(ctx, s.program, "-V").CombinedOutput() // older ones call -V unknown, and tell their version
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "OpenSSH_") || strings.HasPrefix(line, "Dropbear ") {
			return wire.Printable(strings.SplitN(strings.TrimSpace(line), ",", 2)[0], 60)
		}
	}
	return ""
}

// hostKeys reads the public halves of sshd's host keys from their files.
func (s sshd) hostKeys(ctx context.Context) []string {
	var lines []string
	for _, file := range s.settings(ctx).hostKeyFiles() {
		data, err := os.ReadFile(strings.TrimSuffix(file, ".pub") + ".pub")
		if err != nil {
			continue
		}
		key, _, _, _, err := ssh.ParseAuthorizedKey(data)
		if err == nil {
			lines = append(lines, authorizedLine(key))
		}
	}
	return lines
}

func authorizedLine(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// sshHostKeys are the keys that people may meet here: those of sshd where it serves, and that of the built-in server,
// which target rescue always shows.
func sshHostKeys(ctx context.Context, p Paths, c Config, s survey) ([]string, error) {
	own, err := sshserver.EnsureHostKey(p.HostKey())
	if err != nil {
		return nil, fmt.Errorf("make the SSH host key: %w", err)
	}
	var keys []string
	if c.Services.SSH != sshBuiltin {
		if s.sshd.kind == api.SSHFactsServerOpenssh {
			keys = s.sshd.hostKeys(ctx)
		}
	}
	keys = append(keys, authorizedLine(own.PublicKey()))
	slices.SortStableFunc(keys, func(a, b string) int { return keyRank(a) - keyRank(b) })
	return keys[:min(len(keys), 10)], nil
}

func keyRank(line string) int {
	switch {
	case strings.HasPrefix(line, ssh.KeyAlgoED25519):
		return 0
	case strings.HasPrefix(line, "ecdsa-"):
		return 1
	}
	return 2
}

// sshFacts is what the device page says about SSH.
func sshFacts(ctx context.Context, p Paths, c Config, s sshd) api.SSHFacts {
	record, err := readTrust(p.Trust())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		record.Note = "What was set up in sshd cannot be read: " + err.Error()
	}
	if c.Services.SSH == sshBuiltin || c.Services.SSH == sshAuto && !record.usesSSHD() {
		facts := api.SSHFacts{Server: api.SSHFactsServerBuiltin, Trust: new(api.SSHFactsTrustBuiltin), Note: optional(record.Note)}
		if s.kind == api.SSHFactsServerDropbear {
			facts.Note = optional("Dropbear knows no certificates, so the agent's own SSH server answers inside the tunnel.")
		}
		return facts
	}
	trust := record.Trust
	if trust == "" {
		trust = api.SSHFactsTrustNone
	}
	return api.SSHFacts{
		Server: api.SSHFactsServerOpenssh, Version: optional(s.version(ctx)), Address: optional(s.address),
		Trust: &trust, Note: optional(record.Note),
	}
}

// fromLoopback reports whether address is reached by loopback, where each user can have a source of their own.
func fromLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Is4() && ip.IsLoopback()
}
