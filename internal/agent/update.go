package agent

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/wire"
)

const (
	programLimit   = 64 << 20 // bytes of a program, unpacked
	downloadWithin = 14 * time.Minute
	selfTestWithin = time.Minute
	answerFor      = time.Second // that the answer of the call has to leave before this process becomes another
	leastWithin    = 5           // seconds that a new program has to be online
	mostWithin     = 600
)

// errRestart ends Run where another program is in this one's place.
var errRestart = errors.New("the agent's program was renewed")

// update answers the call wire.MethodUpdate: fetches the program, tries it, puts it in this one's place with a guard that
// takes this one back, and has this process become it.
func (d *device) update(ctx context.Context, params json.RawMessage) error {
	var ask wire.Update
	if err := json.Unmarshal(params, &ask); err != nil {
		return wire.Wrap(err, wire.Invalid, "The call is not of the protocol's form.")
	}
	if !d.updating.CompareAndSwap(false, true) {
		return wire.Errorf(wire.Conflict, "The agent is being updated already.")
	}
	if err := d.renew(ctx, ask); err != nil {
		d.updating.Store(false)
		return err
	}
	d.log.Info("the agent's program is renewed", "from", command.Version(), "to", ask.Version)
	time.AfterFunc(answerFor, d.restart)
	return nil
}

func (d *device) renew(ctx context.Context, ask wire.Update) error {
	t, program, err := d.plan(ask)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(t.fresh()) }() // gone where it was used
	if err := d.fetchProgram(ctx, program, t.fresh()); err != nil {
		return err
	}
	if err := trySelf(ctx, t.fresh(), d.paths, ask.Version); err != nil {
		return err
	}
	return t.swap(ctx, d.paths)
}

// plan says what is to be done, or why it is not.
func (d *device) plan(ask wire.Update) (t trial, program wire.Program, err error) {
	if !d.config.Policy.Update {
		return t, program, wire.Errorf(wire.Forbidden, "The device does not let its hub renew the agent (policy.update in its agent.toml).")
	}
	if d.restart == nil || exists(d.paths.Update()) {
		return t, program, wire.Errorf(wire.Conflict, "The last update has yet to prove itself.")
	}
	if older(ask.Version, command.Version()) {
		return t, program, wire.Errorf(wire.Conflict, "The agent is %s, which is newer than %s.", command.Version(), wire.Printable(ask.Version, 40))
	}
	program, ok := ask.Programs[command.Target()]
	if !ok || program.Size <= 0 || program.Size > programLimit {
		return t, program, wire.Errorf(wire.NotFound, "The hub has no adit for %s.", command.Target())
	}
	path, err := os.Executable()
	if err != nil {
		return t, program, fmt.Errorf("find the agent's own program: %w", err)
	}
	if path == ramOf(d.paths).program() {
		return t, program, wire.Errorf(wire.Forbidden,
			"The program lies in RAM there and is fetched at boot. Renew it by hand: curl -fsSL %s/i | sh -s -- --upgrade", d.config.Hub)
	}
	return trial{Version: ask.Version, From: command.Version(), Program: path, PID: os.Getpid(),
		WithinSeconds: min(max(ask.WithinSeconds, leastWithin), mostWithin)}, program, nil
}

// older reports that version a is known to be before b: both are of the form v1.2.3, v1.2.3-rc.1 or, as git describe names what
// was built 12 commits after a release, v1.2.3-12-gdeadbee.
func older(a, b string) bool {
	x, y := release(a), release(b)
	return x != nil && y != nil && slices.Compare(x, y) < 0
}

// release is the three numbers of v1.2.3 and that of the commits after it, which is -1 before the release; nil for what is none.
func release(version string) []int {
	text, ok := strings.CutPrefix(version, "v")
	text, suffix, more := strings.Cut(text, "-")
	parts := strings.Split(text, ".")
	if !ok || len(parts) != 3 {
		return nil
	}
	numbers := make([]int, 4)
	for i, part := range parts {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil
		}
		numbers[i] = n
	}
	commits, _, described := strings.Cut(suffix, "-g")
	if n, err := strconv.Atoi(commits); described && err == nil {
		numbers[3] = n
	} else if more && suffix != "dirty" {
		numbers[3] = -1
	}
	return numbers
}

