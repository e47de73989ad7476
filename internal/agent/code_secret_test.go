package agent

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aditdev/adit/internal/command"
	"github.com/aditdev/adit/internal/wire"
)

// Rule 18: while the real program enrols, no process of the machine shows the install code in its arguments or its
// environment.
func TestCodeIsInNoProcessList(t *testing.T) {
	t.Parallel()
	code := strings.Repeat("q", 13) + testCode[:13] // no other test's
	h, p := newEnrolHub(t), newPlace(t)
	asked, seen := make(chan struct{}), make(chan struct{})
	h.answerWith(func(w http.ResponseWriter) { // the hub is slow: it answers when we have looked
		close(asked)
		<-seen
		problem(wire.Conflict, "Used.")(w)
	})
	var says bytes.Buffer
	cmd := exec.CommandContext(t.Context(), os.Args[0], asAdit, "enroll", "--hub", h.url, "--hub-key", h.fingerprint(), "--code-stdin", "--dir", p.Dir)
	cmd.Stdin, cmd.Stderr = strings.NewReader(code+"\n"), &says
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-asked:
	case err := <-ended:
		t.Fatalf("%v: %s", err, says.String())
	}
	for _, name := range processesShowing(t, code) {
		t.Errorf("the code is in %s", name)
	}
	close(seen)
	if err := <-ended; err == nil || h.heard()[0].Code != code || strings.Contains(says.String(), code) {
		t.Errorf("%v: %s", err, says.String())
	}
}

// The look itself: a code that is given as an argument would be seen.
func TestProcessListIsRead(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "sleep", "1000")
	cmd.Env = []string{"CODE=zzzz-seen-in-the-environment"}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if found := processesShowing(t, "zzzz-seen-in-the-environment"); len(found) != 1 {
		t.Errorf("found %v", found)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// Whoever runs enroll with the install line's variable in the environment does not hand it on to sshd, sh and the like.
func TestCodeIsNotHandedOn(t *testing.T) {
	t.Setenv("ADIT_CODE", testCode)
	stdio := command.Stdio{In: strings.NewReader(""), Out: t.Output(), Err: t.Output()}
	_ = Command().Run(t.Context(), []string{"enroll", "--hub", "http://127.0.0.1:1", "--code-stdin"}, stdio)
	if v, ok := os.LookupEnv("ADIT_CODE"); ok {
		t.Errorf("programs that it starts get %q", v)
	}
}

// processesShowing names the files of proc(5) that hold text.
func processesShowing(t *testing.T, text string) []string {
	t.Helper()
	var found []string
	for _, kind := range []string{"cmdline", "environ"} {
		files, err := filepath.Glob("/proc/[0-9]*/" + kind)
		if err != nil || len(files) == 0 {
			t.Fatalf("%v, %d files", err, len(files))
		}
		for _, file := range files {
			if data, err := os.ReadFile(file); err == nil && bytes.Contains(data, []byte(text)) {
				found = append(found, file)
			}
		}
	}
	return found
}
