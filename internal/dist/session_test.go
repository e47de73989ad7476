package dist

import "syscall"

// newSession takes the terminal of whoever runs the tests away from the script: it must not ask there.
func newSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
