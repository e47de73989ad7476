package sshserver

import (
	"bufio"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// account is a Unix account of this machine.
type account struct {
	name, home, shell string
	uid, gid          uint32
	groups            []uint32
}

// lookup reads the account called name. Where the agent runs as a plain user, there is no other account than its own.
func lookup(name string) (account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return account{}, fmt.Errorf("there is no account %s on this machine", name)
	}
	if os.Geteuid() != 0 && u.Uid != strconv.Itoa(os.Geteuid()) {
		return account{}, fmt.Errorf("the agent runs without root, so only its own account can be used, not %s", name)
	}
	a := account{name: u.Username, home: u.HomeDir, shell: shellOf(u.Username)}
	uid, errUID := strconv.ParseUint(u.Uid, 10, 32)
	gid, errGID := strconv.ParseUint(u.Gid, 10, 32)
	groups, errGroups := u.GroupIds()
	if errUID != nil || errGID != nil || errGroups != nil {
		return account{}, fmt.Errorf("the account %s cannot be read", name)
	}
	a.uid, a.gid = uint32(uid), uint32(gid)
	for _, g := range groups {
		if n, err := strconv.ParseUint(g, 10, 32); err == nil {
			a.groups = append(a.groups, uint32(n))
		}
	}
	return a, nil
}

const passwdFile = "/etc/passwd"

// shellOf is the login shell in passwd(5), field 7; /bin/sh where it is empty.
func shellOf(name string) string {
	if fields := entry(passwdFile, name); len(fields) >= 7 && fields[6] != "" {
		return fields[6]
	} else if fields == nil {
		return directoryShell()
	}
	return "/bin/sh"
}

// directoryShell is the shell of accounts that are not in passwd(5), as on macOS.
func directoryShell() string {
	for _, shell := range []string{"/bin/zsh", "/bin/bash"} {
		if _, err := os.Stat(shell); err == nil {
			return shell
		}
	}
	return "/bin/sh"
}

// entry gives the colon-separated fields of name's line in a file such as passwd(5), or nil.
func entry(path, name string) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if fields := strings.Split(lines.Text(), ":"); fields[0] == name {
			return fields
		}
	}
	return nil
}

// mayLogIn says why the account is closed, if it is: a shell that admits nobody, a lock, an expiry date, or a machine
// that is going down.
func (a account) mayLogIn(now time.Time) error {
	switch filepath.Base(a.shell) {
	case "nologin", "false":
		return fmt.Errorf("the account %s takes no logins: its shell is %s", a.name, a.shell)
	}
	if err := checkShadow(entry("/etc/shadow", a.name), a.name, now); err != nil {
		return err
	}
	if a.uid != 0 {
		for _, path := range []string{"/etc/nologin", "/run/nologin"} {
			if _, err := os.Stat(path); err == nil {
				return fmt.Errorf("only root may log in now: there is a file %s", path)
			}
		}
	}
	return nil
}

// checkShadow reads shadow(5). A password field of only "!", "!!" or "*" means that no password was ever set, which is
// how images ship accounts meant for keys; a "!" before anything else is the lock of `usermod -L` and `passwd -l`.
func checkShadow(fields []string, name string, now time.Time) error {
	if len(fields) < 8 {
		return nil
	}
	if p := fields[1]; strings.HasPrefix(p, "!") && p != "!" && p != "!!" {
		return fmt.Errorf("the account %s is locked", name)
	}
	if days, err := strconv.ParseInt(fields[7], 10, 64); err == nil && now.Unix() >= days*24*60*60 {
		return fmt.Errorf("the account %s has expired", name)
	}
	return nil
}

// attributes make a process that is started belong to the account, with all of its groups, in a session of its own.
func (a account) attributes() *syscall.SysProcAttr {
	attributes := &syscall.SysProcAttr{Setsid: true}
	if os.Geteuid() == 0 {
		attributes.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid, Groups: a.groups}
	}
	return attributes
}

// environment is what a login begins with (sshd(8), LOGIN PROCESS).
func (a account) environment() []string {
	path := "/usr/local/bin:/usr/bin:/bin:/usr/games"
	if a.uid == 0 {
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	env := []string{
		"HOME=" + a.home, "USER=" + a.name, "LOGNAME=" + a.name, "SHELL=" + a.shell,
		"SSH_CLIENT=127.0.0.1 0 0", "SSH_CONNECTION=127.0.0.1 0 127.0.0.1 0",
	}
	if tz := os.Getenv("TZ"); tz != "" {
		env = append(env, "TZ="+tz)
	}
	return append(env, systemEnvironment("/etc/environment", "PATH="+path)...)
}

// systemEnvironment reads KEY=VALUE lines as pam_env does, after the defaults.
func systemEnvironment(file string, defaults ...string) []string {
	env := defaults
	f, err := os.Open(file)
	if err != nil {
		return env
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		key, value, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(lines.Text()), "export "), "=")
		if ok && key != "" && key[0] != '#' && !strings.ContainsAny(key, " \t") {
			env = append(env, key+"="+strings.Trim(value, `"'`))
		}
	}
	return env
}

// directory is where a login begins: its home, or / where that is missing.
func (a account) directory() string {
	if info, err := os.Stat(a.home); err == nil && info.IsDir() {
		return a.home
	}
	return "/"
}
