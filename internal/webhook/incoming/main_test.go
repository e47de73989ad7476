package incoming

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/aditdev/adit/internal/webhook/transform"
)

func TestMain(m *testing.M) {
	transform.WorkIfAsked()
	goleak.VerifyTestMain(m)
}
