package agent

import (
	"path/filepath"
	"strings"
)

// unitWords joins a command for a file in which spaces separate words and double quotes hold them together.
func unitWords(words ...string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = w
		if strings.ContainsAny(w, " \t'\"\\") {
			out[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(w) + `"`
		}
	}
	return strings.Join(out, " ")
}

func (g program) line(words ...string) string {
	return unitWords(append([]string{g.path}, g.args(words...)...)...)
}

func systemdText(g program, target string) string {
	return `[Unit]
Description=Adit agent
# Not ordered after the network: the agent waits for it by itself, and for longer than systemd would.
StartLimitIntervalSec=0

[Service]
ExecStart=` + strings.ReplaceAll(g.line("run"), "%", "%%") + `
Restart=always
RestartSec=1
# Shells that the agent serves go on while it restarts.
KillMode=process

[Install]
WantedBy=` + target + `
`
}

func systemd(g program) manager {
	return manager{
		name: "systemd", file: "/etc/systemd/system/adit.service", mode: 0o644, text: systemdText(g, "multi-user.target"),
		start: [][]string{{"systemctl", "daemon-reload"}, {"systemctl", "enable", "adit.service"}, {"systemctl", "restart", "adit.service"}},
		pause: [][]string{{"systemctl", "stop", "adit.service"}},
		stop:  [][]string{{"systemctl", "disable", "--now", "adit.service"}},
	}
}

func systemdUser(g program, home string) manager {
	return manager{
		name: "systemd-user", file: filepath.Join(home, ".config/systemd/user/adit.service"), mode: 0o644,
		text: systemdText(g, "default.target"),
		start: [][]string{
			{"systemctl", "--user", "daemon-reload"}, {"systemctl", "--user", "enable", "adit.service"},
			{"systemctl", "--user", "restart", "adit.service"}, {"-loginctl", "enable-linger"},
		},
		pause:  [][]string{{"systemctl", "--user", "stop", "adit.service"}},
		stop:   [][]string{{"systemctl", "--user", "disable", "--now", "adit.service"}},
		manual: "If it does not start at boot, an administrator can allow it: loginctl enable-linger USER",
	}
}

func openrc(g program) manager {
	return manager{
		name: "openrc", file: "/etc/init.d/adit", mode: 0o755,
		text: `#!/sbin/openrc-run
# Needs nothing of the network: the agent waits for it by itself.

name="Adit agent"
supervisor=supervise-daemon
command=` + shellWord(g.path) + `
command_args=` + shellWord(unitWords(g.args("run")...)) + `
respawn_delay=1
respawn_max=0
output_log=/var/log/adit.log
error_log=/var/log/adit.log
`,
		start: [][]string{{"rc-update", "add", "adit", "default"}, {"rc-service", "adit", "restart"}},
		pause: [][]string{{"rc-service", "adit", "stop"}},
		stop:  [][]string{{"rc-service", "adit", "stop"}, {"rc-update", "delete", "adit"}},
	}
}

func procd(g program) manager {
	return manager{
		name: "procd", file: "/etc/init.d/adit", mode: 0o755,
		text: `#!/bin/sh /etc/rc.common
# Starts before the network: the agent waits for it by itself.

START=95
STOP=10
USE_PROCD=1

start_service() {
	procd_open_instance
	procd_set_param command ` + g.line("run") + `
	procd_set_param respawn 3600 1 0
	procd_set_param stderr 1
	procd_close_instance
}
`,
		start: [][]string{{"/etc/init.d/adit", "enable"}, {"/etc/init.d/adit", "restart"}},
		pause: [][]string{{"/etc/init.d/adit", "stop"}},
		stop:  [][]string{{"/etc/init.d/adit", "stop"}, {"/etc/init.d/adit", "disable"}},
	}
}

func sysvinit(g program) manager {
	return manager{
		name: "sysvinit", file: "/etc/init.d/adit", mode: 0o755,
		text: `#!/bin/sh
### BEGIN INIT INFO
# Provides:          adit
# Required-Start:    $local_fs
# Required-Stop:     $local_fs
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: Adit agent
### END INIT INFO
# chkconfig: 2345 95 05

# System V init restarts nothing, so the agent's own supervisor does.
case "$1" in
start) ` + g.line("supervise") + ` ;;
stop) ` + g.line("supervise", "--stop") + ` ;;
restart | force-reload)
	` + g.line("supervise", "--stop") + `
	` + g.line("supervise") + `
	;;
status) ` + g.line("status") + ` ;;
*)
	echo "Usage: $0 start|stop|restart|status" >&2
	exit 2
	;;
esac
`,
		start: [][]string{{"-update-rc.d", "adit", "defaults"}, {"-chkconfig", "--add", "adit"}, {"/etc/init.d/adit", "restart"}},
		pause: [][]string{{"/etc/init.d/adit", "stop"}},
		stop:  [][]string{{"/etc/init.d/adit", "stop"}, {"-update-rc.d", "-f", "adit", "remove"}, {"-chkconfig", "--del", "adit"}},
	}
}

const launchdLabel = "dev.adit.agent"

func launchdText(g program, log string) string {
	var words strings.Builder
	for _, w := range append([]string{g.path}, g.args("run")...) {
		words.WriteString("\t\t<string>" + xmlText(w) + "</string>\n")
	}
	return `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>Label</key>
	<string>` + launchdLabel + `</string>
	<key>ProgramArguments</key>
	<array>
` + words.String() + `	</array>
	<key>RunAtLoad</key>
	<true/>
	<key>KeepAlive</key>
	<true/>
	<key>ThrottleInterval</key>
	<integer>1</integer>
	<key>AbandonProcessGroup</key>
	<true/>
	<key>StandardErrorPath</key>
	<string>` + xmlText(log) + `</string>
</dict>
</plist>
`
}

func launchdDaemon(g program) manager {
	file := "/Library/LaunchDaemons/" + launchdLabel + ".plist"
	return manager{
		name: "launchd", file: file, mode: 0o644, text: launchdText(g, "/var/log/adit.log"),
		start: [][]string{{"-launchctl", "bootout", "system/" + launchdLabel}, {"launchctl", "bootstrap", "system", file}},
		pause: [][]string{{"launchctl", "bootout", "system/" + launchdLabel}},
		stop:  [][]string{{"launchctl", "bootout", "system/" + launchdLabel}},
	}
}

func launchdAgent(g program, home string) manager {
	file := filepath.Join(home, "Library/LaunchAgents", launchdLabel+".plist")
	return manager{
		name: "launchd-agent", file: file, mode: 0o644, text: launchdText(g, filepath.Join(home, "Library/Logs/adit.log")),
		start:  [][]string{{"-launchctl", "unload", file}, {"launchctl", "load", "-w", file}},
		pause:  [][]string{{"launchctl", "unload", file}},
		stop:   [][]string{{"launchctl", "unload", "-w", file}},
		manual: "It runs while this user is logged in.",
	}
}

const supervisorName = "supervisor"

func supervisor(g program) manager {
	return manager{
		name:  supervisorName,
		start: [][]string{append([]string{g.path}, g.args("supervise")...)},
		pause: [][]string{append([]string{g.path}, g.args("supervise", "--stop")...)},
		stop:  [][]string{append([]string{g.path}, g.args("supervise", "--stop")...)},
		manual: "No service manager runs here, so a supervisor of the agent's own keeps it up. After a restart of this machine, start it with:\n  " +
			g.line("supervise"),
	}
}

func shellWord(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func xmlText(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}
