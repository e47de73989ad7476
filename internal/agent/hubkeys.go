package agent

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"github.com/aditdev/adit/internal/wire"
)

// pinHubKeys answers the call wire.MethodHubKeys: the keys go into agent.toml before the tunnel goes by them. A list that
// shares none with what is pinned is refused, since a hub that does not hold them would be lost for good.
func (d *device) pinHubKeys(params json.RawMessage) error {
	var want wire.HubKeys
	if err := json.Unmarshal(params, &want); err != nil {
		return wire.Wrap(err, wire.Invalid, "The keys are not of the protocol's form.")
	}
	keys, err := decodeKeys(want.Keys)
	if err != nil {
		return err
	}
	if len(keys) == 0 || len(keys) > 2 {
		return wire.Errorf(wire.Invalid, "A device pins one key of its hub, or two.")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	c, err := LoadConfig(d.paths.Config())
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(want.Keys, func(k string) bool { return slices.Contains(c.HubKeys, k) }) {
		return wire.Errorf(wire.Forbidden, "None of these keys is pinned here. The device keeps those that it has.")
	}
	if !slices.Equal(c.HubKeys, want.Keys) {
		if err := rewriteHubKeys(d.paths.Config(), want.Keys); err != nil {
			return err
		}
		d.log.Info("the hub's keys changed", "keys", len(keys))
	}
	d.pin(keys)
	return nil
}

func decodeKeys(list []string) ([]ed25519.PublicKey, error) {
	keys := make([]ed25519.PublicKey, len(list))
	for i, s := range list {
		k, err := wire.DecodeKey(s)
		if err != nil {
			return nil, err
		}
		keys[i] = k
	}
	return keys, nil
}

// rewriteHubKeys replaces one value in agent.toml. The rest stays as its owner wrote it.
func rewriteHubKeys(path string, keys []string) error {
	return rewriteSetting(path, "hub_keys", tomlList(keys))
}

// rewriteSetting replaces the value of a key that is set. What would not be read back is not written.
func rewriteSetting(path, key, value string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the agent's settings: %w", err)
	}
	text := lineEnds(string(data))
	settings, err := parseTOML(text)
	if err != nil {
		return wire.Errorf(wire.Invalid, "%s: %s.", path, err)
	}
	i := slices.IndexFunc(settings, func(s setting) bool { return s.key == key })
	if i < 0 {
		return wire.Errorf(wire.Invalid, "%s does not set %s.", path, key)
	}
	text = text[:settings[i].from] + value + text[settings[i].to:]
	if _, err := parseConfig(path, []byte(text)); err != nil {
		return err
	}
	return writeFile(path, []byte(text), 0o600)
}
