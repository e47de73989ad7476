package handlers

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/labstack/echo/v4"

	"github.com/aditdev/adit/internal/dist"
	"github.com/aditdev/adit/internal/wire"
)

const installCode = "abcdefghijklmnopqrstuvwx23"

// seenSteps writes down what it was told.
type seenSteps struct{ steps []string }

func (s *seenSteps) ScriptRead(_ context.Context, codeHash, _, program string) {
	s.steps = append(s.steps, "script "+codeHash+" "+program)
}

func (s *seenSteps) BinaryRead(_ context.Context, codeHash, _, program string) {
	s.steps = append(s.steps, "binary "+codeHash+" "+program)
}

// oldCode was made before the hub's key was replaced.
var oldCode = strings.Repeat("b", 26)

// installDoors are the three doors alone; routes_test has them in their place behind the middleware.
func installDoors(t *testing.T) (get func(path string, header ...string) *httptest.ResponseRecorder, seen *seenSteps, install *Install) {
	t.Helper()
	seen = &seenSteps{}
	install = &Install{
		Dist: dist.From(fstest.MapFS{"adit-linux-amd64.gz": &fstest.MapFile{Data: []byte("program")}}),
		Hub:  dist.Hub{URL: "https://hub.example", Key: "SHA256:key"},
		Key: func(_ context.Context, codeHash string) string {
			if codeHash == sha256Hex(oldCode) {
				return "SHA256:oldkey"
			}
			return "SHA256:key"
		},
		Steps: seen,
	}
	e := echo.New()
	e.HTTPErrorHandler = func(err error, c echo.Context) {
		_ = c.String(wire.CodeOf(err).HTTPStatus(), wire.MessageOf(err))
	}
	e.GET("/i", install.Script)
	e.GET("/i/:code", install.ScriptWithCode)
	e.GET("/dl/:file", install.Download)
	e.HEAD("/dl/:file", install.Download)
	get = func(path string, header ...string) *httptest.ResponseRecorder {
		t.Helper()
		method := http.MethodGet
		r := httptest.NewRequest(method, path, nil)
		r.Header.Set("User-Agent", "curl/8\x1b")
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		e.ServeHTTP(w, r)
		return w
	}
	return get, seen, install
}

func TestScriptForEverybody(t *testing.T) {
	t.Parallel()
	get, seen, install := installDoors(t)
	w := get("/i")
	want, err := install.Dist.Script(install.Hub, "")
	if err != nil {
		t.Fatal(err)
	}
	if w.Code != http.StatusOK || w.Body.String() != want || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/x-shellscript") {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	sum, err := install.Dist.ScriptSHA256(install.Hub)
	if err != nil || w.Header().Get("ETag") != `"`+sum+`"` || sha256Hex(w.Body.String()) != sum {
		t.Errorf("tag %s, hash on the page %s, %v", w.Header().Get("ETag"), sum, err)
	}
	if again := get("/i", "If-None-Match", w.Header().Get("ETag")); again.Code != http.StatusNotModified || again.Body.Len() != 0 {
		t.Errorf("with its tag: %d", again.Code)
	}
	if seen.steps[0] != "script  curl/8" {
		t.Errorf("told %q", seen.steps)
	}
}

// The script for machines without our agent is another text with another hash, in the same places and with the same steps.
func TestScriptByOpenSSH(t *testing.T) {
	t.Parallel()
	get, seen, install := installDoors(t)
	want, err := dist.OpenSSHScript(install.Hub, "")
	if err != nil {
		t.Fatal(err)
	}
	w := get("/i?via=openssh")
	if w.Code != http.StatusOK || w.Body.String() != want || w.Header().Get("ETag") != `"`+sha256Hex(want)+`"` ||
		w.Header().Get("Content-Length") != strconv.Itoa(len(want)) || w.Header().Get("Cache-Control") != "public, max-age=60" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if w := get("/i?via=agent"); w.Body.String() != get("/i").Body.String() || w.Body.String() == want {
		t.Error("via=agent is not the script for our agent")
	}
	w = get("/i/" + installCode + "?via=openssh")
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "adit_code=${ADIT_CODE:-'"+installCode+"'}") || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("with a code: %d %v", w.Code, w.Header())
	}
	install.Form = func(context.Context) (dist.Form, error) { return dist.FormRaw, nil }
	if w := get("/i?via=openssh"); w.Body.String() == want || !strings.Contains(w.Body.String(), "GET /ssh?raw ") {
		t.Error("it does not take the form that passes what stands before the hub")
	}
	if w := get("/i?via=carrier-pigeon"); w.Code != http.StatusBadRequest {
		t.Errorf("by something else: %d", w.Code)
	}
	if diff := cmp.Diff([]string{"script  curl/8", "script  curl/8", "script  curl/8", "script " + sha256Hex(installCode) + " curl/8", "script  curl/8"}, seen.steps); diff != "" {
		t.Error(diff)
	}
}

