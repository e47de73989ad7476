package agent

import (
	"os"
	"path/filepath"
)

// Paths says where the agent keeps its files. All of them lie in Dir, which uninstalling removes as a whole.
type Paths struct {
	Dir  string // /etc/adit, or ~/.config/adit for a plain user
	User bool   // installed for one user, without root
}

// DefaultPaths are those of the system for root, and of the user otherwise.
func DefaultPaths() Paths {
	if os.Geteuid() == 0 {
		return Paths{Dir: systemDir}
	}
	config, err := os.UserConfigDir()
	if err != nil {
		config = filepath.Join(string(filepath.Separator), "tmp", "adit-of-nobody")
	}
	return Paths{Dir: filepath.Join(config, "adit"), User: true}
}

const systemDir = "/etc/adit"

// PathsIn are those below dir; "" means the default.
func PathsIn(dir string) Paths {
	p := DefaultPaths()
	if dir != "" {
		p.Dir = dir
	}
	return p
}

func (p Paths) file(name string) string { return filepath.Join(p.Dir, name) }

// Config is agent.toml, 0600.
func (p Paths) Config() string { return p.file("agent.toml") }

// Key is the device's Ed25519 seed, 0600. It never leaves the machine.
func (p Paths) Key() string { return p.file("device.key") }

// HostKey is the SSH host key of the built-in server, 0600.
func (p Paths) HostKey() string { return p.file("ssh_host_ed25519_key") }

// Instance is the boot counter, and HubTime the last time of day heard from the hub.
func (p Paths) Instance() string { return p.file("instance") }
func (p Paths) HubTime() string  { return p.file("hub_time") }

// Principals is what `adit agent principals` reads, 0644: sshd runs it as nobody.
func (p Paths) Principals() string { return p.file("principals") }

// UserCA is the hub's user CA in authorized_keys form, 0644: sshd's TrustedUserCAKeys.
func (p Paths) UserCA() string { return p.file("user_ca.pub") }

// Trust records what was changed in sshd's files, so that it can be taken back.
func (p Paths) Trust() string { return p.file("sshd.json") }

// Answers are the results of calls that changed the device, so that a repeated call is not carried out twice.
func (p Paths) Answers() string { return p.file("answers") }

// Runs are what became of commands that the hub had run, by request.
func (p Paths) Runs() string { return p.file("runs") }

// Socket is where the running agent tells its state, and Lock what it holds while it runs.
func (p Paths) Socket() string { return p.file("agent.sock") }
func (p Paths) Lock() string   { return p.file("lock") }

// Service records the manager that keeps the agent up.
func (p Paths) Service() string { return p.file("service.json") }

// Fetch says what a program in RAM is fetched from at boot, and its hash.
func (p Paths) Fetch() string { return p.file("fetch") }

// FirstBoot is what a machine made from a golden image enrols with.
func (p Paths) FirstBoot() string { return p.file("first_boot.json") }

// Update is an update that has yet to prove itself, and UpdateResult what became of the last one, until the hub knows.
func (p Paths) Update() string       { return p.file("update.json") }
func (p Paths) UpdateResult() string { return p.file("update_result.json") }

// UpdateGuard is what the process holds that takes the old program back.
func (p Paths) UpdateGuard() string { return p.file("update.lock") }

// Log is the log of an agent that no service manager keeps; PID is its supervisor's.
func (p Paths) Log() string { return p.file("agent.log") }
func (p Paths) PID() string { return p.file("supervisor.pid") }
