package events

import (
	"strings"

	"github.com/aditdev/adit/internal/wire"
)

// The types. Types says what the data of each holds.
const (
	DeviceEnrolled       = "device.enrolled"
	DevicePending        = "device.pending"
	DeviceApproved       = "device.approved"
	DeviceReplaced       = "device.replaced"
	DeviceRemoved        = "device.removed"
	DeviceChanged        = "device.changed" // something of its page is new
	DeviceOnline         = "device.online"
	DeviceOffline        = "device.offline" // debounced
	DeviceCloned         = "device.cloned"
	DeviceUpdated        = "device.updated" // the agent's program
	DeviceNotUpdated     = "device.not_updated"
	HostKeysPending      = "device.host_keys_pending"
	HostKeysAccepted     = "device.host_keys_accepted"
	InstallStep          = "install.step"
	CodeCreated          = "install_code.created"
	CodeRevoked          = "install_code.revoked"
	RootPasswordSet      = "root_password.set"
	RootPasswordRevealed = "root_password.revealed"

	LoginFailed       = "login.failed"
	LoginBegan        = "login.began"
	LoginEnded        = "login.ended"
	LoginDenied       = "login.denied" // a person refused `adit login`
	TokenCreated      = "token.created"
	TokenRevoked      = "token.revoked"
	UserCreated       = "user.created"
	UserChanged       = "user.changed"
	UserRemoved       = "user.removed"
	GrantAdded        = "grant.added"
	GrantRemoved      = "grant.removed"
	SSHKeyAdded       = "ssh_key.added"
	SSHKeyRemoved     = "ssh_key.removed"
	CertificateSigned = "ssh.certificate"
	SSHRefused        = "ssh.refused" // nobody came in at the gate

	StreamOpened  = "stream.opened"
	StreamClosed  = "stream.closed"
	StreamRefused = "stream.refused" // a door asked for what the policy does not allow
	StreamSummed  = "stream.summed"  // in the place of many that were alike
	ShellOpened   = "shell.opened"
	ShellEnded    = "shell.ended"
	PortReserved  = "port.reserved"
	PortReleased  = "port.released"

	HubStarted       = "hub.started"
	HubStopping      = "hub.stopping"
	HubRestored      = "hub.restored" // the log goes on behind the backup's last event
	HubKeysChanged   = "hub.keys_changed"
	RetentionChanged = "hub.retention_changed"
	EventsDropped    = "hub.events_dropped" // those of streams, where the disk did not keep up

	MQTTCredentialAdded   = "mqtt.credential_added"
	MQTTCredentialRemoved = "mqtt.credential_removed"
	MQTTRuleAdded         = "mqtt.rule_added"
	MQTTRuleRemoved       = "mqtt.rule_removed"
	MQTTImported          = "mqtt.imported"
	MQTTCleared           = "mqtt.cleared"
	MQTTKicked            = "mqtt.kicked"
	MQTTRefused           = "mqtt.refused" // somebody did not come in

	HookReceived          = "hook.received"
	HookRefused           = "hook.refused" // at most one a minute for each source
	HookFailed            = "hook.failed"
	HookDeliveryDead      = "hook.delivery_dead"
	HookOverflow          = "hook.overflow" // an endpoint's queue is full
	HookEndpointAdded     = "hook.endpoint_added"
	HookEndpointChanged   = "hook.endpoint_changed"
	HookEndpointRemoved   = "hook.endpoint_removed"
	HookEndpointDisabled  = "hook.endpoint_disabled"
	HookSourceAdded       = "hook.source_added"
	HookSourceChanged     = "hook.source_changed"
	HookSourceRemoved     = "hook.source_removed"
	HookTest              = "hook.test"     // sent to one endpoint, and not in the log
	HookReplayed          = "hook.replayed" // by a person, as are the next three
	HookDeliveryTried     = "hook.delivery_tried"
	HookDeliveryCancelled = "hook.delivery_cancelled"
	HookRequestReplayed   = "hook.request_replayed"
)

// Type is a type of event and the names of the members that its data may have.
type Type struct {
	Name string
	Data []string
}

