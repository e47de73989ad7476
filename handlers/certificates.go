package handlers

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/devices"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/sshca"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// SignCertificate makes a ten-minute certificate for one login on one device. Who may use the login's rescue server may
// have it too: both servers trust the same CA.
func (a *api) SignCertificate(ctx context.Context, r SignCertificateRequestObject) (SignCertificateResponseObject, error) {
	p := principalOf(ctx)
	d, err := a.Devices.Find(ctx, p, r.Device)
	if err != nil {
		return nil, err
	}
	login := value(r.Body.Login)
	if login == "" {
		login = d.DefaultLogin
	}
	if login == "" {
		return nil, &wire.Error{Code: wire.Invalid, Message: "This device has no default login. Say as whom: LOGIN@" + d.Name,
			Fields: map[string]string{"login": "Name one; this device has no default."}}
	}
	key, err := sshca.ParseKey(r.Body.PublicKey)
	if err != nil {
		return nil, err
	}
	if err := a.mayLogIn(ctx, p.User.ID, p.Credential, d.ID, login); err != nil {
		return nil, err
	}
	return a.certificate(ctx, key, d, login)
}

// mayLogIn knows no certificate for whom the hub must lead in itself: it would open the device's server past the hub.
func (a *api) mayLogIn(ctx context.Context, user, credential, device, login string) error {
	err := a.Gate.Check(ctx, access.Use{User: user, Credential: credential, Device: device, Target: "ssh", Login: login})
	if wire.CodeOf(err) == wire.Forbidden && !errors.Is(err, auth.ErrHeld) &&
		a.Gate.Check(ctx, access.Use{User: user, Credential: credential, Device: device, Target: "rescue", Login: login}) == nil {
		return nil
	}
	return err
}

func (a *api) certificate(ctx context.Context, key ssh.PublicKey, d store.Device, login string) (SignCertificateResponseObject, error) {
	p := principalOf(ctx)
	cert, err := a.CA.Sign(sshca.Request{Key: key, User: p.User.ID, Device: d.ID, Login: login,
		Clock: a.Now().Add(devices.ClockOffset(d, a.Tunnel.Presence(d.ID))), Forwards: a.Gate.Policy().Forwards(p.User.ID, d.ID, login, a.Now())})
	if err != nil {
		return nil, err
	}
	hosts, err := a.Devices.KnownHosts(ctx, p, d.ID)
	if err != nil {
		return nil, err
	}
	a.note(ctx, events.Event{Type: events.CertificateSigned, Device: d.ID, User: p.User.ID, Data: events.Data{
		"login": login, "serial": strconv.FormatUint(cert.Serial, 10)}})
	return SignCertificate200JSONResponse{
		Certificate: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(cert))), Login: login, DeviceID: d.ID, DeviceName: d.Name,
		KnownHosts: hosts, ValidBefore: time.Unix(int64(cert.ValidBefore), 0).UTC(),
	}, nil
}
