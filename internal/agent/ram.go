package agent

import (
	"context"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/aditdev/adit/internal/command"
)

//go:embed launcher.sh
var launcherText string

// ram is a program that lies in RAM, for want of flash, and is fetched at each boot by its hash.
type ram struct {
	dir      string // of the program; gone after a boot
	launcher string // stands in the program's place, and fetches it
	keep     string // tells sysupgrade what to keep
	record   string // what to fetch
}

func ramOf(p Paths) ram {
	return ram{dir: "/tmp/adit", launcher: "/usr/bin/adit", keep: "/lib/upgrade/keep.d/adit", record: p.Fetch()}
}

func (r ram) program() string { return filepath.Join(r.dir, "adit") }

// source is what the launcher fetches.
type source struct {
	hash  string // SHA-256 of the compressed program, hex
	url   string
	proxy string
}

func (s source) valid() error {
	if sum, err := hex.DecodeString(s.hash); err != nil || len(sum) != 32 {
		return command.Usagef("--sha256 is 64 hex digits.")
	}
	if !strings.HasPrefix(s.url, "http") || strings.ContainsAny(s.url+s.proxy, " \t\n") {
		return command.Usagef("--fetch is the URL of the compressed program.")
	}
	return nil
}

// source reads the record; it fails with fs.ErrNotExist where the program does not lie in RAM.
func (r ram) source() (source, error) {
	data, err := os.ReadFile(r.record)
	if err != nil {
		return source{}, err
	}
	words := append(strings.Fields(string(data)), "", "", "")
	return source{words[0], words[1], words[2]}, nil
}

// settle makes what is installed fit self, the program that runs: in RAM it needs a launcher, and one that has come back
// to flash needs none. A source without a hash keeps the recorded one.
func (r ram) settle(self string, s source) error {
	old, err := r.source()
	if self != r.program() {
		switch {
		case s.hash != "" || s.url != "":
			return command.Usagef("--fetch is for a program that lies in RAM, at %s.", r.program())
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case self != r.launcher:
			err = r.removeLauncher()
		default:
			err = nil
		}
		return errors.Join(err, r.forget())
	}
	if s.hash == "" {
		if err != nil {
			return fmt.Errorf("read what is fetched at boot: %w", err)
		}
		s.hash, s.url = old.hash, old.url
	}
	if err := s.valid(); err != nil {
		return err
	}
	line := strings.TrimSpace(strings.Join([]string{s.hash, s.url, s.proxy}, " ")) + "\n"
	if err := writeFile(r.record, []byte(line), 0o600); err != nil { // a proxy may have a password
		return err
	}
	if err := r.writeKeep(); err != nil {
		return err
	}
	return writeFile(r.launcher, []byte(r.text()), 0o755)
}

func (r ram) text() string {
	return strings.NewReplacer("'@RAM@'", shellWord(r.dir), "'@RECORD@'", shellWord(r.record)).Replace(launcherText)
}

// writeKeep names what sysupgrade must restore for the service to start by itself; the list is in the list.
func (r ram) writeKeep() error {
	files := []string{filepath.Dir(r.record) + "/", r.launcher, "/etc/init.d/adit", "/etc/rc.d/S95adit", "/etc/rc.d/K10adit", r.keep}
	if err := os.MkdirAll(filepath.Dir(r.keep), 0o755); err != nil {
		return fmt.Errorf("make sysupgrade's directory: %w", err)
	}
	return writeFile(r.keep, []byte(strings.Join(files, "\n")+"\n"), 0o644)
}

func (r ram) removeLauncher() error {
	if err := os.Remove(r.launcher); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// forget removes all but the launcher, in whose place the program may be by now.
func (r ram) forget() error {
	err := os.RemoveAll(r.dir)
	for _, path := range []string{r.keep, r.record} {
		if e := os.Remove(path); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// lostAtBoot says why the program could not be fetched after a boot, "" where it could or need not be. It believes
// whoever answers for the hub, since all that comes of it is a warning.
func (r ram) lostAtBoot(ctx context.Context, p Paths, c Config) string {
	s, err := r.source()
	if err != nil {
		return ""
	}
	transport, err := newTransport(p, c)
	if err != nil {
		return ""
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, s.url, nil)
	if err != nil {
		return ""
	}
	reply, err := (&http.Client{Transport: transport, Timeout: replyTimeout}).Do(request)
	if err != nil {
		return ""
	}
	_ = reply.Body.Close()
	now := strings.Trim(strings.TrimPrefix(reply.Header.Get("ETag"), "W/"), `"`)
	if reply.StatusCode != http.StatusOK || len(now) != len(s.hash) || now == s.hash {
		return ""
	}
	return "the hub has another version now, and after a reboot this device would wait for the one that it was installed with. " +
		"Renew it before: curl -fsSL " + c.Hub + "/i | sh -s -- --upgrade"
}
