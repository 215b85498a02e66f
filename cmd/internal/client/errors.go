package client

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/nats-io/nats.go"

	"supd/journal/control/wire"
	"supd/journal/event"
)

// Kinds of errors; test with errors.Is.
var (
	// ErrUnreachable: no supd answers at the socket.
	ErrUnreachable = errors.New("supd is unreachable")
	// ErrNotPermitted: this user may not connect, or may not command.
	ErrNotPermitted = errors.New("not permitted")
	// ErrBusy: supd has too much to do right now; the same id may be sent again.
	ErrBusy = errors.New("supd is busy")
	// ErrTimeout: the context ended before the outcome was known. A command
	// goes on.
	ErrTimeout = errors.New("timed out")
)

// Error is an error with what a person can do about it.
type Error struct {
	Op    string // "connect to /run/supd/supd.sock"
	Kind  error  // one of the kinds above
	Cause error
	Hint  string // the next step; may be empty
}

// Error reads "cannot OP: CAUSE".
func (e *Error) Error() string { return fmt.Sprintf("cannot %s: %v", e.Op, e.Cause) }

// Unwrap gives kind and cause to errors.Is and errors.As.
func (e *Error) Unwrap() []error { return []error{e.Kind, e.Cause} }

// AskError is supd's answer to a question that has none.
type AskError struct{ event.AskError }

// Error is the detail, which is a sentence for people.
func (e *AskError) Error() string { return e.Detail }

// connectError says why there is no connection, and what to do.
func connectError(socket string, err error) *Error {
	e := &Error{Op: "connect to " + socket, Kind: ErrUnreachable, Cause: err}
	code, reason := refusalOf(err)
	switch {
	case code == wire.RefusedDenied:
		e.Kind, e.Cause, e.Hint = ErrNotPermitted, errors.New(reason), "run supctl as root or as the user that runs supd"
	case errors.Is(err, nats.ErrAuthorization):
		e.Kind, e.Cause, e.Hint = ErrNotPermitted, errors.New("supd does not take this key"), "add its public key to listen.nkeys and apply; supd's own log says more"
	case untrusted(err):
		e.Cause, e.Hint = err, "name the authority that signed supd's certificate with --tlsca"
	case code == wire.RefusedBusy:
		e.Kind, e.Cause, e.Hint = ErrBusy, errors.New(reason), "try again when other clients have ended"
	case code != "":
		e.Cause, e.Hint = errors.New(reason), "look at supd's own log"
	case errors.Is(err, fs.ErrPermission):
		e.Kind, e.Cause, e.Hint = ErrNotPermitted, cause(err), "run supctl as root or as the user that runs supd"
	case errors.Is(err, fs.ErrNotExist):
		e.Cause, e.Hint = errors.New("no such socket"), "start supd, or name its socket with --socket or SUPD_SOCKET"
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Cause, e.Hint = errors.New("nobody listens there"), "start supd: the socket is left over from one that has ended"
	default:
		e.Cause, e.Hint = cause(err), "see whether supd runs, and its own log"
	}
	return e
}

// gone tells whether an error of a dial means that no keeper holds the socket.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

// final tells whether trying to connect again is useless.
func final(err error) bool {
	code, _ := refusalOf(err)
	return gone(err) || untrusted(err) || errors.Is(err, nats.ErrAuthorization) || errors.Is(err, fs.ErrPermission) || code != "" && code != wire.RefusedClosing
}

// untrusted tells whether what listens there could not prove to be our supd.
func untrusted(err error) bool {
	var bad *tls.CertificateVerificationError
	return errors.As(err, &bad)
}

// refusalOf reads the bridge's reason out of what nats.go made of it.
func refusalOf(err error) (code, reason string) {
	if err == nil {
		return "", ""
	}
	_, rest, ok := strings.Cut(err.Error(), wire.Refusal)
	if !ok {
		return "", ""
	}
	code, reason, _ = strings.Cut(rest, ": ")
	switch code {
	case wire.RefusedDenied, wire.RefusedBusy, wire.RefusedInvalid, wire.RefusedClosing:
		return code, reason
	}
	return "", ""
}

// cause is the innermost system error, which is all a person needs.
func cause(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}
