//go:build linux

package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A machine is a set of namespaces with a first process. Its files, users, addresses and processes are its own: nothing
// of it is left when the test ends.
type machine struct {
	t       testing.TB
	pid     string          // of its first process, as seen from here
	daemons *sync.WaitGroup // commands that nobody else waits for
}

// newMachine starts one; kind is as machine.sh says.
func newMachine(t testing.TB, name, kind string) *machine {
	t.Helper()
	script, err := filepath.Abs("machine.sh")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "-m", "-n", "-u", "-p", "-f", "--kill-child", "bash", script, name, kind)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, daemons: new(sync.WaitGroup)}
	t.Cleanup(func() { m.end(cmd) })
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "up\n" {
		t.Fatalf("machine %s did not start: %q", name, line)
	}
	child, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	m.pid = strings.TrimSpace(string(child))
	return m
}

// end ends everything on the machine, and returns when nothing of it is left: its first process is gone only after all others
// (pid_namespaces(7)), and unshare after that. Whoever removes the files then finds nobody who still writes to them.
func (m *machine) end(unshare *exec.Cmd) {
	late := time.AfterFunc(patience, func() { _ = unshare.Process.Kill() })
	defer late.Stop()
	if pid, err := strconv.Atoi(m.pid); err != nil || syscall.Kill(pid, syscall.SIGTERM) != nil {
		_ = unshare.Process.Kill()
	}
	_ = unshare.Wait()
	m.daemons.Wait()
}

// command prepares a command on the machine. env is added to a small environment of its own.
func (m *machine) command(ctx context.Context, env []string, args ...string) *exec.Cmd {
	enter := []string{"-t", m.pid, "-m", "-n", "-u", "-p", "--", "env", "-i",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "TERM=xterm-256color"}
	cmd := exec.CommandContext(ctx, "nsenter", append(append(enter, env...), args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 10 * time.Second // for what a program has said before it ended
	return cmd
}

// run runs a command to its end and gives its output; a failure fails the test.
func (m *machine) run(args ...string) string {
	m.t.Helper()
	out, err := m.try(args...)
	if err != nil {
		m.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// try is run for a command that may fail. The output has both streams.
func (m *machine) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	out, err := m.command(ctx, nil, args...).CombinedOutput()
	return string(out), err
}

// sh runs a line of shell.
func (m *machine) sh(line string) string {
	m.t.Helper()
	return m.run("bash", "-ec", line)
}

// write puts a file onto the machine.
func (m *machine) write(path, content string, mode os.FileMode) {
	m.t.Helper()
	cmd := m.command(context.Background(), nil, "bash", "-ec", fmt.Sprintf(`mkdir -p "$(dirname %q)"; cat >%q; chmod %o %q`, path, path, mode, path))
	cmd.Stdin = strings.NewReader(content)
	if out, err := cmd.CombinedOutput(); err != nil {
		m.t.Fatalf("write %s: %v\n%s", path, err, out)
	}
}

// daemon starts a program that stays, its pid (as the machine counts) in /run/NAME.pid and its output in LOG.
func (m *machine) daemon(name, log string, env []string, args ...string) {
	m.t.Helper()
	line := fmt.Sprintf(`echo $$ >/run/%s.pid; exec "$@" >>%q 2>&1 </dev/null`, name, log)
	cmd := m.command(context.Background(), env, append([]string{"setsid", "bash", "-c", line, "-"}, args...)...)
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.daemons.Go(func() { _ = cmd.Wait() })
}

// signal sends a signal to a daemon.
func (m *machine) signal(name, signal string) {
	m.t.Helper()
	m.sh(fmt.Sprintf("kill -%s $(cat /run/%s.pid)", signal, name))
}

// dial connects from within the machine's network; the address must be a literal one.
func (m *machine) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	inside := m.inside(func() { conn, err = new(net.Dialer).DialContext(ctx, network, address) })
	return conn, errors.Join(inside, err)
}

// listen is for servers of the test itself at an address of the machine's.
func (m *machine) listen(address string) (l net.Listener, err error) {
	inside := m.inside(func() { l, err = net.Listen("tcp", address) })
	return l, errors.Join(inside, err)
}

// inside runs f with this thread in the machine's network. A socket stays where it was made.
func (m *machine) inside(f func()) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer here.Close()
	there, err := os.Open("/proc/" + m.pid + "/ns/net")
	if err != nil {
		return err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the network of the machine: %w", err)
	}
	f()
	if back := unix.Setns(int(here.Fd()), unix.CLONE_NEWNET); back != nil {
		panic(back) // this thread would go on in the wrong network
	}
	return nil
}

// connect lays a cable between the two: 10.77.0.1 at a, 10.77.0.2 at b. They get no link-local address of IPv6, which would come into use a second or two later:
// a browser that loads a page just then breaks off, since the network has changed.
func connect(a, b *machine) {
	a.t.Helper()
	out, err := exec.Command("nsenter", "-t", a.pid, "-n", "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", b.pid).CombinedOutput()
	if err != nil {
		a.t.Fatalf("veth: %v\n%s", err, out)
	}
	a.sh("ip addr add 10.77.0.1/24 dev eth0; ip link set eth0 addrgenmode none up")
	b.sh("ip addr add 10.77.0.2/24 dev eth0; ip link set eth0 addrgenmode none up")
}

// patience is how long a test waits for what nobody promised a time for. It is spent only where something is wrong.
const patience = time.Minute

// eventually waits until check gives nil; otherwise the test fails with its last error after the time is over.
func eventually(t testing.TB, within time.Duration, what string, check func() error) time.Duration {
	t.Helper()
	return waits(t, func() time.Duration { return within }, what, check)
}

// allowance is how much longer a promise may take at most on a machine that has other things to do.
const allowance = 20 * time.Second

// promised is eventually for what the product promises a time for. Time in which something on this machine stood in line for a
// processor is added to it, up to the allowance; all of that where the kernel does not tell.
func promised(t testing.TB, within time.Duration, what string, check func() error) time.Duration {
	t.Helper()
	before, tells := inLine()
	return waits(t, func() time.Duration {
		now, _ := inLine()
		if !tells || now-before > allowance {
			return within + allowance
		}
		return within + now - before
	}, what, check)
}

// inLine is the time so far in which at least one task waited for a processor, as the kernel's pressure stall information has it.
func inLine() (total time.Duration, tells bool) {
	text, err := os.ReadFile("/proc/pressure/cpu")
	if err != nil {
		return 0, false
	}
	var avg10, avg60, avg300 float64
	var micros int64
	_, err = fmt.Sscanf(string(text), "some avg10=%f avg60=%f avg300=%f total=%d", &avg10, &avg60, &avg300, &micros)
	return time.Duration(micros) * time.Microsecond, err == nil
}

// waits is for eventually and promised. The last check begins after the time is over, so that a slow one is not the only one.
func waits(t testing.TB, within func() time.Duration, what string, check func() error) time.Duration {
	t.Helper()
	start := time.Now()
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		late := time.Since(start) > within()
		err := check()
		took := time.Since(start)
		if err == nil {
			t.Logf("%s after %v", what, took.Round(time.Millisecond))
			return took
		}
		if late {
			t.Fatalf("not %s within %v: %v", what, within().Round(time.Millisecond), err)
		}
		passes(pause)
	}
}

var errNotYet = errors.New("not yet")

// passes lets so much time go by, where that is the point.
func passes(d time.Duration) { <-time.After(d) }
