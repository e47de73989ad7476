package transform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"unicode/utf8"

	"github.com/itchyny/gojq"

	"github.com/aditdev/adit/internal/wire"
)

// errSlow is the cause with which a program's context ends when its time is over, and errMemory what the death of a worker in the
// middle of a program is taken for.
var (
	errSlow   = errors.New("the program's time is over")
	errMemory = errors.New("the worker died")
)

// told makes of these what people read.
func told(cause error) error {
	if errors.Is(cause, errSlow) {
		return wire.Wrap(cause, wire.Invalid, "The program took longer than %v.", MaxTime)
	}
	return wire.Wrap(cause, wire.Invalid, "The program needs more memory than %d MiB.", MaxMemory>>20)
}

// maxNesting bounds what is written as JSON; what is read has encoding/json's bound, the same.
const maxNesting = 10_000

// apply runs a transform. It ends early when ctx does, but not where a single step of a program takes long: the worker sees to that.
func (c compiled) apply(ctx context.Context, input any) ([]byte, error) {
	var out []byte
	for _, s := range c {
		piece := []byte(s.literal)
		if s.code != nil {
			var err error
			if piece, err = s.run(ctx, input); err != nil {
				return nil, s.where(err, len(c) > 1)
			}
		}
		if len(out)+len(piece) > MaxOutput {
			return nil, tooMuch()
		}
		out = append(out, piece...)
	}
	return out, nil
}

func tooMuch() error {
	return wire.Errorf(wire.Invalid, "What comes out is larger than %d MiB.", MaxOutput>>20)
}

// where says which program of a template failed.
func (s segment) where(err error, several bool) error {
	if e, ok := errors.AsType[*wire.Error](err); ok && several {
		return wire.Errorf(e.Code, "In {{ %s }}: %s", wire.Printable(s.source, 60), e.Message)
	}
	return err
}

// run gives the one result of a program.
func (s segment) run(ctx context.Context, input any) ([]byte, error) {
	results := s.code.RunWithContext(ctx, input)
	value, ok := results.Next()
	if !ok {
		return nil, wire.Errorf(wire.Invalid, "The program gives no result.")
	}
	if err, failed := value.(error); failed {
		return nil, failure(ctx, err)
	}
	if second, more := results.Next(); more {
		if err, failed := second.(error); failed {
			return nil, failure(ctx, err)
		}
		return nil, wire.Errorf(wire.Invalid, "The program gives more than one result. [ ] around it make a list of them; first() takes one.")
	}
	return encode(value)
}

func failure(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return told(cause)
	}
	if _, halted := errors.AsType[*gojq.HaltError](err); halted {
		return wire.Errorf(wire.Invalid, "The program ended by halt, which gives no result.")
	}
	return wire.Errorf(wire.Invalid, "The program failed: %s.", wire.Printable(err.Error(), 200))
}

func encode(value any) ([]byte, error) {
	switch v := value.(type) {
	case nil:
		return nil, wire.Errorf(wire.Invalid, "The program's result is null. Is there what it looks for? Where null is meant, write | tojson behind it.")
	case string:
		if len(v) > MaxOutput {
			return nil, tooMuch()
		}
		return []byte(v), nil
	}
	// A list that holds another twice, and so on, is small in memory and without end as text: so it is measured first.
	if left := measure(value, MaxOutput, maxNesting); left < 0 {
		return nil, tooMuch()
	}
	out, err := gojq.Marshal(value)
	if err != nil {
		return nil, wire.Wrap(err, wire.Invalid, "What the program gives is not JSON.")
	}
	return out, nil
}

// measure takes from left the least that value can be as JSON; the result is below zero where that is too much.
func measure(value any, left, depth int) int {
	if left--; left < 0 || depth == 0 {
		return -1
	}
	switch v := value.(type) {
	case string:
		return left - len(v)
	case []any:
		for _, e := range v {
			if left = measure(e, left, depth-1); left < 0 {
				return left
			}
		}
	case map[string]any:
		for k, e := range v {
			if left = measure(e, left-len(k), depth-1); left < 0 {
				return left
			}
		}
	}
	return left
}

// decode reads a program's input. Numbers stay as they were written.
func decode(text []byte) (value any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err = d.Decode(&value); err == nil {
		_, err = d.Token()
		if errors.Is(err, io.EOF) {
			return value, nil
		}
		err = errors.New("more than one value")
	}
	return nil, wire.Errorf(wire.Invalid, "The input is not JSON: %s.", wire.Printable(err.Error(), 200))
}

// text keeps what goes into an answer to people valid.
func text(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return string(bytes.ToValidUTF8(b, []byte("\uFFFD")))
}
