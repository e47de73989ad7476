package agent

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"testing"

	"github.com/aditdev/adit/internal/wire"
)

// A golden image holds nothing of its master's identity; each machine made from it becomes a device of its own at its
// first boot, with the master's policy, even if the hub is not there at first.
func TestGoldenImage(t *testing.T) {
	t.Parallel()
	h := newEnrolHub(t)
	p := newPlace(t)
	c, _, err := Enroll(t.Context(), p, h.enrolment())
	if err != nil {
		t.Fatal(err)
	}
	c.Policy.Root, c.Services.MQTT = false, "127.0.0.1:2883"
	if err := c.save(p.Config()); err != nil {
		t.Fatal(err)
	}
	if err := stripIdentity(p, c, testCode); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{p.Config(), p.Key(), p.HostKey(), p.Principals(), p.Instance()} {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is in the image", path)
		}
	}
	h.answerWith(func(w http.ResponseWriter) {
		h.answer = nil // for this once; the hub's lock is held
		problem(wire.Internal, "Starting.")(w)
	})
	if err := enrollAtFirstBoot(t.Context(), p, io.Discard); err != nil {
		t.Fatal(err)
	}
	got, err := LoadConfig(p.Config())
	if err != nil {
		t.Fatal(err)
	}
	requests := h.heard()
	if len(requests) != 3 || got.Policy.Root || got.Services.MQTT != c.Services.MQTT {
		t.Errorf("%d requests, %+v", len(requests), got)
	}
	if requests[0].PublicKey == requests[2].PublicKey {
		t.Error("the machine has the master's key")
	}
	if _, err := os.Stat(p.FirstBoot()); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the code is still on disk")
	}
	if err := enrollAtFirstBoot(t.Context(), p, io.Discard); err != nil {
		t.Errorf("the second boot: %v", err)
	}
}