// Types is the catalogue: every type that a hub writes or sends. docs/events.md says what each is for. Long because it is a table.
func Types() []Type {
	t := func(name, members string) Type { return Type{Name: name, Data: strings.Fields(members)} }
	return []Type{
		t(DeviceEnrolled, "name address status code_id"),
		t(DevicePending, "name address status code_id"),
		t(DeviceApproved, "name"),
		t(DeviceReplaced, "name address old_fingerprint new_fingerprint"),
		t(DeviceRemoved, "name tags"),
		t(DeviceChanged, "name"),
		t(DeviceOnline, "name address"),
		t(DeviceOffline, "name"),
		t(DeviceCloned, "name"),
		t(DeviceUpdated, "name version message"),
		t(DeviceNotUpdated, "name version message"),
		t(HostKeysPending, "name fingerprints"),
		t(HostKeysAccepted, "name fingerprints"),
		t(InstallStep, "code_id step address program device_name"),
		t(CodeCreated, "code_id name uses expires_at"),
		t(CodeRevoked, "code_id name"),
		t(RootPasswordSet, "name"),
		t(RootPasswordRevealed, "name reason"),
		t(LoginFailed, "email address"),
		t(LoginBegan, "address"),
		t(LoginEnded, "address"),
		t(LoginDenied, "address host"),
		t(TokenCreated, "token_id name scope expires_at by"),
		t(TokenRevoked, "token_id by"),
		t(UserCreated, "email role disabled by"),
		t(UserChanged, "email role disabled by password link"),
		t(UserRemoved, "email role disabled by"),
		t(GrantAdded, "grant_id by tag logins targets deny strict"),
		t(GrantRemoved, "grant_id by"),
		t(SSHKeyAdded, "name fingerprint"),
		t(SSHKeyRemoved, "name fingerprint"),
		t(CertificateSigned, "login serial"),
		t(SSHRefused, "name address reason count"),
		t(StreamOpened, "stream target via address shell_id login"),
		t(StreamClosed, "stream target via address shell_id login bytes_in bytes_out seconds cause"),
		t(StreamRefused, "target via address login reason count"),
		t(StreamSummed, "target via count bytes_in bytes_out seconds"),
		t(ShellOpened, "shell_id login"),
		t(ShellEnded, "shell_id login"),
		t(PortReserved, "port target"),
		t(PortReleased, "port target"),
		t(HubStarted, "version"),
		t(HubStopping, "version"),
		t(HubRestored, "version"),
		t(HubKeysChanged, "stage"),
		t(RetentionChanged, "events_days deliveries_days dead_days requests_days max_bytes max_messages by"),
		t(EventsDropped, "count"),
		t(MQTTCredentialAdded, "credential_id username kind by"),
		t(MQTTCredentialRemoved, "credential_id username kind by"),
		t(MQTTRuleAdded, "rule_id subject access filter by"),
		t(MQTTRuleRemoved, "rule_id subject access filter by"),
		t(MQTTImported, "credentials rules by"),
		t(MQTTCleared, "filter count by"),
		t(MQTTKicked, "client_id name forget by"),
		t(MQTTRefused, "name client_id address via reason count"),
		t(HookReceived, "source request_id topic hops"),
		t(HookRefused, "source reason count"),
		t(HookFailed, "source request_id error"),
		t(HookDeliveryDead, "endpoint delivery_id message_id error"),
		t(HookOverflow, "endpoint refused"),
		t(HookEndpointAdded, "endpoint name"),
		t(HookEndpointChanged, "endpoint name changed"),
		t(HookEndpointRemoved, "endpoint name"),
		t(HookEndpointDisabled, "endpoint reason"),
		t(HookSourceAdded, "source name"),
		t(HookSourceChanged, "source name changed"),
		t(HookSourceRemoved, "source name"),
		t(HookTest, "endpoint by message"),
		t(HookReplayed, "endpoint delivery_id message_id state count"),
		t(HookDeliveryTried, "endpoint delivery_id message_id"),
		t(HookDeliveryCancelled, "endpoint delivery_id message_id"),
		t(HookRequestReplayed, "source request_id"),
	}
}

// Match reports whether a type is one of patterns: types, or beginnings with a * behind. No pattern matches nothing.
func Match(patterns []string, kind string) bool {
	for _, p := range patterns {
		if begin, any := strings.CutSuffix(p, "*"); p == kind || (any && strings.HasPrefix(kind, begin)) {
			return true
		}
	}
	return false
}

// CheckPattern refuses a pattern that matches no type of the catalogue, and says which may be meant. Errors: invalid.
func CheckPattern(pattern string) error {
	var names, groups []string
	for _, t := range Types() {
		if Match([]string{pattern}, t.Name) {
			return nil
		}
		group, _, _ := strings.Cut(t.Name, ".")
		names, groups = append(names, t.Name), append(groups, group+".*")
	}
	if strings.HasSuffix(pattern, "*") {
		names = groups
	}
	shown := wire.Printable(pattern, 64)
	if near := wire.Nearest(shown, names); near != "" { // of shown, which is short
		return wire.Errorf(wire.Invalid, "There is no event type %s. Did you mean %s?", shown, near)
	}
	return wire.Errorf(wire.Invalid, "There is no event type %s. docs/events.md lists them.", shown)
}
