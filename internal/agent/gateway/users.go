package gateway

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/aditdev/adit/internal/wire"
)

// User is one [[mqtt.user]]: a thing behind the device, or, with Device, the device itself behind a password.
type User struct {
	Name         string
	PasswordHash string
	MaxPacket    int  // bytes that it takes of one packet; 0: any
	Device       bool // it speaks as the device, not as a thing of it
}

// Check refuses, with an Error of code Invalid, what cannot be a user.
func (u User) Check() error {
	if !wire.ValidDeviceName(u.Name) {
		return wire.Errorf(wire.Invalid, "mqtt.user %q is no name of a thing: a to z, 0 to 9 and dashes inside, at most 63.", u.Name)
	}
	if _, _, _, err := parseHash(u.PasswordHash); err != nil {
		return wire.Errorf(wire.Invalid, "mqtt.user %s has a password_hash that is none. `adit agent mqtt-user add %s` makes one.", u.Name, u.Name)
	}
	if u.MaxPacket != 0 && (u.MaxPacket < 64 || u.MaxPacket > maxPacket) {
		return wire.Errorf(wire.Invalid, "mqtt.user %s: max_packet %d is not between 64 and %d bytes.", u.Name, u.MaxPacket, maxPacket)
	}
	return nil
}

const (
	hashName       = "pbkdf2-sha256"
	hashIterations = 20_000    // passwords are made here, of 128 bits; this is for those that people choose
	maxIterations  = 1_000_000 // of hashes made elsewhere
)

// NewPassword makes a password and what is kept of it.
func NewPassword() (password, hash string) {
	password = rand.Text()
	return password, Hash(password)
}

// Hash is what is kept of a password: PBKDF2 with HMAC-SHA-256 (RFC 8018), its iterations, salt and key.
func Hash(password string) string {
	salt := []byte(rand.Text())
	return fmt.Sprintf("%s$%d$%s$%s", hashName, hashIterations, base64.RawStdEncoding.EncodeToString(salt),
		base64.RawStdEncoding.EncodeToString(derive(password, salt, hashIterations)))
}

func derive(password string, salt []byte, iterations int) []byte {
	key, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return nil // no password fits then
	}
	return key
}

func parseHash(hash string) (iterations int, salt, key []byte, err error) {
	parts := strings.Split(hash, "$")
	if len(parts) != 4 || parts[0] != hashName {
		return 0, nil, nil, wire.Errorf(wire.Invalid, "no %s hash", hashName)
	}
	if iterations, err = strconv.Atoi(parts[1]); err != nil || iterations < 1 || iterations > maxIterations {
		return 0, nil, nil, wire.Errorf(wire.Invalid, "%q iterations", parts[1])
	}
	if salt, err = base64.RawStdEncoding.DecodeString(parts[2]); err == nil {
		key, err = base64.RawStdEncoding.DecodeString(parts[3])
	}
	if err == nil && len(key) != sha256.Size {
		err = wire.Errorf(wire.Invalid, "the key has %d bytes", len(key))
	}
	return iterations, salt, key, err
}

// users checks passwords, one at a time: on a small board one check costs a tenth of a second, and a thing that reconnects
// every second with the right one shall not cost that each time.
type users struct {
	list   []User
	secret []byte // for what is remembered

	mu    sync.Mutex
	known map[string][]byte // of the password that was right last, by name
}

func newUsers(list []User) *users {
	return &users{list: list, secret: []byte(rand.Text()), known: map[string][]byte{}}
}

// check gives the user whose name and password these are. Unknown names take as long as wrong passwords.
func (u *users) check(name, password string) (User, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	user := User{PasswordHash: fmt.Sprintf("%s$%d$AA$%s", hashName, hashIterations, strings.Repeat("A", 43))}
	found := false
	for _, candidate := range u.list {
		if candidate.Name == name {
			user, found = candidate, true
		}
	}
	mac := hmac.New(sha256.New, u.secret)
	mac.Write([]byte(password))
	now := mac.Sum(nil)
	if found && hmac.Equal(u.known[name], now) {
		return user, true
	}
	iterations, salt, key, err := parseHash(user.PasswordHash)
	if err != nil || subtle.ConstantTimeCompare(derive(password, salt, iterations), key) != 1 || !found {
		return User{}, false
	}
	u.known[name] = now
	return user, true
}
