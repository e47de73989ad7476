package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"time"

	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/wire"
)

// firstBoot is what each machine made from a golden image enrols with, and what it keeps of the master's settings.
type firstBoot struct {
	Code   string `json:"code"`
	HubKey string `json:"hub_key"`
	Config Config `json:"config"` // without an identity
}

const imageUsage = `Usage: adit agent prepare-image [--code-stdin] [--dir DIR]

Makes this installed device the master of a golden image: stops the agent until the next boot and strips what is this
machine's own (key, SSH host key of the agent, id, boot counter). Service and policy stay. Shut the machine down
afterwards and take the image.

  --code-stdin  read an install code with as many uses as there will be machines; each enrols by itself at its first
                boot. It stands in the image, so make it one that asks for approval. Without it, machines made from
                the image are installed by the hub's line, one by one.

sshd's own host keys and /etc/machine-id are not the agent's: let your image tool renew them.
`

func imageCommand(ctx context.Context, args []string, stdio command.Stdio) error {
	flags := command.NewFlags("adit agent prepare-image", imageUsage)
	dir := flags.String("dir", "", "")
	codeStdin := flags.Bool("code-stdin", false, "")
	if err := flags.Parse(args, 0, 0, stdio); err != nil {
		return err
	}
	p := PathsIn(*dir)
	c, err := loadEnrolled(p)
	if err != nil {
		return err
	}
	code := ""
	if *codeStdin {
		if code, err = readCode(stdio.In); err != nil {
			return err
		}
	}
	if err := pauseService(ctx, p); err != nil {
		return err
	}
	if err := stripIdentity(p, c, code); err != nil {
		return err
	}
	fmt.Fprintf(stdio.Err, "This machine is %s no more. Shut it down and take the image; remove the device on the hub's page.\n", c.Name)
	return nil
}

// pauseService stops the agent without disabling its service.
func pauseService(ctx context.Context, p Paths) error {
	if r, err := readService(p); err == nil {
		m, err := recordedManager(p, r)
		if err != nil {
			return err
		}
		for _, c := range m.pause {
			_ = runAll(ctx, [][]string{c}) // what counts is whether the agent still runs
		}
	}
	return stopSupervisor(ctx, p)
}

// stripIdentity writes the first boot's file, if there is a code, before it removes anything.
func stripIdentity(p Paths, c Config, code string) error {
	hubKey, err := wire.DecodeKey(c.HubKeys[0])
	if err != nil {
		return err
	}
	c.Device, c.Name = "", ""
	if code != "" {
		data, err := json.Marshal(firstBoot{Code: code, HubKey: wire.Fingerprint(hubKey), Config: c})
		if err != nil {
			return err
		}
		if err := writeFile(p.FirstBoot(), data, 0o600); err != nil {
			return err
		}
	}
	for _, path := range []string{
		p.Config(), p.Key(), p.HostKey(), p.Instance(), p.HubTime(), p.Principals(), p.Socket(), p.Log(), p.Log() + ".1", p.Lock(),
	} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("strip the identity: %w", err)
		}
	}
	return errors.Join(os.RemoveAll(p.Answers()), os.RemoveAll(p.MQTT()))
}

// Waits between tries to enrol at the first boot; the network may come late, and a fleet may boot at once.
const (
	firstBootLeast = time.Second
	firstBootMost  = 30 * time.Second
)

// enrollAtFirstBoot makes a machine that was made from a golden image a device, however long that takes: the network, a
// person's approval or a new code may come late. Where there is no such file it does nothing.
func enrollAtFirstBoot(ctx context.Context, p Paths, logs io.Writer) error {
	data, err := os.ReadFile(p.FirstBoot())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the first boot's file: %w", err)
	}
	var f firstBoot
	if err := json.Unmarshal(data, &f); err != nil {
		return fmt.Errorf("read %s: %w", p.FirstBoot(), err)
	}
	log := slog.New(slog.NewTextHandler(logs, nil))
	for wait := firstBootLeast; ; wait = min(2*wait, firstBootMost) {
		err := f.enroll(ctx, p)
		if err == nil {
			return os.Remove(p.FirstBoot())
		}
		log.Warn("first boot: not enrolled", "cause", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(rand.N(wait) + wait/2):
		}
	}
}

func (f firstBoot) enroll(ctx context.Context, p Paths) error {
	path, err := os.Executable()
	if err != nil {
		return err
	}
	c, _, err := Enroll(ctx, p, Enrolment{
		Hub: f.Config.Hub, HubKey: f.HubKey, Code: f.Code, Path: path,
		Dial: f.Config.Dial, Proxy: f.Config.Proxy, NoProxy: f.Config.NoProxy, CAFile: f.Config.CAFile,
	})
	if err != nil {
		return err
	}
	targets := c.Policy.Targets // those of the code are among them
	c.Policy, c.Services, c.MQTT = f.Config.Policy.Allow(targets), f.Config.Services, f.Config.MQTT
	return errors.Join(c.save(p.Config()), writePrincipals(p, c))
}
