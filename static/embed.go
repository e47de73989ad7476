// Package static holds the site: TypeScript and Svelte under src, built by Vite into dist and embedded from there.
// Built files are never committed; README.md has the layout that a door serves.
package static

import (
	"embed"
	"io/fs"
)

//go:embed all:dist
var dist embed.FS

//go:embed placeholder
var placeholder embed.FS

// Files is the built site: index.html (landing), app.html (every path under /app/), favicon.svg and assets/ with
// hashed names, each text file with a .br beside it. In a tree where the site was not built it holds only the two
// HTML pages, which say so.
func Files() fs.FS {
	if _, err := fs.Stat(dist, "dist/app.html"); err != nil {
		return sub(placeholder, "placeholder")
	}
	return sub(dist, "dist")
}

// Built tells whether Files is the site and not the placeholder.
func Built() bool {
	_, err := fs.Stat(dist, "dist/app.html")
	return err == nil
}

func sub(files embed.FS, dir string) fs.FS {
	tree, err := fs.Sub(files, dir)
	if err != nil {
		panic(err) // dir is a constant that the embed directive above names
	}
	return tree
}
