package devices

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/hubkeys"
	"github.com/aditdev/adit/internal/sshsig"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// Candidate is a machine that wants to be a device. All of it but the code is a stranger's text.
type Candidate struct {
	Code        string
	PublicKey   string // as wire.ParseKey reads it
	Hostname    string
	Facts       json.RawMessage // schema Facts of the API
	SSHHostKeys []string
	Via         string // agent or openssh; empty means agent
	Short       bool   // the code came inside the script
	Address     string
	Program     string // User-Agent
}

// Enrolled is the hub's signed answer.
type Enrolled struct {
	wire.Enrolled
	Signature    string // base64url of the tunnel key's signature over the Transcript
	SSHSignature string // base64 of its SSH signature over the SSHText; for those who come by openssh
}

// Enroll turns a machine into a device. One use of the code is claimed by one UPDATE, so that of many machines with one
// use left exactly one wins. The same code with the same key within the code's life gives the same answer again.
func (r *Registry) Enroll(ctx context.Context, c Candidate) (Enrolled, error) {
	key, err := wire.ParseKey(c.PublicKey)
	if err != nil {
		return Enrolled{}, err
	}
	c.PublicKey = wire.EncodeKey(key)
	if err := c.clean(); err != nil {
		return Enrolled{}, err
	}
	hostKeys, err := parseHostKeys(c.SSHHostKeys)
	if err != nil {
		return Enrolled{}, err
	}
	e := enrolment{Registry: r, ctx: ctx, c: c, hostKeys: hostKeys, now: r.millis(), ring: r.Keys()}
	if err := r.Gate.Change(ctx, e.run); err != nil {
		return Enrolled{}, err
	}
	if e.replaced != nil {
		r.Drop(e.device.ID, wire.Errorf(wire.Conflict, "Another machine took this device's place."))
	}
	return e.answer(key)
}

// How a device comes.
const (
	ViaAgent   = "agent"
	ViaOpenSSH = "openssh"
)

func (c *Candidate) clean() error {
	if c.Via == "" {
		c.Via = ViaAgent
	}
	if c.Via != ViaAgent && c.Via != ViaOpenSSH {
		return wire.Errorf(wire.Invalid, "A device comes by agent or openssh.")
	}
	c.Hostname = wire.Printable(c.Hostname, 253)
	c.Program = wire.Printable(c.Program, 100)
	facts, err := CleanFacts(c.Facts)
	c.Facts = facts
	return err
}

// enrolment is one attempt, inside its transaction.
type enrolment struct {
	*Registry
	ctx      context.Context
	c        Candidate
	hostKeys []hostKey
	now      int64
	ring     hubkeys.Ring // the keys that the machine is told of, and noted to pin

	q        *store.Queries
	code     store.InstallCode
	device   store.Device
	replaced *store.Device
}

func (e *enrolment) run(q *store.Queries) error {
	e.q = q
	again, err := e.again()
	if again || err != nil {
		return err
	}
	e.code, err = q.ClaimInstallCode(e.ctx, store.ClaimInstallCodeParams{CodeHash: auth.Hash(e.c.Code), Now: e.now})
	if errors.Is(err, store.ErrNotFound) {
		return e.whyNot()
	}
	if err != nil {
		return fmt.Errorf("claim install code: %w", err)
	}
	if _, err := q.DeviceByKey(e.ctx, e.c.PublicKey); !errors.Is(err, store.ErrNotFound) {
		return errors.Join(err, wire.Errorf(wire.Conflict, "This key is enrolled already, by another code. "+
			"To enrol this machine anew: take it out (adit agent uninstall, or the install script's --uninstall), then the line again."))
	}
	for _, step := range []func() error{e.place, e.pinHostKeys, e.promise, e.record} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// again finds the device that this code made of this key before.
func (e *enrolment) again() (bool, error) {
	code, err := e.q.FindInstallCode(e.ctx, auth.Hash(e.c.Code))
	if errors.Is(err, store.ErrNotFound) || (err == nil && (code.ExpiresAt <= e.now || code.RevokedAt != nil)) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("find install code: %w", err)
	}
	made, err := e.q.FindEnrolment(e.ctx, store.FindEnrolmentParams{CodeID: code.ID, PublicKey: e.c.PublicKey})
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("find enrolment: %w", err)
	}
	e.code = code
	e.device, err = e.q.GetDevice(e.ctx, made.DeviceID)
	return true, err
}

