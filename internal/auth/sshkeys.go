package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aditdev/adit/internal/sshkeys"
	"github.com/aditdev/adit/internal/sshsig"
	"github.com/aditdev/adit/internal/store"
	"github.com/aditdev/adit/internal/wire"
)

// KeyNamespace is the namespace (ssh-keygen -n) in which people sign to prove that a key is theirs.
const KeyNamespace = "adit-ssh-key"

// maxKeys is how many SSH keys a person may have.
const maxKeys = 50

// KeyChallenge is what somebody signs to bring a key into a profile. It needs no chance in it: the signature says that
// the key's holder wants it in this user's profile on this hub, and whoever shows it anew gets just that.
func KeyChallenge(user, host string) string { return "adit ssh-key " + user + " " + host }

// NewSSHKey is a key that somebody wants in their profile.
type NewSSHKey struct {
	Line      string // of authorized_keys, with its options
	Name      string // the line's comment where empty
	Signature string // of KeyChallenge in KeyNamespace, armored
	Host      string // of this hub
}

// AddSSHKey puts a key into the principal's profile. One that is added by a token does not outlive it, as nothing does
// that a token makes: else whoever stole one for an hour had a way in for years. It fails with Invalid where the line or the proof is not taken, and
// with Conflict where the key is in a profile already.
func (a *Accounts) AddSSHKey(ctx context.Context, p *Principal, k NewSSHKey) (row store.SSHKey, err error) {
	key, err := sshkeys.Parse(k.Line)
	if err != nil {
		return row, err
	}
	if err := proveKey(key.Public, KeyChallenge(p.User.ID, k.Host), k.Signature); err != nil {
		return row, err
	}
	now := a.now()
	params := store.AddSSHKeyParams{ID: store.NewID("key"), UserID: p.User.ID, Name: keyName(k.Name, key.Comment),
		PublicKey: key.Line, Fingerprint: key.Fingerprint(), Options: key.Options.String(), CreatedAt: store.Millis(now)}
	if expires := earlier(key.Options.Expires(), p.Until); !expires.IsZero() {
		if !now.Before(expires) {
			return row, wire.Errorf(wire.Invalid, "This key's expiry-time is over already.")
		}
		at := store.Millis(expires)
		params.ExpiresAt = &at
	}
	err = a.gate.Change(ctx, func(q *store.Queries) error {
		if n, err := q.CountSSHKeysFor(ctx, p.User.ID); err != nil || n >= maxKeys {
			return errors.Join(err, wire.Errorf(wire.Conflict, "A profile holds %d keys. Remove one first.", maxKeys))
		}
		row, err = q.AddSSHKey(ctx, params)
		if store.IsConflict(err) {
			return wire.Wrap(err, wire.Conflict, "This key is in a profile of this hub already. One key says who somebody is, so it is in one only.")
		}
		return err
	})
	return row, err
}

// earlier is the earlier of two times, of which the zero one is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func proveKey(key ssh.PublicKey, challenge, armored string) error {
	signature, err := sshsig.Unarmor(strings.TrimSpace(armored) + "\n")
	if err == nil {
		err = sshsig.Verify(key, KeyNamespace, []byte(challenge), signature)
	}
	if err == nil {
		return nil
	}
	e := wire.Wrap(err, wire.Invalid, "The signature does not prove that you have this key. Sign the text as shown, with the private half of this very key (%v).", err)
	e.Fields = map[string]string{"signature": e.Message}
	return e
}

func keyName(given, comment string) string {
	for _, name := range []string{given, comment} {
		if name = wire.Printable(strings.TrimSpace(name), 100); name != "" {
			return name
		}
	}
	return "SSH key"
}

// SSHKeys lists the principal's own.
func (a *Accounts) SSHKeys(ctx context.Context, p *Principal) ([]store.SSHKey, error) {
	return a.store.Read().ListSSHKeysFor(ctx, p.User.ID)
}

// RemoveSSHKey takes a key out of the principal's profile and ends what runs by it.
func (a *Accounts) RemoveSSHKey(ctx context.Context, p *Principal, id string) (row store.SSHKey, err error) {
	err = a.gate.Change(ctx, func(q *store.Queries) error {
		row, err = q.RemoveSSHKeyFor(ctx, store.RemoveSSHKeyForParams{ID: id, Principal: p.User.ID})
		return noRow(err, wire.Errorf(wire.NotFound, "You have no SSH key with this id."))
	})
	return row, err
}

// BySSHKey finds whose key this is, and how it is limited. handle is the SSH user name: it must be the owner's. It fails
// with Unauthenticated, which never says whether key or handle was wrong.
func (a *Accounts) BySSHKey(ctx context.Context, key ssh.PublicKey, handle string) (*Principal, sshkeys.Options, error) {
	unknown := wire.Errorf(wire.Unauthenticated, "No profile has this key under this name.")
	row, err := a.store.Read().FindSSHKey(ctx, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))))
	if errors.Is(err, store.ErrNotFound) || err == nil && row.User.Handle != handle {
		return nil, sshkeys.Options{}, unknown
	}
	if err != nil {
		return nil, sshkeys.Options{}, fmt.Errorf("find ssh key: %w", err)
	}
	options, err := sshkeys.Reparse(row.SSHKey.Options)
	if err != nil { // an option that this version does not know: written by a newer one
		return nil, sshkeys.Options{}, err
	}
	if end := row.SSHKey.ExpiresAt; end != nil && *end <= store.Millis(a.now()) {
		return nil, sshkeys.Options{}, wire.Errorf(wire.Unauthenticated, "The key has expired.")
	}
	return &Principal{User: row.User, Credential: row.SSHKey.ID}, options, nil
}

// TouchSSHKey notes that a key was used, at most once a minute.
func (a *Accounts) TouchSSHKey(ctx context.Context, id string) {
	if !a.touched.Allow(id) {
		return
	}
	now := store.Millis(a.now())
	// A disk that takes no writes must not lock people out; the note is only for the list.
	_ = a.store.Write(ctx, func(q *store.Queries) error {
		return q.TouchSSHKey(ctx, store.TouchSSHKeyParams{ID: id, LastUsedAt: &now})
	})
}

// ByUserID finds the principal of a certificate, whose key id and principal are the user's id. It fails with
// Unauthenticated.
func (a *Accounts) ByUserID(ctx context.Context, id, handle string) (*Principal, error) {
	user, err := a.store.Read().GetUser(ctx, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && (user.Disabled || user.Handle != handle) {
		return nil, wire.Errorf(wire.Unauthenticated, "No user has this certificate's principal under this name.")
	}
	if err != nil {
		return nil, fmt.Errorf("find user: %w", err)
	}
	return &Principal{User: user}, nil
}
