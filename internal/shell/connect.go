package shell

import (
	"context"
	"errors"

	"github.com/aditdev/adit/internal/sshlogin"
	"github.com/aditdev/adit/internal/wire"
)

// connect reaches the terminal on the device: a new one for a shell that is opening, else the one it had.
func (sh *Shell) connect(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	defer context.AfterFunc(sh.closing, cancel)()
	r := sh.View().Record
	device, err := sh.o.Device(ctx, r.Device)
	if err != nil {
		return nil, sshlogin.OrFinal(err, wire.NotFound)
	}
	conn, err := sh.o.Dial(ctx, r)
	if err != nil {
		return nil, sshlogin.OrFinal(err, wire.NotFound, wire.Forbidden)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	client, err := sshlogin.Client(ctx, conn, sshlogin.Options{User: r.User, Device: r.Device, Login: r.Login,
		HostKeys: device.HostKeys, Certify: sh.o.Certify})
	if err != nil {
		_ = conn.Close()
		return nil, timedOut(ctx, err)
	}
	l, err := sh.join(client, r, device)
	if err != nil {
		_ = client.Close()
		return nil, timedOut(ctx, err)
	}
	return l, nil
}

// timedOut says so where the attempt was cut short by its time limit.
func timedOut(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return wire.Wrap(err, wire.Offline, "The device took longer than %v to answer.", joinTimeout)
	}
	return err
}
