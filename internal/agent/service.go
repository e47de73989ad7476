package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// serviceRecord says what keeps the agent up, so that it can be shown and removed.
type serviceRecord struct {
	Manager string `json:"manager"`
	File    string `json:"file,omitempty"` // written for it
}

func readService(p Paths) (serviceRecord, error) {
	var r serviceRecord
	data, err := os.ReadFile(p.Service())
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(data, &r)
}

func (r serviceRecord) save(p Paths) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return writeFile(p.Service(), append(data, '\n'), 0o644)
}

// serviceName is the manager's name, or "none".
func serviceName(p Paths) string {
	if r, err := readService(p); err == nil {
		return r.Manager
	}
	return "none"
}

// program is what a service runs.
type program struct {
	path string // of adit
	dir  string // the agent's directory, "" for the default
	user bool
}

// args are the arguments of `adit` for an agent's command.
func (g program) args(words ...string) []string {
	out := append([]string{"agent"}, words...)
	if g.dir != "" {
		out = append(out, "--dir", g.dir)
	}
	return out
}

// manager is one way to keep the agent up, always: restarted whenever it ends, however often, and started before the
// network is there, since the agent waits for it better than any ordering does.
type manager struct {
	name   string
	file   string // where its text goes; "" for none
	mode   fs.FileMode
	text   string
	start  [][]string // commands that enable it and start it anew
	pause  [][]string // commands that stop it until the next boot
	stop   [][]string // commands that stop and disable it
	manual string     // what to know about it; may be empty
}

// managers are those for this kind of installation, the best first. The last one needs nothing of the system.
func managers(g program, home string) []manager {
	if g.user {
		return []manager{systemdUser(g, home), launchdAgent(g, home), supervisor(g)}
	}
	return []manager{systemd(g), procd(g), openrc(g), launchdDaemon(g), sysvinit(g), supervisor(g)}
}

// chooseManager is the first of all whose service manager runs here.
func chooseManager(all []manager, runs func(name string) bool) manager {
	i := slices.IndexFunc(all, func(m manager) bool { return runs(m.name) })
	if i < 0 {
		i = len(all) - 1
	}
	return all[i]
}

// managerRuns looks for the traces of a running service manager; an installed one that does not run, as in containers,
// is of no use.
func managerRuns(name string) bool {
	switch name {
	case "systemd":
		return runsSystemd()
	case "systemd-user":
		return os.Getenv("XDG_RUNTIME_DIR") != "" && exec.Command("systemctl", "--user", "show-environment").Run() == nil
	case "procd":
		return initIs("procd") && exists("/etc/rc.common")
	case "openrc":
		return exists("/run/openrc/softlevel") && exists("/sbin/openrc-run")
	case "launchd", "launchd-agent":
		return runtime.GOOS == "darwin"
	case "sysvinit":
		return initIs("init") && exists("/etc/init.d") && (findProgram("update-rc.d") != "" || findProgram("chkconfig") != "")
	}
	return name == supervisorName
}

func initIs(name string) bool { return firstFile("/proc/1/comm") == name }

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// install writes the service, starts it, and records it.
func (m manager) install(ctx context.Context, p Paths) error {
	if err := removeService(ctx, p); err != nil {
		return err
	}
	r := serviceRecord{Manager: m.name, File: m.file}
	if err := r.save(p); err != nil {
		return err
	}
	if m.file != "" {
		if err := os.MkdirAll(filepath.Dir(m.file), 0o755); err != nil {
			return fmt.Errorf("make the service's directory: %w", err)
		}
		if err := writeFile(m.file, []byte(m.text), m.mode); err != nil {
			return err
		}
	}
	return runAll(ctx, m.start)
}

func runAll(ctx context.Context, commands [][]string) error {
	for _, c := range commands {
		name, optional := strings.CutPrefix(c[0], "-")
		out, err := exec.CommandContext(ctx, name, c[1:]...).CombinedOutput()
		if err != nil && !optional {
			return fmt.Errorf("%s: %w: %s", strings.Join(c, " "), err, lastLine(string(out)))
		}
	}
	return nil
}

// removeService stops and removes what is recorded. Whatever is gone already is no error.
func removeService(ctx context.Context, p Paths) error {
	r, err := readService(p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the service's record: %w", err)
	}
	m, err := recordedManager(p, r)
	if err != nil {
		return err
	}
	for _, c := range m.stop {
		_ = runAll(ctx, [][]string{c}) // it may not run, or not be known any more
	}
	if r.File != "" {
		if err := os.Remove(r.File); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the service: %w", err)
		}
	}
	if r.Manager == "systemd" {
		_ = runAll(ctx, [][]string{{"systemctl", "daemon-reload"}})
	}
	return os.Remove(p.Service())
}

// recordedManager is the manager of r; one that this version does not know has no commands.
func recordedManager(p Paths, r serviceRecord) (manager, error) {
	home, err := os.UserHomeDir()
	if err != nil && p.User {
		return manager{}, fmt.Errorf("find the home directory: %w", err)
	}
	g, err := thisProgram(p)
	if err != nil {
		return manager{}, err
	}
	for _, m := range managers(g, home) {
		if m.name == r.Manager {
			return m, nil
		}
	}
	return manager{}, nil
}

// thisProgram is adit as it is running now, and the directory that it was told of.
func thisProgram(p Paths) (program, error) {
	path, err := os.Executable()
	if err != nil {
		return program{}, fmt.Errorf("find the agent's own program: %w", err)
	}
	g := program{path: path, user: p.User}
	if r := ramOf(p); path == r.program() {
		g.path = r.launcher
	}
	if p.Dir != DefaultPaths().Dir {
		if g.dir, err = filepath.Abs(p.Dir); err != nil {
			return program{}, err
		}
	}
	return g, nil
}