func TestScriptWithCode(t *testing.T) {
	t.Parallel()
	get, seen, _ := installDoors(t)
	w := get("/i/" + installCode)
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "'"+installCode+"'") || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if diff := cmp.Diff([]string{"script " + sha256Hex(installCode) + " curl/8"}, seen.steps); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"x", installCode + "a", strings.ToUpper(installCode), "%27;touch%20x;%27aaaaaaaaaaaaa", strings.Repeat("0", 26)} {
		if w := get("/i/" + bad); w.Code != http.StatusNotFound || strings.Contains(w.Body.String(), bad) {
			t.Errorf("%s: %d %s", bad, w.Code, w.Body)
		}
	}
	if w := get("/i/" + oldCode); !strings.Contains(w.Body.String(), "SHA256:oldkey") {
		t.Error("the script of a code that was made before the hub's key was replaced has another fingerprint than its enrolment")
	}
}

// Whoever reads the install script over and over is sent away, and nobody else is.
func TestScriptsAreLimited(t *testing.T) {
	t.Parallel()
	at := time.Now() // no read comes back by time
	r := newRig(t, func(o *Options) { o.Now = func() time.Time { return at } })
	answered := func(from, path string) (n int) {
		for ; n < 600; n++ {
			req, w := httptest.NewRequest(http.MethodGet, path, nil), httptest.NewRecorder()
			req.RemoteAddr = from
			if r.echo.ServeHTTP(w, req); w.Code != http.StatusOK {
				return n
			}
		}
		return n
	}
	if n := answered("192.0.2.1:1000", "/i"); n < 300 || n == 600 {
		t.Errorf("%d reads were answered", n)
	}
	if n := answered("192.0.2.1:1001", "/i/"+installCode); n > 20 {
		t.Errorf("%d more, with a code", n)
	}
	if n := answered("192.0.2.2:1000", "/i/"+installCode); n < 300 || n == 600 {
		t.Errorf("%d from another network", n)
	}
}

func TestDownload(t *testing.T) {
	t.Parallel()
	get, seen, _ := installDoors(t)
	hash := sha256Hex(installCode)
	w := get("/dl/adit-linux-amd64.gz?for=" + hash)
	if w.Code != http.StatusOK || w.Body.String() != "program" || w.Header().Get("Content-Type") != "application/gzip" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	_ = get("/dl/adit-linux-amd64.gz?for=nonsense")
	_ = get("/dl/adit-linux-amd64.gz")
	if diff := cmp.Diff([]string{"binary " + hash + " curl/8"}, seen.steps); diff != "" {
		t.Error(diff)
	}
	if part := get("/dl/adit-linux-amd64.gz", "Range", "bytes=3-"); part.Code != http.StatusPartialContent || part.Body.String() != "gram" {
		t.Errorf("a part: %d %s", part.Code, part.Body)
	}
	for path, says := range map[string]string{
		"/dl/adit-linux-riscv64.gz":   "starts the hub again: make internal/dist/files/adit-linux-riscv64.gz bin/adit-hub",
		"/dl/passwd":                  "There is no such file",
		"/dl/adit-%3Cscript%3E.gz":    "There is no such file",
		"/dl/adit-..%2F..%2Fx.gz":     "There is no such file",
		"/dl/adit-linux-amd64.gz.bak": "There is no such file",
	} {
		if w := get(path); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), says) || strings.Contains(w.Body.String(), "<") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}
