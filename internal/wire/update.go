package wire

const (
	// MethodUpdate is the call by which a hub has an agent put another program in its place. Its params are Update; its
	// result, {}, says that the new program is in its place and is started. Whether it came online the agent tells by
	// MethodUpdateResult, the new one or, where it did not within the time and was taken back, the old one.
	MethodUpdate = "update"
	// MethodUpdateResult is the call by which an agent tells what became of an update. Its params are UpdateResult; its
	// result is {}.
	MethodUpdateResult = "update-result"
)

type (
	// Update names a program. Programs has it for each platform, as linux-armv7, that the hub has it for.
	Update struct {
		Version       string             `json:"version"`
		WithinSeconds int                `json:"within_seconds"` // to be online, else the old one is taken back
		Programs      map[string]Program `json:"programs"`
	}
	// Program is what GET /dl/adit-PLATFORM.gz gives.
	Program struct {
		SHA256 string `json:"sha256"` // of the compressed program, hex
		Size   int64  `json:"size"`   // of the same, in bytes
	}
	// UpdateResult says that the program of this version runs, or why it does not.
	UpdateResult struct {
		Version string `json:"version"`
		OK      bool   `json:"ok"`
		Message string `json:"message,omitempty"`
	}
)