// fetchProgram downloads and unpacks the program to path. What has another hash than the hub's signed call says is removed
// and never run.
func (d *device) fetchProgram(ctx context.Context, program wire.Program, path string) (err error) {
	transport, err := newTransport(d.paths, d.config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, downloadWithin)
	defer cancel()
	url := strings.TrimRight(d.config.Hub, "/") + "/dl/adit-" + command.Target() + ".gz"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("download: %w", err)
	}
	reply, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return wire.Wrap(err, wire.Conflict, "The device cannot download the program")
	}
	defer func() { _ = reply.Body.Close() }()
	if reply.StatusCode != http.StatusOK {
		return wire.Errorf(wire.Conflict, "The device cannot download the program: %s.", reply.Status)
	}
	if err := unpack(io.LimitReader(reply.Body, program.Size+1), program.SHA256, path); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// unpack writes what r gives, decompressed, to path, and checks the hash of all that r gave.
func unpack(r io.Reader, want, path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		return wire.Wrap(err, wire.Conflict, "The device cannot write beside the agent's program")
	}
	hash := sha256.New()
	packed := io.TeeReader(r, hash)
	z, err := gzip.NewReader(packed)
	if err == nil {
		_, err = io.Copy(f, io.LimitReader(z, programLimit))
	}
	_, errRest := io.Copy(io.Discard, packed)
	err = errors.Join(err, errRest, f.Chmod(0o755), f.Sync(), f.Close())
	if got := hex.EncodeToString(hash.Sum(nil)); got != want {
		return wire.Wrap(err, wire.Conflict, "What the device downloaded is not what the hub has: its SHA-256 is %s", got)
	}
	if err != nil {
		return wire.Wrap(err, wire.Conflict, "The device cannot unpack the program; its disk may be full")
	}
	return nil
}

// trySelf has the new program reach the hub as this device, and say its version.
func trySelf(ctx context.Context, path string, p Paths, version string) error {
	ctx, cancel := context.WithTimeout(ctx, selfTestWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "agent", "self-test", "--dir", p.Dir)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir, cmd.WaitDelay = &out, &said, "/", time.Second
	if err := cmd.Run(); err != nil {
		return wire.Wrap(err, wire.Conflict, "The new program does not pass its test on the device, and is not used: %s", wire.Printable(lastLine(said.String()), 300))
	}
	var is struct{ Version string }
	if err := json.Unmarshal(out.Bytes(), &is); err != nil || is.Version != version {
		return wire.Wrap(err, wire.Conflict, "The new program is %s and not %s, and is not used", wire.Printable(is.Version, 40), wire.Printable(version, 40))
	}
	return nil
}

// trial is update.json: a program that has yet to prove itself, and the one before.
type trial struct {
	Version       string `json:"version"`
	From          string `json:"from"`
	Program       string `json:"program"`
	PID           int    `json:"pid"` // of the agent, which becomes the new program
	WithinSeconds int    `json:"within_seconds"`
}

func (t trial) fresh() string { return filepath.Join(filepath.Dir(t.Program), ".adit.new") }
func (t trial) old() string   { return t.Program + ".old" }

func readTrial(p Paths) (t trial, err error) {
	data, err := os.ReadFile(p.Update())
	if err != nil {
		return t, err
	}
	return t, json.Unmarshal(data, &t)
}

// swap keeps the old program, has a guard of it stand by, and puts the new one in its place. A power cut at any step leaves
// a program there that runs: the guard, or the next start, settles which.
func (t trial) swap(ctx context.Context, p Paths) error {
	data, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if err := errors.Join(keepProgram(t.Program, t.old()), writeFile(p.Update(), data, 0o600)); err != nil {
		return wire.Wrap(err, wire.Conflict, "The device cannot keep the old program, so the new one is not used")
	}
	err = startGuard(ctx, t.old(), p)
	if err == nil {
		err = os.Rename(t.fresh(), t.Program)
	}
	if err != nil {
		return errors.Join(wire.Wrap(err, wire.Conflict, "The new program cannot be put in its place"), os.Remove(p.Update()))
	}
	return syncDir(filepath.Dir(t.Program))
}

// keepProgram puts the program from in the place to, which is never half written, nor absent where it was there.
func keepProgram(from, to string) error {
	temp := to + ".tmp"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if os.Link(from, temp) != nil { // a file system without links
		data, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		return writeFile(to, data, 0o755)
	}
	if err := os.Rename(temp, to); err != nil {
		return err
	}
	// Links to one file are not renamed over each other (rename(2)): the name of before stays.
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDir(filepath.Dir(to))
}
