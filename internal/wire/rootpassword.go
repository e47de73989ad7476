package wire

// MethodRootPassword is the call by which a hub has a device give its root account a new password, in two steps, so that
// the hub keeps the password before it is set: RootPrepare makes one and tells it sealed, RootSet sets that one. Its
// params are RootPassword; the result of the first step is RootPrepared, that of the second {}.
//
// An error of code Conflict in the second step says that nothing was changed. After any other that is not known: the call may
// have been carried out by an agent that was cut off before it could answer, and then been repeated.
const MethodRootPassword = "root-password"

// The steps.
const (
	RootPrepare = "prepare"
	RootSet     = "set"
)

type (
	// RootPassword asks for a step. Key is that to which the password is to be sealed (see SealFor), with RootPrepare; ID
	// the prepared password, with RootSet.
	RootPassword struct {
		Step string `json:"step"`
		Key  string `json:"key,omitempty"`
		ID   string `json:"id,omitempty"`
	}
	// RootPrepared is a password that is not set yet. Sealed opens with RootPasswordInfo.
	RootPrepared struct {
		ID     string `json:"id"`
		Sealed string `json:"sealed"`
	}
)

// RootPasswordInfo binds a sealed password to its device and its id.
func RootPasswordInfo(device, id string) string { return "adit root-password v1 " + device + " " + id }
