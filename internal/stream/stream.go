// Package stream carries one byte stream over one WebSocket: acknowledged, half-closable, and able to be taken up
// again on another WebSocket after the first one died. Agent, hub and CLI share it.
//
//	dial.go    a WebSocket to a hub, through whatever proxy stands between
//	frames.go  FrameConn: control and data frames, and writes that never block their reader
//	spill.go   the writer below it: straight through, queueing only what would block
//	end.go     End: the state machine, a net.Conn; send.go and receive.go are its two directions
//	join.go    an End and a conn, carried on in both directions
//	device.go  DialDevice: a stream to a device's target through a hub's door
package stream
