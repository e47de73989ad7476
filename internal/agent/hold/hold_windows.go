package hold

import (
	"context"
	"io"

	"github.com/aditdev/adit/internal/wire"
)

// Run is for devices, and Windows is none yet. It fails with an Error of code Invalid.
func Run(context.Context, []string, io.Reader, io.Writer) error {
	_, _ = isShellID, holderFlag
	return wire.Errorf(wire.Invalid, "`adit agent hold` does not run on Windows.")
}
