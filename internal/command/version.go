package command

import (
	"runtime"
	"runtime/debug"
	"time"
)

// version and built are set at link time, as
// -X github.com/aditdev/adit/internal/command.version=v0.2.0
// -X github.com/aditdev/adit/internal/command.built=2026-11-22T00:00:00Z.
var version, built string

// Version is the program's version, or "devel" with the revision where the linker was told none.
func Version() string {
	if version != "" {
		return version
	}
	if rev := buildSetting("vcs.revision"); len(rev) >= 12 {
		return "devel-" + rev[:12]
	}
	return "devel"
}

// Built is when the program was made: no sane clock shows less. It is the commit's time, or zero where nobody knows.
func Built() time.Time {
	for _, s := range []string{built, buildSetting("vcs.time")} {
		if t, err := time.Parse(time.RFC3339, s); err == nil {
			return t
		}
	}
	return time.Time{}
}

// Platform is what the program runs on, as linux-arm64.
func Platform() string { return runtime.GOOS + "-" + runtime.GOARCH }

// Target is the platform in the words of the downloads, as linux-armv7: where a processor has several kinds of programs
// it names which one this is.
func Target() string {
	if arm := buildSetting("GOARM"); runtime.GOARCH == "arm" && arm != "" {
		return runtime.GOOS + "-armv" + arm[:1]
	}
	return Platform()
}

func buildSetting(key string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}
