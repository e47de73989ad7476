package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// How long a program may take to end once it was asked to.
const (
	afterInterrupt = 3 * time.Second // Ctrl-C reached it too, from the terminal
	afterTerm      = 12 * time.Second
)

// A process is a program that runs in the background, with its output in a log file.
type process struct {
	cmd   *exec.Cmd
	log   string
	ended chan error
	gone  chan struct{}
}

// start begins a program of bin with an environment from which the settings of hubs and tests are taken out.
func start(log string, env []string, program string, args ...string) (*process, error) {
	f, err := os.Create(log)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	defer f.Close()
	cmd := exec.Command(program, args...)
	cmd.Env = append(cleanEnv(), env...)
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	p := &process{cmd: cmd, log: log, ended: make(chan error, 1), gone: make(chan struct{})}
	go func() {
		err := cmd.Wait()
		if err == nil {
			err = fmt.Errorf("exit status 0")
		}
		p.ended <- err
		close(p.gone)
	}()
	return p, nil
}

func cleanEnv() []string {
	var env []string
	for _, line := range os.Environ() {
		if name, _, _ := strings.Cut(line, "="); name != "PORT" && !strings.HasPrefix(name, "ADIT_") {
			env = append(env, line)
		}
	}
	return env
}

// stop waits for the program to end, and makes it.
func (p *process) stop() {
	for _, step := range []struct {
		after  time.Duration
		signal os.Signal
	}{{afterInterrupt, syscall.SIGTERM}, {afterTerm, syscall.SIGKILL}} {
		select {
		case <-p.gone:
			return
		case <-time.After(step.after):
			_ = p.cmd.Process.Signal(step.signal)
		}
	}
	<-p.gone
}

// tail is the end of the log, for a message.
func (p *process) tail() string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return ""
	}
	return string(data[max(0, len(data)-2000):])
}

// program is the path of one that make has built, beside this one.
func program(name string) string {
	self, err := os.Executable()
	if err != nil {
		return filepath.Join("bin", name)
	}
	return filepath.Join(filepath.Dir(self), name)
}
