package incoming

import (
	"testing"

	"github.com/aditdev/adit/internal/leaktest"
	"github.com/aditdev/adit/internal/webhook/transform"
)

func TestMain(m *testing.M) {
	transform.WorkIfAsked()
	leaktest.Main(m)
}
