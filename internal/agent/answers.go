package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

// changes reports whether a call changes the device. One that asks only is simply answered again: a page that shows
// metrics would otherwise write to the device's flash every few seconds.
func changes(method string) bool {
	return method != wire.MethodFacts && method != wire.MethodMetrics && method != wire.MethodMQTT && method != wire.MethodRun
}

// answers keeps results as files in a directory: what changes the device is asked for again by a hub that did not hear the answer,
// and must not be carried out twice.
type answers struct {
	dir     string
	keepFor time.Duration
	most    int // files; the oldest go first
}

// answersOfCalls are by the call's id. There are as many as the hub makes in that time.
func answersOfCalls(p Paths) answers { return answers{p.Answers(), wire.AnswersFor, 4096} }

// answersOfRuns are by the request that the command was for, which a hub may repeat as long as the request waits for its
// device: a week at most. Each is 23 KB at most, and most are small.
func answersOfRuns(p Paths) answers { return answers{p.Runs(), 8 * 24 * time.Hour, 256} }

// Load gives the answer to the call with this id, if it is remembered.
func (a answers) Load(id string) ([]byte, bool) {
	info, err := os.Stat(a.file(id))
	if err != nil || time.Since(info.ModTime()) > a.keepFor {
		return nil, false
	}
	data, err := os.ReadFile(a.file(id))
	return data, err == nil
}

// Save remembers an answer before it is sent.
func (a answers) Save(id string, result []byte) error {
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return err
	}
	a.sweep()
	return writeFile(a.file(id), result, 0o600)
}

// Forget drops an answer.
func (a answers) Forget(id string) { _ = os.Remove(a.file(id)) }

// file names an id by its hash, since an id is the hub's to choose.
func (a answers) file(id string) string {
	sum := sha256.Sum256([]byte(id))
	return filepath.Join(a.dir, hex.EncodeToString(sum[:16]))
}

func (a answers) sweep() {
	entries, err := os.ReadDir(a.dir)
	if err != nil {
		return
	}
	var kept []string // the time before the name
	for _, e := range entries {
		info, err := e.Info()
		switch {
		case err != nil:
		case time.Since(info.ModTime()) > a.keepFor:
			_ = os.Remove(filepath.Join(a.dir, e.Name()))
		default:
			kept = append(kept, fmt.Sprintf("%020d %s", info.ModTime().UnixNano(), e.Name()))
		}
	}
	slices.Sort(kept)
	for _, k := range kept[:max(0, len(kept)-a.most+1)] { // one more is to come
		_, name, _ := strings.Cut(k, " ")
		_ = os.Remove(filepath.Join(a.dir, name))
	}
}