// whyNot says why a code could not be claimed. A code has 128 bits: who holds it may know what became of it.
func (e *enrolment) whyNot() error {
	code, err := e.q.FindInstallCode(e.ctx, auth.Hash(e.c.Code))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return wire.Errorf(wire.NotFound, "This hub knows no such install code. Copy the whole line from the page \"Add device\".")
	case err != nil:
		return fmt.Errorf("find install code: %w", err)
	case code.RevokedAt != nil:
		return wire.Errorf(wire.Forbidden, "This install code was revoked. Make a new one on the page \"Add device\".")
	case code.ExpiresAt <= e.now:
		return wire.Errorf(wire.Forbidden, "This install code has expired. Make a new one on the page \"Add device\".")
	}
	return wire.Errorf(wire.Conflict, "This install code was used already. Each works for as many machines as it was made for; make a new one.")
}

// place makes the device, or puts the machine into the place of the one that the code replaces.
func (e *enrolment) place() (err error) {
	status := "active"
	if e.code.Approval || (e.code.ApprovalShort && (e.c.Short || e.code.InURL)) {
		status = "pending"
	}
	if e.code.Replaces != nil {
		return e.replace(*e.code.Replaces, status)
	}
	name, err := e.freeName()
	if err != nil {
		return err
	}
	e.device, err = e.q.CreateDevice(e.ctx, store.CreateDeviceParams{
		ID: store.NewID("dev"), Name: name, PublicKey: e.c.PublicKey, Status: status, Via: e.c.Via,
		Facts: string(e.c.Facts), SSHPort: sshPort(e.c.Facts), Address: e.c.Address, DefaultLogin: loginOf(e.c.Facts), CreatedAt: e.now,
	})
	if err != nil {
		return fmt.Errorf("make device: %w", err)
	}
	return setTags(e.ctx, e.q, e.device.ID, store.List(e.code.Tags))
}

func (e *enrolment) replace(id, status string) error {
	old, err := e.q.GetDevice(e.ctx, id)
	if err != nil {
		return fmt.Errorf("find device to replace: %w", err)
	}
	if status == "pending" { // whoever reads the code in a log must not put the machine out that is there
		return wire.Errorf(wire.Forbidden, "This install code takes the place of %s, and it was in a URL. Use the long line of the page \"Add device\"; nothing was changed.", old.Name)
	}
	e.replaced = &old
	e.device, err = e.q.ReplaceDevice(e.ctx, store.ReplaceDeviceParams{ID: id, PublicKey: e.c.PublicKey, Status: status,
		Via: e.c.Via, Facts: string(e.c.Facts), SSHPort: sshPort(e.c.Facts), Address: e.c.Address})
	if err != nil {
		return fmt.Errorf("replace device: %w", err)
	}
	if err := errors.Join(e.q.DropHostKeys(e.ctx, id), e.q.DropRootPasswords(e.ctx, id)); err != nil {
		return fmt.Errorf("replace device: %w", err)
	}
	return e.Events.Write(e.ctx, e.q, events.Event{Type: events.DeviceReplaced, Device: id, User: e.code.CreatedBy,
		Data: events.Data{"name": old.Name, "address": e.c.Address,
			"old_fingerprint": fingerprintOf(old.PublicKey), "new_fingerprint": fingerprintOf(e.c.PublicKey)}})
}

// freeName is the code's name, else the hostname's; a number follows where it is taken.
func (e *enrolment) freeName() (string, error) {
	base := e.code.Name
	if base == "" {
		base = wire.DeviceNameFrom(e.c.Hostname)
	}
	name := base
	for n := 2; ; n++ {
		taken, err := e.q.DeviceNameTaken(e.ctx, name)
		if err != nil || !taken {
			return name, err
		}
		name = fmt.Sprintf("%s-%d", base[:min(len(base), 57)], n)
	}
}

func (e *enrolment) pinHostKeys() error {
	for _, k := range e.hostKeys {
		err := e.q.PutHostKey(e.ctx, store.PutHostKeyParams{DeviceID: e.device.ID, HostKey: k.Line, Fingerprint: k.Fingerprint,
			Pending: false, CreatedAt: e.now})
		if err != nil {
			return fmt.Errorf("pin host key: %w", err)
		}
	}
	return nil
}

