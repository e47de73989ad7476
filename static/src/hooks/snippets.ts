// How a receiver tells that a request is this hub's: code to copy, with the endpoint's own secret or public key in it.
// Standard Webhooks 1.0.0: what is signed is ID.TIMESTAMP.BODY, v1 by HMAC-SHA256, v1a by Ed25519.

import type { HookEndpoint } from '../api';
import { privateHost } from './private';

export type Language = 'go' | 'js' | 'python' | 'openssl';

export const languages: [Language, string][] = [['js', 'JavaScript'], ['python', 'Python'], ['go', 'Go'], ['openssl', 'OpenSSL']];

export const files: Record<Language, string> = { go: 'main.go', js: 'server.mjs', python: 'verify.py', openssl: 'sh' };

/** The secret where it is known, which is only when it was just made; else where it has to be put. */
export function secretOf(endpoint: Pick<HookEndpoint, 'secrets'>, secret: string | undefined): string {
  return secret ?? `whsec_YOUR_SECRET_ENDING_IN_${endpoint.secrets.find(({ expires_at }) => !expires_at)?.hint ?? ''}`;
}

/** Where a receiver listens. */
interface Place {
  path: string;
  port: number;
}

/**
 * The path is the URL's, where it means the same to routers, which have signs of their own; and so is the port where nothing
 * stands before the receiver: on one's own network, without TLS.
 */
export function placeOf(url: string): Place {
  const at = URL.canParse(url) ? new URL(url) : undefined;
  return {
    path: at && at.pathname !== '/' && /^(\/[\w.~-]+)+\/?$/.test(at.pathname) ? at.pathname : '/hook',
    port: at?.protocol === 'http:' && privateHost(at.hostname) ? Number(at.port || 80) : 8000,
  };
}

export function snippetOf(language: Language, endpoint: Pick<HookEndpoint, 'signature' | 'public_key' | 'secrets' | 'url'>, secret?: string): string {
  const place = placeOf(endpoint.url);
  if (endpoint.signature === 'v1a') return asymmetric[language]((endpoint.public_key ?? '').replace(/^whpk_/, ''), place);
  return symmetric[language](secretOf(endpoint, secret), place);
}

const symmetric: Record<Language, (secret: string, place: Place) => string> = {
  js: (secret, { path, port }) => `// npm install standardwebhooks express
import express from 'express';
import { Webhook } from 'standardwebhooks';

const webhook = new Webhook('${secret}');

express()
  .post('${path}', express.raw({ type: () => true }), (request, response) => {
    try { // over the bytes as they came, JSON or not
      webhook.verify(request.body, request.headers, { jsonParse: false });
    } catch {
      return response.sendStatus(401);
    }
    response.sendStatus(204); // first answer, then work
    console.log(request.body.toString());
  })
  .listen(${port});
`,
  python: (secret) => `import base64, hashlib, hmac, time

KEY = base64.b64decode("${secret.replace(/^whsec_/, '')}")  # the secret without whsec_

def is_ours(headers, body: bytes) -> bool:
    """headers: with their names in small letters; body: the bytes as they came."""
    sent = headers.get("webhook-timestamp", "")
    if not sent.isdecimal() or abs(time.time() - int(sent)) > 300:
        return False
    signed = f"{headers.get('webhook-id')}.{sent}.".encode() + body
    digest = hmac.new(KEY, signed, hashlib.sha256).digest()
    want = b"v1," + base64.b64encode(digest)
    return any(hmac.compare_digest(want, each.encode()) for each in headers.get("webhook-signature", "").split())
`,
  go: (secret, { path, port }) => `package main

import (
	"io"
	"log"
	"net/http"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

func main() {
	webhook, err := standardwebhooks.NewWebhook("${secret}")
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("POST ${path}", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil || webhook.Verify(body, r.Header) != nil {
			http.Error(w, "not signed by the hub", http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusNoContent) // first answer, then work
		log.Printf("%s", body)
	})
	log.Fatal(http.ListenAndServe(":${port}", nil))
}
`,
  openssl: (secret) => `# ID, TIMESTAMP: the headers webhook-id and webhook-timestamp; the body is in the file body
# It prints what follows "v1," in webhook-signature.
{ printf '%s.%s.' "$ID" "$TIMESTAMP"; cat body; } | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$(printf %s '${secret.replace(/^whsec_/, '')}' | base64 -d | od -An -vtx1 | tr -d ' \\n')" -binary | base64
`,
};

