package ports

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/aditdev/adit/internal/access"
	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/events"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// View is a reservation as it is shown.
type View struct {
	store.TCPPortsRow
	Address   string // HOST:PORT
	Listening bool
	Cause     error // why it does not listen
}

// List gives the reserved ports in order.
func (p *Ports) List(ctx context.Context) ([]View, error) {
	rows, err := p.Store.Read().TCPPorts(ctx)
	if err != nil {
		return nil, fmt.Errorf("reserved ports: %w", err)
	}
	views := make([]View, len(rows))
	for i, row := range rows {
		views[i] = p.view(row)
	}
	return views, nil
}

func (p *Ports) view(row store.TCPPortsRow) View {
	v := View{TCPPortsRow: row, Address: p.address(row.TCPPort.Port)}
	p.mu.Lock()
	served := p.served[row.TCPPort.Port]
	p.mu.Unlock()
	if served != nil && served.row == row.TCPPort {
		v.Listening, v.Cause = served.state()
	}
	return v
}

// address is where a port is listened on; the address alone says nothing where there is no range.
func (p *Ports) address(number int64) string {
	host := ""
	if p.Range.Len() > 0 {
		host = p.Range.Address.String()
	}
	return net.JoinHostPort(host, strconv.FormatInt(number, 10))
}

// Reserve binds a port to a target of a device; number 0 is the lowest free one of the range. What comes through it is
// bound to what p may reach. It fails with Conflict where there is no such port to give, and with what auth.Gate.Check
// fails with.
func (p *Ports) Reserve(ctx context.Context, by *auth.Principal, d store.Device, target wire.Target, number int) (View, error) {
	if target == wire.TargetRescue {
		return View{}, wire.Errorf(wire.Invalid, "The rescue server gets no port: it is for when ssh is broken, by `adit shell`.")
	}
	use := access.Use{User: by.User.ID, Credential: by.Credential, Device: d.ID, Target: string(target)}
	if err := p.Gate.Check(ctx, use); err != nil {
		return View{}, err
	}
	p.reserving.Lock()
	defer p.reserving.Unlock()
	number, err := p.choose(ctx, d, target, number)
	if err != nil {
		return View{}, err
	}
	var row store.TCPPort
	err = p.Gate.Change(ctx, func(q *store.Queries) error {
		row, err = q.AddTCPPort(ctx, store.AddTCPPortParams{Port: int64(number), DeviceID: d.ID, Target: string(target),
			UserID: by.User.ID, CreatedAt: store.Millis(p.Now())})
		if err != nil {
			return fmt.Errorf("reserve port: %w", err)
		}
		return p.Events.Write(ctx, q, note(events.PortReserved, by, row))
	})
	if err != nil {
		return View{}, err
	}
	if err := p.serveNow(ctx); err != nil {
		return View{}, err
	}
	return p.view(store.TCPPortsRow{TCPPort: row, DeviceName: d.Name, UserHandle: by.User.Handle}), nil
}

func note(kind string, by *auth.Principal, row store.TCPPort) events.Event {
	return events.Event{Type: kind, Device: row.DeviceID, User: by.User.ID,
		Data: events.Data{"port": row.Port, "target": row.Target}}
}

// choose finds the port to reserve, or says why there is none.
func (p *Ports) choose(ctx context.Context, d store.Device, target wire.Target, wanted int) (int, error) {
	if p.Range.Len() == 0 {
		return 0, wire.Errorf(wire.Conflict, "This hub gives no TCP ports. ADIT_TCP_PORTS names a range for it, as 20000-20999; docs/settings.md.")
	}
	if wanted != 0 && !p.Range.Has(wanted) {
		return 0, wire.Errorf(wire.Conflict, "Port %d lies outside of ADIT_TCP_PORTS (%s).", wanted, p.Range)
	}
	rows, err := p.Store.Read().TCPPorts(ctx)
	if err != nil {
		return 0, fmt.Errorf("reserved ports: %w", err)
	}
	reserved := make(map[int]store.TCPPortsRow, len(rows))
	for _, row := range rows {
		if row.TCPPort.DeviceID == d.ID && row.TCPPort.Target == string(target) {
			return 0, wire.Errorf(wire.Conflict, "%s of %s has port %d already.", target, d.Name, row.TCPPort.Port)
		}
		reserved[int(row.TCPPort.Port)] = row
	}
	if row, taken := reserved[wanted]; taken {
		return 0, wire.Errorf(wire.Conflict, "Port %d is reserved for %s of %s.", wanted, row.TCPPort.Target, row.DeviceName)
	}
	if wanted != 0 {
		return wanted, nil
	}
	return p.lowest(reserved)
}

// lowest is the lowest port of the range that is neither reserved nor another program's.
func (p *Ports) lowest(reserved map[int]store.TCPPortsRow) (int, error) {
	within := 0
	for number := p.Range.First; number <= p.Range.Last; number++ {
		if _, taken := reserved[number]; taken {
			within++
			continue
		}
		if p.free(number) {
			return number, nil
		}
	}
	return 0, wire.Errorf(wire.Conflict, "No port is left: %d of the %d in ADIT_TCP_PORTS (%s) are reserved, and other programs have the rest. "+
		"Give one back, or widen that setting.", within, p.Range.Len(), p.Range)
}

// free reports whether a port can be listened on.
func (p *Ports) free(number int) bool {
	listener, err := net.Listen("tcp", p.address(int64(number)))
	if err != nil {
		return false
	}
	return listener.Close() == nil
}

// Release gives a port back: it is no longer listened on when this returns, and what runs through it ends at once. It
// fails with NotFound.
func (p *Ports) Release(ctx context.Context, by *auth.Principal, number int) error {
	err := p.Gate.Change(ctx, func(q *store.Queries) error {
		row, err := q.RemoveTCPPort(ctx, int64(number))
		if errors.Is(err, store.ErrNotFound) {
			return wire.Errorf(wire.NotFound, "Port %d is not reserved.", number)
		}
		if err != nil {
			return fmt.Errorf("give port back: %w", err)
		}
		return p.Events.Write(ctx, q, note(events.PortReleased, by, row))
	})
	if err != nil {
		return err
	}
	return p.serveNow(ctx)
}
