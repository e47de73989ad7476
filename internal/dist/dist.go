// Package dist holds what a hub hands out to machines: `adit` for each platform, compressed, the script that installs it,
// and the one that does with a machine's own OpenSSH. The binaries are put into files/ by the Makefile and are never
// committed; a hub may have been built with some of them or with none.
package dist

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/wire"
)

//go:embed all:files
var files embed.FS

// Dist is the set of binaries inside this hub.
type Dist struct {
	files  fs.FS
	hashes func() (map[string]string, error) // by target; reads every binary once, at the first call
}

// New gives the binaries that were embedded.
func New() *Dist {
	sub, err := fs.Sub(files, "files")
	if err != nil {
		panic(err) // the directory is part of this package
	}
	return From(sub)
}

// From gives the binaries in files, named adit-OS-ARCH.gz.
func From(files fs.FS) *Dist {
	d := &Dist{files: files}
	d.hashes = sync.OnceValues(d.hashAll)
	return d
}

// Targets are the platforms at hand, as linux-amd64, sorted.
func (d *Dist) Targets() []string {
	names, err := fs.Glob(d.files, "adit-*.gz")
	if err != nil {
		return nil
	}
	for i, n := range names {
		names[i] = strings.TrimSuffix(strings.TrimPrefix(n, "adit-"), ".gz")
	}
	slices.Sort(names)
	return names
}

// File is one binary, compressed.
type File struct {
	io.ReadSeeker
	Name     string
	Modified time.Time
	SHA256   string // hex
}

// Open gives the binary called name, as adit-linux-amd64.gz. It fails with fs.ErrNotExist where it is not at hand.
func (d *Dist) Open(name string) (File, error) {
	target := strings.TrimSuffix(strings.TrimPrefix(name, "adit-"), ".gz")
	if name != "adit-"+target+".gz" || !slices.Contains(d.Targets(), target) {
		return File{}, fmt.Errorf("open %q: %w", name, fs.ErrNotExist)
	}
	data, err := fs.ReadFile(d.files, name)
	if err != nil {
		return File{}, err
	}
	hashes, err := d.hashes()
	if err != nil {
		return File{}, err
	}
	return File{ReadSeeker: bytes.NewReader(data), Name: name, SHA256: hashes[target]}, nil
}

// Programs are the binaries at hand by their targets, as a device is told of them.
func (d *Dist) Programs() (map[string]wire.Program, error) {
	hashes, err := d.hashes()
	if err != nil {
		return nil, err
	}
	programs := make(map[string]wire.Program, len(hashes))
	for target, hash := range hashes {
		info, err := fs.Stat(d.files, "adit-"+target+".gz")
		if err != nil {
			return nil, fmt.Errorf("size of adit for %s: %w", target, err)
		}
		programs[target] = wire.Program{SHA256: hash, Size: info.Size()}
	}
	return programs, nil
}

func (d *Dist) hashAll() (map[string]string, error) {
	hashes := map[string]string{}
	for _, target := range d.Targets() {
		data, err := fs.ReadFile(d.files, "adit-"+target+".gz")
		if err != nil {
			return nil, fmt.Errorf("hash the binaries: %w", err)
		}
		sum := sha256.Sum256(data)
		hashes[target] = hex.EncodeToString(sum[:])
	}
	return hashes, nil
}
