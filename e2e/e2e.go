// Package e2e proves the whole path with real parts: network namespaces as machines, the proxies and the sshd that
// Debian ships, stock OpenSSH clients, Chromium. `make test` runs it, as root; a plain `go test ./...` only says that
// it did not.
//
// The machine may be slow, and busy with other things. `eventually` has patience; `promised`, for times that the product
// promises, adds the time for which others had the processors. What must be fast is compared with the same beside nothing
// else, in the same run.
package e2e