// promise keeps what the machine is told, or will be: which keys of the hub it pins, and that it gets a password of root.
func (e *enrolment) promise() error {
	_, keys := e.ring.Enrolling(store.Time(e.code.CreatedAt))
	err := e.q.SetDeviceHubKeys(e.ctx, store.SetDeviceHubKeysParams{ID: e.device.ID, PublicKey: e.device.PublicKey, HubKeys: strings.Join(keys, " ")})
	if err != nil {
		return fmt.Errorf("note the hub's keys: %w", err)
	}
	due := e.code.RootPassword && e.c.Via == ViaAgent
	if err := e.q.SetRootPasswordDue(e.ctx, store.SetRootPasswordDueParams{ID: e.device.ID, Due: due}); err != nil {
		return fmt.Errorf("note that a password is due: %w", err)
	}
	return nil
}

func (e *enrolment) record() error {
	err := e.q.CreateEnrolment(e.ctx, store.CreateEnrolmentParams{CodeID: e.code.ID, PublicKey: e.c.PublicKey,
		DeviceID: e.device.ID, CreatedAt: e.now})
	if err != nil {
		return fmt.Errorf("record enrolment: %w", err)
	}
	kind, step := events.DeviceEnrolled, "enrolled"
	if e.device.Status == "pending" {
		kind, step = events.DevicePending, "pending"
	}
	err = e.Events.Write(e.ctx, e.q, events.Event{Type: kind, Device: e.device.ID, User: e.code.CreatedBy, Data: events.Data{
		"name": e.device.Name, "address": e.c.Address, "status": e.device.Status, "code_id": e.code.ID}})
	if err != nil {
		return err
	}
	return e.addStep(e.ctx, e.q, e.code.ID, Step{Step: step, Address: e.c.Address, Program: e.c.Program,
		Device: e.device.ID, DeviceName: e.device.Name})
}

// answer is what the device may rely on, signed by the key that its code's line names.
func (e *enrolment) answer(key ed25519.PublicKey) (Enrolled, error) {
	name, err := e.HubName(e.ctx)
	if err != nil {
		return Enrolled{}, err
	}
	signer, keys := e.ring.Enrolling(store.Time(e.code.CreatedAt))
	d := e.device
	answer := Enrolled{Enrolled: wire.Enrolled{PublicKey: key, DeviceID: d.ID, Name: d.Name, Status: d.Status, HubName: name,
		HubKeys: keys, UserCA: e.UserCA, Allow: store.List(e.code.Allow)}}
	for _, u := range e.URLs {
		answer.HubURLs = append(answer.HubURLs, u.String())
	}
	answer.Signature = base64.RawURLEncoding.EncodeToString(ed25519.Sign(signer, answer.Transcript()))
	if e.c.Via == ViaOpenSSH {
		answer.GateKey = e.GateKey
		answer.SSHSignature, err = signSSH(signer, answer.SSHText())
	}
	return answer, err
}

// signSSH signs for machines that have ssh-keygen and nothing of ours.
func signSSH(key ed25519.PrivateKey, text string) (string, error) {
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return "", fmt.Errorf("sign the enrolment: %w", err)
	}
	signature, err := sshsig.Sign(signer, wire.NamespaceEnroll, []byte(text))
	if err != nil {
		return "", fmt.Errorf("sign the enrolment: %w", err)
	}
	return base64.StdEncoding.EncodeToString(signature), nil
}

const hubNameSetting = "hub_name"

// HubName is what the owner called the hub; its host where they did not.
func (r *Registry) HubName(ctx context.Context) (string, error) {
	name, err := r.Store.Read().GetSetting(ctx, hubNameSetting)
	if errors.Is(err, store.ErrNotFound) || (err == nil && name == "") {
		return r.URLs[0].Hostname(), nil
	}
	return name, err
}

// SetHubName names the hub.
func (r *Registry) SetHubName(ctx context.Context, name string) error {
	return r.Store.Write(ctx, func(q *store.Queries) error {
		return q.PutSetting(ctx, store.PutSettingParams{Name: hubNameSetting, Value: wire.Printable(name, 60)})
	})
}

func fingerprintOf(publicKey string) string {
	key, err := wire.DecodeKey(publicKey)
	if err != nil {
		return ""
	}
	return wire.Fingerprint(key)
}

// Fingerprint is that of the device's tunnel key.
func Fingerprint(d store.Device) string { return fingerprintOf(d.PublicKey) }

// loginOf is the account of a user's install, which is then the only one there is to enter.
func loginOf(facts json.RawMessage) string {
	var f struct {
		Login   string `json:"login"`
		Install string `json:"install"`
	}
	if json.Unmarshal(facts, &f) != nil || !slices.Contains([]string{"user", "none"}, f.Install) || !wire.ValidLogin(f.Login) {
		return ""
	}
	return f.Login
}
