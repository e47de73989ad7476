package carrier

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

// NextInstance reads the boot counter in file, adds one, writes it back durably (0600, by rename) and gives the
// instance of this life. A missing or unreadable counter starts from the clock, so that one lost with its disk is not
// a lower one.
func NextInstance(file string) (wire.Instance, error) {
	counter := uint64(time.Now().Unix())
	raw, err := os.ReadFile(file)
	switch {
	case err == nil:
		if last, err := strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 53); err == nil {
			counter = last + 1
		}
	case !errors.Is(err, fs.ErrNotExist):
		return wire.Instance{}, fmt.Errorf("boot counter: %w", err)
	}
	if err := replaceFile(file, strconv.FormatUint(counter, 10)+"\n"); err != nil {
		return wire.Instance{}, fmt.Errorf("boot counter: %w", err)
	}
	return wire.Instance{Counter: counter, Random: wire.NewID()}, nil
}

// replaceFile writes a file that is either the old one or the new one, whenever the power fails.
func replaceFile(file, content string) error {
	temp, err := os.CreateTemp(filepath.Dir(file), ".counter-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.WriteString(content)
	if err = errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), file)
}
