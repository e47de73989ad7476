// Package e2e proves the whole path with real parts: network namespaces as machines, the proxies and the sshd that
// Debian ships, stock OpenSSH clients, Chromium. `make test` runs it, as root; a plain `go test ./...` only says that
// it did not.
package e2e
