package handlers

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/devices"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// ListInstallCodes lists the codes that still work.
func (a *api) ListInstallCodes(ctx context.Context, _ ListInstallCodesRequestObject) (ListInstallCodesResponseObject, error) {
	rows, err := a.Devices.Codes(ctx, principalOf(ctx))
	if err != nil {
		return nil, err
	}
	out := make(ListInstallCodes200JSONResponse, 0, len(rows))
	for _, row := range rows {
		code, err := a.apiCode(ctx, row)
		if err != nil {
			return nil, err
		}
		out = append(out, code)
	}
	return out, nil
}

// CreateInstallCode makes a code and the lines to paste.
func (a *api) CreateInstallCode(ctx context.Context, r CreateInstallCodeRequestObject) (CreateInstallCodeResponseObject, error) {
	b := r.Body
	req := devices.CodeRequest{Name: value(b.Name), Tags: value(b.Tags), Uses: value(b.Uses), Approval: b.Approval,
		Life: time.Duration(value(b.ExpiresIn)) * time.Second, Allow: value(b.Allow), Replaces: value(b.Replaces), RootPassword: value(b.RootPassword)}
	if (b.Uses != nil && *b.Uses < 1) || (b.ExpiresIn != nil && *b.ExpiresIn < 1) {
		return nil, wire.Errorf(wire.Invalid, "A code works at least once, and for at least a minute.")
	}
	made, err := a.Devices.CreateCode(ctx, principalOf(ctx), req)
	if err != nil {
		return nil, err
	}
	hashes, err := a.scriptHashes(ctx)
	if err != nil {
		return nil, err
	}
	lines := a.Devices.Lines(made.Code, made.Row, hashes)
	return CreateInstallCode201JSONResponse{ID: made.Row.ID, Code: made.Code, Command: lines.Command, CommandWget: lines.Wget,
		CommandShort: lines.Short, CommandCheck: lines.Check, CommandOpenssh: lines.OpenSSH, CommandOpenssl: lines.OpenSSL, ApprovalShort: made.Row.ApprovalShort,
		ExpiresAt: store.Time(made.Row.ExpiresAt), Uses: int(made.Row.Uses)}, nil
}

// GetInstallCode is one code with the steps seen so far.
func (a *api) GetInstallCode(ctx context.Context, r GetInstallCodeRequestObject) (GetInstallCodeResponseObject, error) {
	row, err := a.Devices.Code(ctx, principalOf(ctx), r.CodeID)
	if err != nil {
		return nil, err
	}
	out, err := a.apiCode(ctx, row)
	return GetInstallCode200JSONResponse(out), err
}

// RevokeInstallCode ends a code early.
func (a *api) RevokeInstallCode(ctx context.Context, r RevokeInstallCodeRequestObject) (RevokeInstallCodeResponseObject, error) {
	return RevokeInstallCode204Response{}, a.Devices.RevokeCode(ctx, principalOf(ctx), r.CodeID)
}

func (a *api) apiCode(ctx context.Context, row store.InstallCode) (InstallCode, error) {
	steps, err := a.Store.Read().InstallSteps(ctx, row.ID)
	if err != nil {
		return InstallCode{}, fmt.Errorf("install steps: %w", err)
	}
	out := InstallCode{ID: row.ID, Name: some(row.Name), Tags: store.List(row.Tags), Uses: int(row.Uses), Used: int(row.Used),
		Approval: row.Approval, CreatedAt: store.Time(row.CreatedAt), ExpiresAt: store.Time(row.ExpiresAt),
		Steps: make([]InstallStep, 0, len(steps))}
	for _, s := range steps {
		out.Steps = append(out.Steps, InstallStep{Step: InstallStepStep(s.InstallStep.Step), At: store.Time(s.InstallStep.At),
			Address: some(s.InstallStep.Address), Program: some(s.InstallStep.Program), DeviceID: some(s.InstallStep.DeviceID),
			DeviceName: s.DeviceName})
	}
	return out, nil
}

// Enroll turns a machine into a device.
func (a *api) Enroll(ctx context.Context, r EnrollRequestObject) (EnrollResponseObject, error) {
	where, b := callerOf(ctx).where, r.Body
	if !a.enrolls.Allow(auth.Network(where.Address)) {
		return nil, wire.Errorf(wire.RateLimited, "Too many enrolments from this address. The agent tries again by itself.")
	}
	facts, err := json.Marshal(b.Facts)
	if err != nil {
		return nil, fmt.Errorf("facts: %w", err)
	}
	e, err := a.Devices.Enroll(ctx, devices.Candidate{Code: b.Code, PublicKey: b.PublicKey, Hostname: b.Hostname, Facts: facts,
		SSHHostKeys: b.SSHHostKeys, Via: string(value(b.Via)), Short: value(b.Short), Address: where.Address, Program: where.Program})
	if err != nil {
		return nil, err
	}
	return Enroll200JSONResponse{DeviceID: e.DeviceID, Name: e.Name, Status: DeviceStatus(e.Status), HubName: e.HubName,
		HubUrls: e.HubURLs, HubKeys: e.HubKeys, UserCa: e.UserCA, Allow: nonNil(e.Allow), Signature: e.Signature,
		SSHGateKey: some(e.GateKey), SSHSignature: some(e.SSHSignature)}, nil
}
