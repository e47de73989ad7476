// Package leaktest fails a package's tests where they leave goroutines behind.
package leaktest

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long what is over may take to end. goleak itself waits for less than half a second, in which a busy machine may
// not come to it.
const patience = time.Minute

// Main runs the tests and ends the process, with a failure where a goroutine stays.
func Main(m *testing.M) { goleak.VerifyTestMain(patient{m}) }

type patient struct{ *testing.M }

func (p patient) Run() int {
	code := p.M.Run()
	for deadline := time.Now().Add(patience); code == 0 && goleak.Find() != nil && time.Now().Before(deadline); {
	}
	return code
}
