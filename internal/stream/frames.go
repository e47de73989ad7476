package stream

// FrameConn is a WebSocket that carries control and data frames.
type FrameConn struct{}
