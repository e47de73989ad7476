package sshgate

import (
	"errors"
	"testing"

	"golang.org/x/crypto/ssh"
)

// A client tries each key that it has: what is wrong with all of them is told once.
func TestCauseIsToldOnce(t *testing.T) {
	t.Parallel()
	strict := &ssh.BannerError{Err: errors.New("no grant"), Message: "no grant"}
	err := &ssh.ServerAuthError{Errors: []error{strict, errors.New("no key"), errors.New("no key"), strict}}
	if got := cause(err).Error(); got != "no grant\nno key" {
		t.Errorf("%q", got)
	}
	if lost := errors.New("the connection was lost"); cause(lost) != lost {
		t.Error(cause(lost))
	}
}