const asymmetric: Record<Language, (key: string, place: Place) => string> = {
  js: (key, { path, port }) => `// npm install express
import express from 'express';
import { createPublicKey, verify } from 'node:crypto';

const x = Buffer.from('${key}', 'base64').toString('base64url'); // whpk_ without its front
const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });

function isOurs(headers, body) {
  const sent = headers['webhook-timestamp'];
  if (!(Math.abs(Date.now() / 1000 - Number(sent)) <= 300)) return false;
  const signed = Buffer.concat([Buffer.from(\`\${headers['webhook-id']}.\${sent}.\`), body]);
  return String(headers['webhook-signature']).split(' ').some((each) =>
    each.startsWith('v1a,') && verify(null, signed, key, Buffer.from(each.slice(4), 'base64')));
}

express()
  .post('${path}', express.raw({ type: () => true }), (request, response) => {
    if (!isOurs(request.headers, request.body)) return response.sendStatus(401);
    response.sendStatus(204); // first answer, then work
    console.log(request.body.toString());
  })
  .listen(${port});
`,
  python: (key) => `# pip install cryptography
import base64, time
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

KEY = Ed25519PublicKey.from_public_bytes(base64.b64decode("${key}"))  # whpk_ without its front

def is_ours(headers, body: bytes) -> bool:
    """headers: with their names in small letters; body: the bytes as they came."""
    sent = headers.get("webhook-timestamp", "")
    if not sent.isdecimal() or abs(time.time() - int(sent)) > 300:
        return False
    signed = f"{headers.get('webhook-id')}.{sent}.".encode() + body
    for each in headers.get("webhook-signature", "").split():
        try:
            if each.startswith("v1a,"):
                KEY.verify(base64.b64decode(each[4:]), signed)
                return True
        except (InvalidSignature, ValueError):
            pass
    return False
`,
  go: (key, { path, port }) => `package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"io"
	"log"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const publicKey = "${key}" // whpk_ without its front

func isOurs(h http.Header, body []byte) bool {
	key, _ := base64.StdEncoding.DecodeString(publicKey)
	sent, err := strconv.ParseInt(h.Get("webhook-timestamp"), 10, 64)
	if err != nil || math.Abs(time.Since(time.Unix(sent, 0)).Minutes()) > 5 {
		return false
	}
	signed := h.Get("webhook-id") + "." + h.Get("webhook-timestamp") + "." + string(body)
	for _, each := range strings.Fields(h.Get("webhook-signature")) {
		signature, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(each, "v1a,"))
		if err == nil && ed25519.Verify(key, []byte(signed), signature) {
			return true
		}
	}
	return false
}

func main() {
	http.HandleFunc("POST ${path}", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil || !isOurs(r.Header, body) {
			http.Error(w, "not signed by the hub", http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusNoContent) // first answer, then work
		log.Printf("%s", body)
	})
	log.Fatal(http.ListenAndServe(":${port}", nil))
}
`,
  openssl: (key) => `# ID, TIMESTAMP, SIGNATURE: the headers webhook-id, webhook-timestamp, and webhook-signature from behind "v1a,"; the body is in the file body
printf -- '-----BEGIN PUBLIC KEY-----\\nMCowBQYDK2VwAyEA%s\\n-----END PUBLIC KEY-----\\n' '${key}' > hub.pem
{ printf '%s.%s.' "$ID" "$TIMESTAMP"; cat body; } > signed; printf %s "$SIGNATURE" | base64 -d > signature
openssl pkeyutl -verify -rawin -pubin -inkey hub.pem -in signed -sigfile signature
`,
};
