//go:build linux

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const hubName = "hub.adit.test"

// An authority is a CA that only this test trusts, and the hub's certificate under it.
type authority struct {
	dir  string // ca.pem, hub.pem, hub.key
	pem  string
	pool *x509.CertPool
	spki string // of the hub's key, as Chromium wants it
}

func newAuthority(t testing.TB, dir string) authority {
	t.Helper()
	caKey, hubKey := newKey(t), newKey(t)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "e2e root"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: hubName}, DNSNames: []string{hubName},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
	}
	caDER := sign(t, root, root, caKey, caKey)
	leafDER := sign(t, leaf, root, hubKey, caKey)
	keyDER, err := x509.MarshalPKCS8PrivateKey(hubKey)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(hubKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	a := authority{dir: dir, pem: encode("CERTIFICATE", caDER), pool: x509.NewCertPool()}
	a.pool.AppendCertsFromPEM([]byte(a.pem))
	sum := sha256.Sum256(public)
	a.spki = base64.StdEncoding.EncodeToString(sum[:])
	writeFile(t, filepath.Join(dir, "ca.pem"), a.pem)
	writeFile(t, filepath.Join(dir, "hub.pem"), encode("CERTIFICATE", leafDER))
	writeFile(t, filepath.Join(dir, "hub.key"), encode("PRIVATE KEY", keyDER))
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, cert, parent *x509.Certificate, key, by *ecdsa.PrivateKey) []byte {
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// recipe is the block of docs/deploy.md in the given language, made ready for this test: other name, other certificate.
func recipe(t testing.TB, language string, replace ...string) string {
	t.Helper()
	page, err := os.ReadFile("../docs/deploy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, ok := strings.Cut(string(page), "```"+language+"\n")
	if !ok {
		t.Fatalf("docs/deploy.md has no %s recipe", language)
	}
	block, _, _ = strings.Cut(block, "```")
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(block, replace[i]) {
			t.Fatalf("the %s recipe of docs/deploy.md has no %q", language, replace[i])
		}
	}
	return strings.NewReplacer(replace...).Replace(block)
}

// startNginx runs Debian's nginx with the recipe of docs/deploy.md and, around it, what Debian's nginx.conf says.
func startNginx(m *machine, a authority) {
	site := recipe(m.t, "nginx", "adit.example.com", hubName,
		"/etc/letsencrypt/live/adit.example.com/fullchain.pem", filepath.Join(a.dir, "hub.pem"),
		"/etc/letsencrypt/live/adit.example.com/privkey.pem", filepath.Join(a.dir, "hub.key"))
	conf := filepath.Join(a.dir, "nginx.conf")
	writeFile(m.t, conf, `user root; worker_processes 1; pid /run/nginx-worker.pid; error_log `+a.dir+`/nginx.log;
daemon off;
events { worker_connections 768; }
http {
	access_log off; sendfile on; tcp_nopush on; types_hash_max_size 2048; gzip on;
	client_body_temp_path /run/nginx-body; proxy_temp_path /run/nginx-proxy;
	fastcgi_temp_path /run/nginx-f; uwsgi_temp_path /run/nginx-u; scgi_temp_path /run/nginx-s;
`+site+`}
`)
	m.daemon("proxy", filepath.Join(a.dir, "proxy.log"), nil, "nginx", "-c", conf)
}

// startCaddy runs a Caddy with the recipe of docs/deploy.md and an idle timeout of 60 s.
func startCaddy(m *machine, a authority, program string) {
	site := recipe(m.t, "caddyfile", "adit.example.com {", hubName+" {\n\ttls "+a.dir+"/hub.pem "+a.dir+"/hub.key")
	conf := filepath.Join(a.dir, "Caddyfile")
	writeFile(m.t, conf, "{\n\tadmin off\n\tskip_install_trust\n\tservers {\n\t\ttimeouts {\n\t\t\tidle 60s\n\t\t}\n\t}\n}\n"+site)
	m.daemon("proxy", filepath.Join(a.dir, "proxy.log"), []string{"XDG_DATA_HOME=/run/caddy", "XDG_CONFIG_HOME=/run/caddy"},
		program, "run", "--config", conf, "--adapter", "caddyfile")
}

func writeFile(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
