package wire

// MethodHubKeys is the call by which a hub has a device pin other tunnel keys of it. Its params are HubKeys; its result is
// {}. Pinning what is pinned already changes nothing and is no failure.
const MethodHubKeys = "hub-keys"

// HubKeys are the keys that the device is to pin in place of those that it pins: one or two, as EncodeKey writes them. One
// of them must be pinned already.
type HubKeys struct {
	Keys []string `json:"keys"`
}
