package wire

// MethodRun is the call by which a hub has a device run one of the commands that its owner named in agent.toml. Its params are
// Run, its result RunResult. What the command ends with is no error of the call: an exit status of 1 is an answer.
//
// Errors: Forbidden where the device's policy does not let the hub run commands, NotFound for a command that is not named there,
// Invalid for a value that its parameter does not take, RateLimited while as many run as may at once (worth repeating), Conflict where
// a request of this id was begun and cut off with the agent: whether it was carried out is not known, and it is not run again.
const MethodRun = "run"

// Bounds of a run.
const (
	MaxRunStdin     = 16 << 10 // bytes of input
	MaxRunOutput    = 8 << 10  // bytes that are kept of each output, the first ones
	MaxRunArgument  = 1024     // bytes of one value
	MaxRunSeconds   = 300      // that a command may take
	MaxRunsAtOnce   = 4        // of one device
	MaxRunArguments = 16
)

type (
	// Run asks for a command. ID names the request: one of an id that was run before is not run again, its answer is given
	// again, for a week.
	Run struct {
		ID             string            `json:"id"`
		Command        string            `json:"command"`
		Arguments      map[string]string `json:"arguments,omitempty"`       // a value for each parameter
		TimeoutSeconds int               `json:"timeout_seconds,omitempty"` // where it is shorter than the command's own
		Stdin          []byte            `json:"stdin,omitempty"`
	}
	// RunResult is how a command ended. Times are milliseconds.
	RunResult struct {
		ExitCode int    `json:"exit_code"` // 128 + N where signal N ended it, as in a shell
		Stdout   []byte `json:"stdout,omitempty"`
		Stderr   []byte `json:"stderr,omitempty"`
		Cut      bool   `json:"cut,omitempty"`       // there was more output than is kept
		TimedOut bool   `json:"timed_out,omitempty"` // it was ended because its time was up
		TookMS   int64  `json:"took_ms"`
	}
)

// Valid reports whether the members are within their bounds; whether there is such a command is the device's to say.
func (r Run) Valid() bool {
	if !validID(r.ID) || len(r.Arguments) > MaxRunArguments || len(r.Stdin) > MaxRunStdin || r.TimeoutSeconds < 0 {
		return false
	}
	for _, value := range r.Arguments {
		if len(value) > MaxRunArgument {
			return false
		}
	}
	return true
}
