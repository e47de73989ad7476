// Package sshsig makes and checks SSH signatures over texts (PROTOCOL.sshsig of OpenSSH), as `ssh-keygen -Y sign` and
// `-Y verify` do: people prove by them that a key is theirs, and the hub what it answers a machine that has only OpenSSH.
package sshsig

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"

	"golang.org/x/crypto/ssh"
)

const (
	magic     = "SSHSIG"
	version   = 1
	armorType = "SSH SIGNATURE"
	maxSize   = 16 << 10
)

// blob is the signature as it travels.
type blob struct {
	Version       uint32
	PublicKey     []byte
	Namespace     string
	Reserved      string
	HashAlgorithm string
	Signature     []byte
}

// signed is what the key signs.
type signed struct {
	Namespace     string
	Reserved      string
	HashAlgorithm string
	Hash          []byte
}

// Sign signs message in namespace and gives the signature without armor. RSA keys sign with SHA-512, as the format asks.
func Sign(signer ssh.Signer, namespace string, message []byte) ([]byte, error) {
	data, err := digest("sha512", namespace, message)
	if err != nil {
		return nil, err
	}
	signature, err := sign(signer, data)
	if err != nil {
		return nil, fmt.Errorf("ssh signature: %w", err)
	}
	return append([]byte(magic), ssh.Marshal(blob{Version: version, PublicKey: signer.PublicKey().Marshal(), Namespace: namespace,
		HashAlgorithm: "sha512", Signature: ssh.Marshal(signature)})...), nil
}

func sign(signer ssh.Signer, data []byte) (*ssh.Signature, error) {
	if signer.PublicKey().Type() != ssh.KeyAlgoRSA {
		return signer.Sign(rand.Reader, data)
	}
	with, ok := signer.(ssh.AlgorithmSigner)
	if !ok {
		return nil, errors.New("this RSA key signs with SHA-1 only")
	}
	return with.SignWithAlgorithm(rand.Reader, data, ssh.KeyAlgoRSASHA512)
}

// Armor is the form in which ssh-keygen reads and writes signatures.
func Armor(signature []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: armorType, Bytes: signature}))
}

// Unarmor reads what Armor or ssh-keygen wrote.
func Unarmor(text string) ([]byte, error) {
	if len(text) > maxSize {
		return nil, errors.New("ssh signature: too long")
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != armorType {
		return nil, errors.New("ssh signature: no -----BEGIN SSH SIGNATURE-----")
	}
	return block.Bytes, nil
}

// Verify checks that key signed message in namespace.
func Verify(key ssh.PublicKey, namespace string, message, signature []byte) error {
	raw, ok := bytes.CutPrefix(signature, []byte(magic))
	var b blob
	if !ok || ssh.Unmarshal(raw, &b) != nil || b.Version != version {
		return errors.New("ssh signature: cannot be read")
	}
	if !bytes.Equal(b.PublicKey, key.Marshal()) {
		return errors.New("ssh signature: made by another key")
	}
	if b.Namespace != namespace || b.Reserved != "" {
		return fmt.Errorf("ssh signature: made for %q, not for %q", b.Namespace, namespace)
	}
	data, err := digest(b.HashAlgorithm, namespace, message)
	if err != nil {
		return err
	}
	var inner ssh.Signature
	if ssh.Unmarshal(b.Signature, &inner) != nil || inner.Format == ssh.KeyAlgoRSA {
		return errors.New("ssh signature: cannot be read, or by SHA-1")
	}
	if err := key.Verify(data, &inner); err != nil {
		return fmt.Errorf("ssh signature: %w", err)
	}
	return nil
}

func digest(algorithm, namespace string, message []byte) ([]byte, error) {
	var h hash.Hash
	switch algorithm {
	case "sha256":
		h = sha256.New()
	case "sha512":
		h = sha512.New()
	default:
		return nil, fmt.Errorf("ssh signature: hash %q is none of sha256 and sha512", algorithm)
	}
	h.Write(message)
	return append([]byte(magic), ssh.Marshal(signed{Namespace: namespace, HashAlgorithm: algorithm, Hash: h.Sum(nil)})...), nil
}
