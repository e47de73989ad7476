package wire

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

func TestHoldFramesRoundTrip(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := errors.Join(
		WriteHold(&b, HoldInputFrame, []byte("ls\n")),
		WriteHoldOutput(&b, 1<<40, []byte("out")),
		WriteHold(&b, HoldResizeFrame, AppendHoldSize(nil, ShellSize{Cols: 132, Rows: 43})),
		WriteHold(&b, HoldHangupFrame, nil),
	); err != nil {
		t.Fatal(err)
	}
	if kind, p, err := ReadHold(&b); kind != HoldInputFrame || string(p) != "ls\n" || err != nil {
		t.Errorf("input: 0x%02x %q %v", kind, p, err)
	}
	kind, p, err := ReadHold(&b)
	first, rest, wrong := ParseHoldNumber(p)
	if kind != HoldOutputFrame || err != nil || wrong != nil || first != 1<<40 || string(rest) != "out" {
		t.Errorf("output: 0x%02x %d %q %v %v", kind, first, rest, err, wrong)
	}
	_, p, _ = ReadHold(&b)
	if size, err := ParseHoldSize(p); err != nil || size != (ShellSize{Cols: 132, Rows: 43}) {
		t.Errorf("size: %v %v", size, err)
	}
	if kind, p, err := ReadHold(&b); kind != HoldHangupFrame || len(p) != 0 || err != nil {
		t.Errorf("hangup: 0x%02x %q %v", kind, p, err)
	}
	if _, _, err := ReadHold(&b); err != io.EOF {
		t.Errorf("end: %v", err)
	}
}

// FuzzHold reads frames as a device or a stranger on its socket may send them.
func FuzzHold(f *testing.F) {
	f.Add([]byte{HoldInputFrame, 0, 0, 0, 1, 'x'})
	f.Add([]byte{HoldOutputFrame, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1, 'x'})
	f.Add([]byte{HoldResizeFrame, 0, 0, 0, 4, 0, 80, 0, 24})
	f.Add([]byte{HoldInputFrame, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		for {
			before := r.Len()
			_, payload, err := ReadHold(r)
			if err != nil {
				return
			}
			if len(payload) > HoldFrameMax || len(payload) > before {
				t.Fatalf("%d bytes out of %d", len(payload), before)
			}
			if n, rest, err := ParseHoldNumber(payload); err == nil && (n < 0 || len(rest) != len(payload)-8) {
				t.Fatalf("number %d, rest of %d", n, len(rest))
			}
			if size, err := ParseHoldSize(payload); err == nil && !size.Valid() {
				t.Fatalf("size %v", size)
			}
		}
	})
}

// FuzzShell reads messages as a browser, or a page that pretends to be one, may send them.
func FuzzShell(f *testing.F) {
	f.Add(AppendShellAck(nil, 7))
	f.Add(AppendShellOutput(nil, 7, []byte("x")))
	f.Fuzz(func(t *testing.T, message []byte) {
		if next, err := ParseShellAck(message); err == nil && (next < 0 || !bytes.Equal(AppendShellAck(nil, next), message)) {
			t.Fatalf("ack %d of %x", next, message)
		}
		first, data, err := ParseShellOutput(message)
		if err == nil && !bytes.Equal(AppendShellOutput(nil, first, data), message) {
			t.Fatalf("output %d %x of %x", first, data, message)
		}
	})
}
