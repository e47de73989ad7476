package agent

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sshdSettings are sshd's settings by lower-case keyword, each with its values in order.
type sshdSettings map[string][]string

func (s sshdSettings) first(key string) string {
	if values := s[strings.ToLower(key)]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// unset reports whether key has no value but "none".
func (s sshdSettings) unset(key string) bool {
	v := s.first(key)
	return v == "" || v == "none"
}

func (s sshdSettings) ports() []int {
	var ports []int
	for _, v := range s["port"] {
		if n, err := strconv.Atoi(v); err == nil {
			ports = append(ports, n)
		}
	}
	if len(ports) == 0 {
		ports = []int{22}
	}
	return ports
}

func (s sshdSettings) hostKeyFiles() []string {
	if files := s["hostkey"]; len(files) > 0 {
		return files
	}
	return []string{"/etc/ssh/ssh_host_ed25519_key", "/etc/ssh/ssh_host_ecdsa_key", "/etc/ssh/ssh_host_rsa_key"}
}

// settings asks sshd itself, which only root may, else reads the files.
func (s sshd) settings(ctx context.Context) sshdSettings {
	if out, err := s.test(ctx, "-T"); err == nil {
		return parseSSHD(out)
	}
	return readSSHDConfig(s.config)
}

// test runs sshd with -t or -T over the settings that the listener uses.
func (s sshd) test(ctx context.Context, mode string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	args := append([]string{mode, "-f", s.config}, s.args...)
	out, err := exec.CommandContext(ctx, s.program, args...).CombinedOutput()
	return string(out), err
}

func parseSSHD(text string) sshdSettings {
	settings := sshdSettings{}
	for line := range strings.Lines(text) {
		if key, value, ok := sshdLine(line); ok {
			settings[key] = append(settings[key], value)
		}
	}
	return settings
}

// sshdLine splits a line of sshd_config(5): keyword, then white space or one =, then arguments, maybe quoted.
func sshdLine(line string) (key, value string, ok bool) {
	line = strings.TrimSpace(line)
	i := strings.IndexAny(line, " \t=")
	if i <= 0 || line[0] == '#' {
		return "", "", false
	}
	value = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line[i:]), "="))
	return strings.ToLower(line[:i]), strings.Trim(value, `"`), value != ""
}

// readSSHDConfig reads the global part of a configuration file and of what it includes.
func readSSHDConfig(path string) sshdSettings {
	settings := sshdSettings{}
	for _, l := range sshdLines(path, 0) {
		if l.key == "match" {
			break
		}
		settings[l.key] = append(settings[l.key], l.value)
	}
	return settings
}

type sshdConfigLine struct{ file, key, value string }

const includeDepth = 8

// sshdLines are the lines of a configuration file with what it includes in place.
func sshdLines(path string, depth int) []sshdConfigLine {
	data, err := os.ReadFile(path)
	if err != nil || depth > includeDepth {
		return nil
	}
	var out []sshdConfigLine
	for line := range strings.Lines(string(data)) {
		key, value, ok := sshdLine(line)
		if !ok {
			continue
		}
		if key != "include" {
			out = append(out, sshdConfigLine{path, key, value})
			continue
		}
		for _, pattern := range strings.Fields(value) {
			files, _ := filepath.Glob(absoluteInclude(pattern))
			for _, file := range files {
				out = append(out, sshdLines(file, depth+1)...)
			}
		}
	}
	return out
}

func absoluteInclude(pattern string) string {
	pattern = strings.Trim(pattern, `"`)
	if filepath.IsAbs(pattern) {
		return pattern
	}
	return filepath.Join("/etc/ssh", pattern)
}

// includeDir is the directory whose *.conf files path includes before any Match block, or "".
func includeDir(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		key, value, ok := sshdLine(line)
		switch {
		case !ok:
		case key == "match":
			return ""
		case key == "include":
			for _, pattern := range strings.Fields(value) {
				dir, base := filepath.Split(absoluteInclude(pattern))
				if info, err := os.Stat(dir); base == "*.conf" && err == nil && info.IsDir() {
					return filepath.Clean(dir)
				}
			}
		}
	}
	return ""
}

// mentions reports the file that sets one of keys anywhere, also inside a Match block, which `sshd -T` does not show.
func mentions(path string, keys ...string) (file, key string) {
	for _, l := range sshdLines(path, 0) {
		if slices.Contains(keys, l.key) && l.value != "none" {
			return l.file, l.key
		}
	}
	return "", ""
}
