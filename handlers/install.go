package handlers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/aditdev/adit/internal/dist"
	"github.com/aditdev/adit/internal/wire"
)

// InstallSteps learns how far the lines that people paste have come. Calls must be quick and never fail the download.
type InstallSteps interface {
	// ScriptRead: the script was fetched. codeHash is the hex SHA-256 of the code inside it, or "" for the script that
	// is the same for everybody. With a code, that code has been in a URL.
	ScriptRead(ctx context.Context, codeHash, address, program string)
	// BinaryRead: the script of the code with this hash fetched the program.
	BinaryRead(ctx context.Context, codeHash, address, program string)
}

// Install serves what a new machine fetches: the script and the program. None of it needs to know who asks.
type Install struct {
	Dist  *dist.Dist
	Hub   dist.Hub // without its key
	Steps InstallSteps
	// Key is the fingerprint of the hub's key that belongs into the script of the code with this hex SHA-256, "" for the
	// script that is the same for everybody.
	Key func(ctx context.Context, codeHash string) string
	// Form is that of the ProxyCommand in the script for machines without our agent; nil means the patient one.
	Form func(context.Context) (dist.Form, error)
}

const scriptType = "text/x-shellscript; charset=utf-8"

// script is the install script for machines that come by via; empty means agent.
func (i *Install) script(ctx context.Context, via EnrollRequestVia, code string) (text string, err error) {
	hub := i.Hub
	if hub.Key = i.Key(ctx, ""); code != "" {
		hub.Key = i.Key(ctx, sha256Hex(code))
	}
	switch via {
	case "", EnrollRequestViaAgent:
		text, err = i.Dist.Script(hub, code)
	case EnrollRequestViaOpenssh:
		if i.Form != nil {
			if hub.Form, err = i.Form(ctx); err != nil {
				return "", fmt.Errorf("find the form of ssh's way in: %w", err)
			}
		}
		text, err = dist.OpenSSHScript(hub, code)
	default:
		return "", wire.Errorf(wire.Invalid, "There is no such install script: via is agent, or openssh for a machine without our agent.")
	}
	if err != nil {
		return "", fmt.Errorf("make the install script: %w", err)
	}
	return text, nil
}

// Script is GET /i: the same for everybody, so that its hash can stand on the page.
func (i *Install) Script(c echo.Context) error {
	script, err := i.script(c.Request().Context(), EnrollRequestVia(c.QueryParam("via")), "")
	if err != nil {
		return err
	}
	i.Steps.ScriptRead(c.Request().Context(), "", c.RealIP(), program(c))
	c.Response().Header().Set("Cache-Control", "public, max-age=60")
	return serveTagged(c, sha256Hex(script), func() error { return sendScript(c, script) })
}

// ScriptWithCode is GET /i/{code}: the script with the code inside. Reading it consumes nothing, and it says nothing
// about whether the code is good.
func (i *Install) ScriptWithCode(c echo.Context) error {
	code := c.Param("code")
	if !dist.ValidCode(code) {
		return wire.Errorf(wire.NotFound, "This is no install code. The page \"Add device\" shows one; it has 26 letters and digits.")
	}
	script, err := i.script(c.Request().Context(), EnrollRequestVia(c.QueryParam("via")), code)
	if err != nil {
		return err
	}
	i.Steps.ScriptRead(c.Request().Context(), sha256Hex(code), c.RealIP(), program(c))
	h := c.Response().Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	return sendScript(c, script)
}

// sendScript names the length: who reads this by openssl alone takes no other form of body.
func sendScript(c echo.Context, script string) error {
	c.Response().Header().Set(echo.HeaderContentLength, strconv.Itoa(len(script)))
	return c.Blob(http.StatusOK, scriptType, []byte(script))
}

// Download is GET /dl/{file}. The script names itself by the hash of its code (query `for`), which opens nothing.
func (i *Install) Download(c echo.Context) error {
	name := c.Param("file")
	file, err := i.Dist.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return absent(name)
	}
	if err != nil {
		return fmt.Errorf("open a download: %w", err)
	}
	if codeHash := c.QueryParam("for"); isSHA256(codeHash) && c.Request().Method == http.MethodGet {
		i.Steps.BinaryRead(c.Request().Context(), codeHash, c.RealIP(), program(c))
	}
	h := c.Response().Header()
	h.Set(echo.HeaderContentType, "application/gzip")
	h.Set("Cache-Control", "public, max-age=60")
	h.Set("ETag", `"`+file.SHA256+`"`)
	http.ServeContent(c.Response(), c.Request(), "", file.Modified, file)
	return nil
}

// absent names the way to get a program that this hub was built without. Only a name of the right form is repeated.
func absent(name string) error {
	target := strings.TrimSuffix(strings.TrimPrefix(name, "adit-"), ".gz")
	if name != "adit-"+target+".gz" || strings.Trim(target, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || len(target) > 40 {
		return wire.Errorf(wire.NotFound, "There is no such file. Downloads are named adit-OS-ARCH.gz, as adit-linux-arm64.gz.")
	}
	return wire.Errorf(wire.NotFound,
		"This hub was built without adit for %s. Its operator adds it by this, and starts the hub again: make internal/dist/files/%s bin/adit-hub", target, name)
}

// serveTagged answers 304 to who has the body with this hash already.
func serveTagged(c echo.Context, hash string, serve func() error) error {
	tag := `"` + hash + `"`
	c.Response().Header().Set("ETag", tag)
	if strings.Contains(c.Request().Header.Get("If-None-Match"), tag) {
		return c.NoContent(http.StatusNotModified)
	}
	return serve()
}

func program(c echo.Context) string { return wire.Printable(c.Request().UserAgent(), 80) }

func isSHA256(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil && len(s) == hex.EncodedLen(sha256.Size)
}

func sha256Hex(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
