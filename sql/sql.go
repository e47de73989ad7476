// Package sql holds the hub's schema and queries as SQL files; internal/store runs the first and is generated from the
// second.
package sql

import (
	"embed"
	"io/fs"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations are the schema's steps in order, for goose.
func Migrations() fs.FS {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		panic(err) // the name is a constant of this file
	}
	return sub
}
