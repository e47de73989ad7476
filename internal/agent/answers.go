package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

// changes reports whether a call changes the device. One that asks only is simply answered again: a page that shows
// metrics would otherwise write to the device's flash every few seconds.
func changes(method string) bool {
	return method != wire.MethodFacts && method != wire.MethodMetrics && method != wire.MethodMQTT
}

// answers keeps the results of calls as files in a directory, for wire.AnswersFor: a call that changes the device is
// repeated by a hub that did not hear the answer, and must not be carried out twice.
type answers struct{ dir string }

// Load gives the answer to the call with this id, if it is remembered.
func (a answers) Load(id string) ([]byte, bool) {
	info, err := os.Stat(a.file(id))
	if err != nil || time.Since(info.ModTime()) > wire.AnswersFor {
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
	for _, e := range entries {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > wire.AnswersFor {
			_ = os.Remove(filepath.Join(a.dir, e.Name()))
		}
	}
}
