package agent

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/aditdev/adit/internal/agent/carrier"
	"github.com/aditdev/adit/internal/agent/sshserver"
	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

const runUsage = `Usage: adit agent run [--dir DIR]

Stays connected to the hub until it is stopped. Nothing on the network ends it. A service manager runs this;
` + "`adit agent install-service`" + ` sets one up.
`

func runCommand(ctx context.Context, args []string, stdio command.Stdio) error {
	flags := command.NewFlags("adit agent run", runUsage)
	dir := flags.String("dir", "", "")
	if err := flags.Parse(args, 0, 0, stdio); err != nil {
		return err
	}
	// Here and not in Run: who hears signals is the program's affair, and os/signal makes for the process what would belong to
	// a test's bubble if it were first used within one.
	defer sshserver.HearHangUps()()
	path, err := os.Executable() // now: an update puts another program there
	if err != nil {
		return fmt.Errorf("find the agent's own program: %w", err)
	}
	err = Run(ctx, PathsIn(*dir), stdio.Err)
	if errors.Is(err, errRestart) {
		return fmt.Errorf("start the new program: %w", syscall.Exec(path, append([]string{path}, os.Args[1:]...), os.Environ()))
	}
	return err
}

// Run keeps this device connected until ctx ends. It fails at once where the machine is not enrolled, its settings
// are wrong or another agent already runs; after that only ctx ends it.
func Run(ctx context.Context, p Paths, logs io.Writer) error {
	lock, err := takeLock(p)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	if err := enrollAtFirstBoot(ctx, p, logs); err != nil {
		return err
	}
	c, err := loadEnrolled(p)
	if err != nil {
		return err
	}
	rememberProxy(c)
	syscall.Umask(0o022) // for the programs that people run; files of the agent set their modes
	log := slog.New(slog.NewTextHandler(logs, nil)).With("device", c.Device)
	if err := refreshTrusted(p, c); err != nil {
		log.Warn("what sshd reads could not be renewed", "cause", err)
	}
	d, err := newDevice(log, p, c)
	if err != nil {
		return err
	}
	defer d.close()
	return d.run(ctx)
}

func (d *device) run(ctx context.Context) error {
	board := newBoard(d.config, d.paths, d.log)
	pool, err := d.pool(board)
	if err != nil {
		return err
	}
	d.mqtt = newMQTT(d, pool, board)
	board.mqtt = d.mqtt
	listener, err := board.listen(d.paths)
	if err != nil {
		d.log.Warn("`adit agent status` will not see this agent", "cause", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	d.restart = func() { cancel(errRestart) }
	var wg sync.WaitGroup
	if listener != nil {
		wg.Go(func() { board.serve(listener) })
		defer func() { _ = listener.Close() }()
	}
	wg.Go(func() { d.reportLoop(ctx, pool, board) })
	wg.Go(func() { d.mqtt.run(ctx) })
	wg.Go(func() { d.settleUpdate(ctx, pool, board) })
	d.log.Info("agent starts", "hub", d.config.Hub, "version", command.Version())
	err = pool.Run(ctx)
	cancel(nil)
	if listener != nil {
		_ = listener.Close()
	}
	wg.Wait()
	d.log.Info("agent stops", "cause", err)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (d *device) pool(board *board) (*carrier.Pool, error) {
	key, err := loadKey(d.paths.Key())
	if err != nil {
		return nil, err
	}
	c, err := carrierConfig(d.paths, d.config, key)
	if err != nil {
		return nil, err
	}
	c.Instance = d.instance()
	c.Log, c.Handler, c.Status = d.log, d, board.set
	c.Answers, c.Changes = answersOfCalls(d.paths), changes
	pool := carrier.New(c)
	d.pin = pool.Pin
	return pool, nil
}

// instance is that of this life. On a disk that takes no writes (full, or read-only since it failed) the device must
// still be reachable: the clock then stands for the counter, which began with the clock.
func (d *device) instance() wire.Instance {
	instance, err := carrier.NextInstance(d.paths.Instance())
	if err == nil {
		return instance
	}
	d.log.Warn("the boot counter cannot be kept", "cause", err)
	last, _ := strconv.ParseUint(firstFile(d.paths.Instance()), 10, 53)
	return wire.Instance{Counter: max(last+1, uint64(time.Now().Unix())), Random: wire.NewID()}
}

// carrierConfig is what a carrier or a probe needs to know of this device and its hub.
func carrierConfig(p Paths, c Config, key ed25519.PrivateKey) (carrier.Config, error) {
	keys, err := decodeKeys(c.HubKeys)
	if err != nil {
		return carrier.Config{}, err
	}
	resume := c.Policy.Resume()
	if resume == 0 {
		resume = -1
	}
	return carrier.Config{
		Log: slog.New(slog.DiscardHandler), URL: c.Hub, Device: c.Device, Key: key, HubKeys: keys,
		AgentVersion: command.Version(), BuildTime: command.Built(), HubTime: readHubTime(p.HubTime()),
		Dialer: stream.Dialer{Address: c.Dial, CAFile: c.CAFile}, ResumeFor: resume,
	}, nil
}

// rememberProxy puts the proxy known since the enrolment into the environment of a service that has none.
func rememberProxy(c Config) {
	proxy, noProxy := proxyEnvironment()
	if proxy == "" && c.Proxy != "" {
		_ = os.Setenv("HTTPS_PROXY", c.Proxy)
	}
	if noProxy == "" && c.NoProxy != "" {
		_ = os.Setenv("NO_PROXY", c.NoProxy)
	}
}

// takeLock keeps a second agent from fighting with this one over the same identity.
func takeLock(p Paths) (*os.File, error) {
	f, err := os.OpenFile(p.Lock(), os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, syscall.EROFS) {
		f, err = os.Open(p.Lock())
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notEnrolled(p)
	}
	if err != nil {
		return nil, fmt.Errorf("take the agent's lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, wire.Wrap(err, wire.Conflict, "The agent already runs. `adit agent status` shows how it fares")
	}
	return f, nil
}

const (
	reportEvery = 10 * time.Minute
	reportRetry = time.Minute
)

// reportLoop tells the hub about the device: when it first gets there, and then when something changed.
func (d *device) reportLoop(ctx context.Context, pool *carrier.Pool, board *board) {
	var last string
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if !board.awaitOnline(ctx) {
			return
		}
		wait := reportEvery
		d.warnOfBoot(ctx)
		sent, err := d.sendReport(ctx, pool, last)
		if err != nil {
			d.log.Warn("facts not reported", "cause", err)
			wait = reportRetry
		} else {
			last = sent
		}
		timer.Reset(wait)
	}
}

func (d *device) warnOfBoot(ctx context.Context) {
	if why := ramOf(d.paths).lostAtBoot(ctx, d.paths, d.config); why != "" {
		d.log.Warn("the program must be renewed", "cause", why)
	}
}

func (d *device) sendReport(ctx context.Context, pool *carrier.Pool, last string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, reportRetry)
	defer cancel()
	report, err := d.report(ctx)
	if err != nil {
		return last, err
	}
	now := fmt.Sprint(string(report.Facts), report.SSHHostKeys)
	if now == last {
		return last, nil
	}
	return now, pool.Call(ctx, wire.MethodFacts, report, nil)
}
