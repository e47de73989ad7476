package handlers

import (
	"context"
	"strconv"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/wire"
	"github.com/aditdev/adit/tunnelhub"
)

// ListStreams lists the open streams in the caller's view, oldest first.
func (a *api) ListStreams(ctx context.Context, r ListStreamsRequestObject) (ListStreamsResponseObject, error) {
	p, device, user := principalOf(ctx), "", ""
	if ref := value(r.Params.Device); ref != "" {
		d, err := a.Devices.Find(ctx, p, ref)
		if err != nil {
			return nil, err
		}
		device = d.ID
	}
	if ref := value(r.Params.User); ref != "" {
		u, err := a.Accounts.FindUser(ctx, ref)
		if err == nil && u.ID != p.User.ID && !p.Role().Manages() { // as if there were none
			err = wire.Errorf(wire.NotFound, "There is no user %s.", wire.Printable(ref, 254))
		}
		if err != nil {
			return nil, err
		}
		user = u.ID
	}
	out, names := ListStreams200JSONResponse{}, streamNames{a, map[string]string{}}
	for _, i := range a.Tunnel.Streams() {
		if seesStream(p, i) && (device == "" || i.Device == device) && (user == "" || i.User == user) {
			out = append(out, names.stream(ctx, i))
		}
	}
	return out, nil
}

// CloseStream ends a stream at both ends, which are told by whom. To end somebody else's is to manage, and takes a token of
// scope all.
func (a *api) CloseStream(ctx context.Context, r CloseStreamRequestObject) (CloseStreamResponseObject, error) {
	p := principalOf(ctx)
	number, err := strconv.ParseUint(r.StreamID, 10, 64)
	if err != nil {
		return nil, errNoStream
	}
	for _, i := range a.Tunnel.Streams() {
		if i.ID == number && seesStream(p, i) && (i.User == p.User.ID || p.Scope.Holds(access.ScopeAll)) {
			return CloseStream204Response{}, a.endStream(ctx, i, wire.Errorf(wire.Forbidden, "This stream was ended by %s.", p.User.Handle))
		}
	}
	return nil, errNoStream
}

// endStream ends a stream, and a browser's shell with it, which would come back otherwise.
func (a *api) endStream(ctx context.Context, i tunnelhub.Info, cause error) error {
	if i.Shell != "" {
		if err := a.Shells.Close(ctx, i.User, i.Shell); wire.CodeOf(err) != wire.NotFound {
			return err
		}
	}
	if !a.Tunnel.CloseStream(i.ID, cause) {
		return errNoStream
	}
	return nil
}

var errNoStream = wire.Errorf(wire.NotFound, "There is no open stream of yours with this number. It may have ended just now.")

// seesStream: managers see every stream, others those that they opened. Viewers open none.
func seesStream(p *auth.Principal, i tunnelhub.Info) bool {
	return p.Role().Manages() || (i.User == p.User.ID && p.Role() != access.Viewer)
}

// streamNames finds the name of each device and user once.
type streamNames struct {
	*api
	known map[string]string // by id
}

func (n streamNames) of(id string, find func() (string, error)) string {
	if _, ok := n.known[id]; !ok {
		n.known[id] = id // what is gone by now has its id alone
		if name, err := find(); err == nil {
			n.known[id] = name
		}
	}
	return n.known[id]
}

func (n streamNames) stream(ctx context.Context, i tunnelhub.Info) Stream {
	return Stream{
		ID: strconv.FormatUint(i.ID, 10), DeviceID: i.Device, UserID: i.User, Target: Target(i.Target), Via: i.Via,
		Address: some(i.From), OpenedAt: i.Opened.UTC(), BytesIn: i.BytesIn, BytesOut: i.BytesOut,
		DeviceName: n.of(i.Device, func() (string, error) {
			d, err := n.Store.Read().GetDevice(ctx, i.Device)
			return d.Name, err
		}),
		UserHandle: n.of(i.User, func() (string, error) {
			u, err := n.Store.Read().GetUser(ctx, i.User)
			return u.Handle, err
		}),
	}
}
