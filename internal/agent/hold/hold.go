// Package hold keeps a terminal alive on the device while whoever watches it comes and goes: the hub restarts, links
// are cut, browsers sleep.
//
// `adit agent hold ID`, run as the login by the hub's SSH client, is only a bridge from its stdin and stdout to the
// holder, a process in its own session that owns the terminal and listens on a unix socket in ~/.cache/adit/shells.
// The bridge starts the holder where none runs. wire.HoldGreeting and what follows it describe the protocol.
package hold

import (
	"strings"

	"github.com/aditdev/adit/internal/wire"
)

// isShellID reports whether id has the form of a shell's id: it names files here and stands on a command line.
func isShellID(id string) bool {
	ulid, ok := strings.CutPrefix(id, "shl_")
	return ok && len(ulid) == 26 && wire.IsWord(ulid, "")
}

// Command words of `adit agent hold`, as the bridge passes them on to the holder that it starts.
const holderFlag = "--holder"
