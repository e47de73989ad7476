package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aditdev/adit/internal/seal"
)

// Secret opens the secret of that name, or makes it with make and keeps it sealed where there is none yet. It fails
// with seal.ErrOpen when the database was sealed with another ADIT_SECRET.
func (s *Store) Secret(ctx context.Context, sealer *seal.Sealer, name string, make func() []byte) ([]byte, error) {
	var plain []byte
	err := s.Write(ctx, func(q *Queries) error {
		sealed, err := q.GetSecret(ctx, name)
		if errors.Is(err, ErrNotFound) {
			plain = make()
			return q.PutSecret(ctx, PutSecretParams{Name: name, Sealed: sealer.Seal(name, plain), CreatedAt: Millis(time.Now())})
		}
		if err != nil {
			return err
		}
		plain, err = sealer.Open(name, sealed)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("secret: %w", err)
	}
	return plain, nil
}
