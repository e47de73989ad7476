package agent

import (
	"encoding/json"
	"os"
)

// serviceRecord says what keeps the agent up, so that it can be shown and removed.
type serviceRecord struct {
	Manager string   `json:"manager"` // systemd, systemd-user, openrc, procd, sysvinit, launchd, supervisor
	Files   []string `json:"files"`   // written for it
}

func readService(p Paths) (serviceRecord, error) {
	var r serviceRecord
	data, err := os.ReadFile(p.Service())
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(data, &r)
}

func serviceName(p Paths) string {
	if r, err := readService(p); err == nil {
		return r.Manager
	}
	return "none"
}
