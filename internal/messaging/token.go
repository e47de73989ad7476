package messaging

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/aditdev/adit/internal/auth"
	"github.com/aditdev/adit/internal/wire"
)

// TokenLife is how long a person's MQTT token lets in. A connection that it opened lasts as long as the login session or
// API token that it was made by.
const TokenLife = 5 * time.Minute

// tokenPrefix begins the password of a token: then USER.CREDENTIAL.EXPIRY in base64, a dot, and the HMAC-SHA256 of that.
const tokenPrefix = "mqt_"

// Token is a username and password for MQTT that nobody keeps.
type Token struct {
	Username, Password string
	Expires            time.Time
}

// CreateToken makes one that speaks as the principal.
func (r *Registry) CreateToken(p *auth.Principal) Token {
	expires := r.Now().Add(TokenLife).UTC().Truncate(time.Second)
	text := strings.Join([]string{p.User.ID, p.Credential, strconv.FormatInt(expires.Unix(), 10)}, ".")
	body := base64.RawURLEncoding.EncodeToString([]byte(text))
	return Token{Username: p.User.Handle, Password: tokenPrefix + body + "." + r.signature(body), Expires: expires}
}

func (r *Registry) signature(body string) string {
	mac := hmac.New(sha256.New, r.TokenKey)
	mac.Write([]byte("adit mqtt token v1 " + body))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func (r *Registry) byToken(username, password string) (Principal, error) {
	expired := wire.Errorf(wire.Unauthenticated, "This MQTT token has expired, or its sign-in ended. Make a new one.")
	body, signature, _ := strings.Cut(strings.TrimPrefix(password, tokenPrefix), ".")
	text, err := base64.RawURLEncoding.DecodeString(body)
	parts := strings.Split(string(text), ".")
	if err != nil || len(parts) != 3 || !hmac.Equal([]byte(signature), []byte(r.signature(body))) {
		return Principal{}, errCredentials
	}
	until, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil || !r.Now().Before(time.Unix(until, 0)) {
		return Principal{}, expired
	}
	p := Principal{Kind: KindUser, ID: parts[0], Name: r.Gate.Policy().Users[parts[0]].Handle, User: parts[0], Credential: parts[1]}
	if p.Name != username {
		return Principal{}, errCredentials
	}
	if !r.Lives(p) {
		return Principal{}, expired
	}
	return p, nil
}
