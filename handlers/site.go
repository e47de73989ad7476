package handlers

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/aditdev/adit/internal/wire"
)

// site serves the embedded pages. Nothing is read from disk, and a name that is not there is never answered by a page.
type site struct {
	files fs.FS
	tags  map[string]string // file → ETag, for those whose name has no hash
}

func newSite(files fs.FS) (*site, error) {
	s := &site{files: files, tags: map[string]string{}}
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(name, "assets/") || strings.HasSuffix(name, ".br") {
			return err
		}
		data, err := fs.ReadFile(files, name)
		sum := sha256.Sum256(data)
		s.tags[name] = `"` + hex.EncodeToString(sum[:12]) + `"`
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("site: %w", err)
	}
	return s, nil
}

// serveSite is every GET that no other door takes: the landing page, the app's page for all of its addresses, assets.
func (a *api) serveSite(c echo.Context) error {
	name := strings.TrimPrefix(path.Clean("/"+c.Request().URL.Path), "/")
	switch {
	case name == "":
		name = "index.html"
	case name == "app" || strings.HasPrefix(name, "app/"):
		name = "app.html"
	case strings.HasSuffix(name, ".html") || strings.HasSuffix(name, ".br"):
		return echo.ErrNotFound
	}
	return a.pages.serve(c, name)
}

func (s *site) serve(c echo.Context, name string) error {
	h := c.Response().Header()
	kind := mime.TypeByExtension(path.Ext(name))
	data, err := fs.ReadFile(s.files, name)
	if err != nil || kind == "" {
		return wire.Errorf(wire.NotFound, "There is nothing at this address.")
	}
	h.Set("Cache-Control", "no-cache")
	if strings.HasPrefix(name, "assets/") {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	h.Add("Vary", "Accept-Encoding")
	tag := s.tags[name]
	if packed, err := fs.ReadFile(s.files, name+".br"); err == nil && takesBrotli(c.Request()) {
		data, tag = packed, strings.TrimSuffix(tag, `"`)+`-br"`
		h.Set("Content-Encoding", "br")
	}
	if s.tags[name] != "" {
		h.Set("ETag", tag)
		if strings.Contains(c.Request().Header.Get("If-None-Match"), tag) {
			h.Del("Content-Encoding")
			return c.NoContent(http.StatusNotModified)
		}
	}
	return c.Blob(http.StatusOK, kind, data)
}

func takesBrotli(r *http.Request) bool {
	for word := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		if name, _, _ := strings.Cut(strings.TrimSpace(word), ";"); name == "br" {
			return true
		}
	}
	return false
}
