package tunnelhub

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/aditdev/adit/internal/stream"
	"github.com/aditdev/adit/internal/wire"
)

// RelayBytes passes the bytes of one stream between a device and a door whose peer knows no control frames, until the
// stream, either side or ctx ended; ctx's cause is then what both are told. The hub is the stream's end: it holds at
// most a window for a slow peer. It closes door. Errors are *wire.Error, of which the door's peer has been told.
func (h *Hub) RelayBytes(ctx context.Context, r Request, door *stream.FrameConn) error {
	h.pings.add(door, wire.PingEvery)
	defer h.pings.remove(door)
	conn, err := h.Dial(ctx, r)
	if err != nil {
		door.Close(err)
		return err
	}
	stop := context.AfterFunc(ctx, func() { conn.Reset(context.Cause(ctx)) })
	defer stop()
	var up sync.WaitGroup
	up.Go(func() { upload(conn, door) })
	err = download(door, conn)
	door.Close(err)
	_ = conn.Close()
	up.Wait()
	return err
}

// download passes on what the device says.
func download(door *stream.FrameConn, conn net.Conn) error {
	buf := make([]byte, wire.MaxFrame)
	for {
		n, err := conn.Read(buf)
		if n > 0 {
			if err := door.WriteData(buf[:n]); err != nil {
				return wire.Wrap(err, wire.Offline, "The connection was lost.")
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// upload passes on what the door's peer says, until its WebSocket ends. A WebSocket has no half-close: its end is the
// end of both directions.
func upload(conn stream.Conn, door *stream.FrameConn) {
	buf := make([]byte, wire.MaxFrame)
	for {
		data, payload, err := door.Next(context.Background())
		if err == nil && !data {
			err = wire.Errorf(wire.Invalid, "This door takes bytes only.")
		}
		var p []byte
		if err == nil {
			p, err = door.Payload(payload, buf)
		}
		if err == nil {
			err = uploadWithin(conn, p, door)
		}
		if err == nil {
			continue
		}
		if stream.CloseCause(err) == nil {
			_ = conn.Close() // in good order: what was sent still arrives
		} else {
			conn.Reset(stream.CloseCause(err))
		}
		return
	}
}

// uploadWithin writes p to a device that may not take it for long. Meanwhile nobody reads the door, so its pongs are
// not heard: a peer that waits is not a silent one.
func uploadWithin(conn stream.Conn, p []byte, door *stream.FrameConn) error {
	for {
		_ = conn.SetWriteDeadline(time.Now().Add(wire.DeadAfter / 4))
		n, err := conn.Write(p)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		p = p[n:]
		door.Hear()
	}
}
