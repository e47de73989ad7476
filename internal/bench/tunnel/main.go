package tunnel

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Main runs the measurements that args name, or all, and prints a line for each figure. With "serve-crowd" it is the
// hub's process of two of them.
func Main(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 2 && args[0] == "serve-crowd" {
		return ServeCrowd(ctx, args[1], out)
	}
	for _, m := range []struct {
		name string
		run  func(context.Context, func(Figure)) error
	}{{"paths", Paths}, {"gate", Gate}, {"link", Link}, {"memory", Memory}, {"return", Return}} {
		if len(args) > 0 && !slices.Contains(args, m.name) {
			continue
		}
		if err := m.run(ctx, func(f Figure) { fmt.Fprintln(out, f) }); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return nil
}

// String is the figure with each path's value, and how ours compares.
func (f Figure) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-58s", f.What)
	for _, name := range slices.Sorted(maps.Keys(f.Values)) {
		fmt.Fprintf(&b, "  %s %8.1f %s", name, f.Values[name], f.Unit)
		if ours := f.Values["adit"]; name != "adit" && f.Values[name] > 0 {
			fmt.Fprintf(&b, " (×%.2f)", ours/f.Values[name])
		}
	}
	return b.String()
}
