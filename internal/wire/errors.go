package wire

import (
	"errors"
	"fmt"
)

// Code is a word of the error table (docs/errors.md). It is the same in HTTP bodies, WebSocket closes, `refused`
// frames and on the CLI's stderr.
type Code string

const (
	Invalid         Code = "invalid"
	Unauthenticated Code = "unauthenticated"
	Forbidden       Code = "forbidden"
	NotFound        Code = "not_found"
	Conflict        Code = "conflict"
	TooLarge        Code = "too_large"
	RateLimited     Code = "rate_limited"
	Offline         Code = "offline"
	Internal        Code = "internal"
)

// codes is the table: HTTP status, WebSocket close code, exit code of the CLI.
var codes = map[Code]struct{ http, close, exit int }{
	Invalid:         {400, 1008, 2},
	Unauthenticated: {401, 4401, 3},
	Forbidden:       {403, 4403, 4},
	NotFound:        {404, 4404, 5},
	Conflict:        {409, 4409, 6},
	TooLarge:        {413, 1009, 2},
	RateLimited:     {429, 1013, 7},
	Offline:         {503, 4503, 8},
	Internal:        {500, 1011, 1},
}

// CloseRestarting is the WebSocket close code with which a stopping hub sends its agents away (RFC 6455 registry:
// Service Restart).
const CloseRestarting = 1012

// HTTPStatus is the status of a reply that carries c; 500 for a word outside the table.
func (c Code) HTTPStatus() int { return c.row().http }

// CloseCode is the WebSocket close code for c (RFC 6455 §7.4).
func (c Code) CloseCode() int { return c.row().close }

// ExitCode is the exit status of a CLI command that failed with c.
func (c Code) ExitCode() int { return c.row().exit }

func (c Code) row() struct{ http, close, exit int } {
	if row, ok := codes[c]; ok {
		return row
	}
	return codes[Internal]
}

// CodeOfHTTP is the code that a reply with this status stands for, where its body does not say.
func CodeOfHTTP(status int) Code {
	return find(func(r struct{ http, close, exit int }) bool { return r.http == status })
}

// CodeOfClose is the code that a WebSocket close stands for.
func CodeOfClose(close int) Code {
	return find(func(r struct{ http, close, exit int }) bool { return r.close == close })
}

func find(match func(struct{ http, close, exit int }) bool) Code {
	for code, row := range codes {
		if match(row) {
			return code
		}
	}
	return Internal
}

// Error is a failure that may be shown to a person: Message says what happened, what still works and what to do.
// Err, where set, is the cause for the log and never shown.
type Error struct {
	Code    Code
	Message string
	Err     error
	Fields  map[string]string // message by request field, for forms; may be nil
}

// Errorf makes an Error whose message may be shown. Use Wrap to keep a cause.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Wrap makes an Error that keeps err for the log and shows only the message.
func Wrap(err error, code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Err: err}
}

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

func (e *Error) Unwrap() error { return e.Err }

// CodeOf is the code of the first Error in err's chain, else Internal.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Internal
}

// MessageOf is what a person may read of err: the message of the first Error in its chain, else a plain sentence
// that gives nothing away.
func MessageOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Message
	}
	return "Something went wrong on the hub. Its log has the details under this request's id."
}
