// Package api is the HTTP interface of a hub as seen by its callers: the client and the types generated from
// handlers/openapi.yaml. The agent and the CLI share it; the hub's own side is in handlers.
package api

//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.0 -config oapi-client.yaml ../../handlers/openapi.yaml
