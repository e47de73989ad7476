package agent

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/aditdev/adit/internal/api"
)

// trustRecord says how sshd here came to trust the hub's user CA, so that it can be shown and taken back.
type trustRecord struct {
	Trust  api.SSHFactsTrust `json:"trust"`          // sshd_config, authorized_keys or none
	Config string            `json:"config"`         // the sshd_config that was meant
	DropIn string            `json:"drop_in"`        // the file added for it
	Keys   []string          `json:"keys,omitempty"` // authorized_keys files with a line of ours
	Note   string            `json:"note,omitempty"` // why not better than this
}

// usesSSHD reports whether people are meant to arrive at sshd, also while it does not run.
func (r trustRecord) usesSSHD() bool {
	return r.Trust == api.SSHFactsTrustSshdConfig || r.Trust == api.SSHFactsTrustAuthorizedKeys
}

// readTrust fails with fs.ErrNotExist where nothing was set up.
func readTrust(path string) (trustRecord, error) {
	var r trustRecord
	data, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("read %s: %w", path, err)
	}
	return r, nil
}

func (r trustRecord) save(path string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(path, append(data, '\n'), 0o644)
}
