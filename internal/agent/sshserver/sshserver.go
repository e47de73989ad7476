// Package sshserver is the SSH server that the agent has built in, for devices without an sshd that knows certificates
// and for rescue. It speaks only on connections that it is handed, and never listens.
package sshserver
