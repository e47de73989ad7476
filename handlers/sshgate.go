package handlers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/dist"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/sshca"
	"github.com/aditdev/adit/internal/store"
)

// GetSSHGate says how stock OpenSSH reaches the hub.
func (a *api) GetSSHGate(ctx context.Context, _ GetSSHGateRequestObject) (GetSSHGateResponseObject, error) {
	user, hub := principalOf(ctx).User, a.Config.URLs[0]
	form, err := a.sshForm(ctx)
	if err != nil {
		return nil, err
	}
	return GetSSHGate200JSONResponse{
		Host: hub.Hostname(), Handle: user.Handle, HostKey: keyLine(a.GateKey), Fingerprint: ssh.FingerprintSHA256(a.GateKey),
		KnownHosts: a.gateKnownHosts(), HeldHostKey: keyLine(a.HeldKey), Form: SSHGateForm(form), Address: some(a.sshAddress()),
		ProxyCommands: ProxyCommands{Upgrade: dist.ProxyCommand(hub, dist.FormUpgrade), Patient: dist.ProxyCommand(hub, dist.FormPatient),
			Raw: dist.ProxyCommand(hub, dist.FormRaw)},
		Challenge: auth.KeyChallenge(user.ID, hub.Host), Namespace: auth.KeyNamespace,
	}, nil
}

// sshForm is the ProxyCommand that `adit-hub doctor` found to work; the patient one works everywhere but where no upgrade
// passes at all.
func (a *api) sshForm(ctx context.Context) (dist.Form, error) {
	if dist.ProxyCommand(a.Config.URLs[0], dist.FormPatient) == "" {
		return "none", nil
	}
	form, err := a.Store.Read().GetSetting(ctx, SSHFormSetting)
	if errors.Is(err, store.ErrNotFound) {
		return dist.FormPatient, nil
	}
	return dist.Form(form), err
}

// SSHFormSetting is where `adit-hub doctor` keeps the form that it found to work.
const SSHFormSetting = "ssh_form"

// sshAddress is where ssh goes without a ProxyCommand; empty where ADIT_SSH_ADDR is not set.
func (a *api) sshAddress() string {
	if a.Config.SSHListen == "" {
		return ""
	}
	_, port, _ := net.SplitHostPort(a.Config.SSHListen)
	return net.JoinHostPort(a.Config.URLs[0].Hostname(), port)
}

// keyLine is the type of a key, and the key.
func keyLine(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// gateKnownHosts names the gate's key under every name of the hub, and under the address of ADIT_SSH_ADDR.
func (a *api) gateKnownHosts() string {
	var text strings.Builder
	for _, u := range a.Config.URLs {
		names := u.Hostname()
		if address := a.sshAddress(); address != "" {
			_, port, _ := net.SplitHostPort(address)
			if port != "22" {
				names += fmt.Sprintf(",[%s]:%s", u.Hostname(), port)
			}
		}
		fmt.Fprintf(&text, "%s %s\n", names, keyLine(a.GateKey))
	}
	return text.String()
}

// sshKnownHosts is GET /ssh/known_hosts.
func (a *api) sshKnownHosts(c echo.Context) error { return c.String(http.StatusOK, a.gateKnownHosts()) }

// SignGateCertificate makes a certificate that opens the gate under the caller's handle.
func (a *api) SignGateCertificate(ctx context.Context, r SignGateCertificateRequestObject) (SignGateCertificateResponseObject, error) {
	p := principalOf(ctx)
	key, err := sshca.ParseKey(r.Body.PublicKey)
	if err != nil {
		return nil, err
	}
	cert, err := a.CA.SignGate(key, p.User.ID, p.Credential, a.Now())
	if err != nil {
		return nil, err
	}
	return SignGateCertificate200JSONResponse{Certificate: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(cert))),
		Handle: p.User.Handle, ValidBefore: time.Unix(int64(cert.ValidBefore), 0).UTC()}, nil
}

// ListSSHKeys lists the own keys.
func (a *api) ListSSHKeys(ctx context.Context, _ ListSSHKeysRequestObject) (ListSSHKeysResponseObject, error) {
	rows, err := a.Accounts.SSHKeys(ctx, principalOf(ctx))
	if err != nil {
		return nil, fmt.Errorf("list ssh keys: %w", err)
	}
	out := make(ListSSHKeys200JSONResponse, 0, len(rows))
	for _, row := range rows {
		out = append(out, apiSSHKey(row))
	}
	return out, nil
}

// AddSSHKey puts a key into the own profile.
func (a *api) AddSSHKey(ctx context.Context, r AddSSHKeyRequestObject) (AddSSHKeyResponseObject, error) {
	p := principalOf(ctx)
	row, err := a.Accounts.AddSSHKey(ctx, p, auth.NewSSHKey{Line: r.Body.Key, Name: value(r.Body.Name), Signature: r.Body.Signature,
		Host: a.Config.URLs[0].Host})
	if err != nil {
		return nil, err
	}
	a.noteSSHKey(ctx, events.SSHKeyAdded, row)
	return AddSSHKey201JSONResponse(apiSSHKey(row)), nil
}

// RemoveSSHKey takes a key out of the own profile.
func (a *api) RemoveSSHKey(ctx context.Context, r RemoveSSHKeyRequestObject) (RemoveSSHKeyResponseObject, error) {
	row, err := a.Accounts.RemoveSSHKey(ctx, principalOf(ctx), r.KeyID)
	if err != nil {
		return nil, err
	}
	a.noteSSHKey(ctx, events.SSHKeyRemoved, row)
	return RemoveSSHKey204Response{}, nil
}

func (a *api) noteSSHKey(ctx context.Context, kind string, row store.SSHKey) {
	a.note(ctx, events.Event{Type: kind, User: row.UserID, Data: events.Data{"name": row.Name, "fingerprint": row.Fingerprint}})
}

func apiSSHKey(row store.SSHKey) SSHKey {
	return SSHKey{ID: row.ID, Name: row.Name, Key: row.PublicKey, Fingerprint: row.Fingerprint, Options: row.Options,
		CreatedAt: store.Time(row.CreatedAt), ExpiresAt: store.TimeOf(row.ExpiresAt), LastUsedAt: store.TimeOf(row.LastUsedAt)}
}
