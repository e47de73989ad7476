package stream

import (
	"testing"

	"github.com/aditdev/adit/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }
