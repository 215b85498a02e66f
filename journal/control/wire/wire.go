// Package wire holds the few names and the cutting of long answers that the
// two ends of the control socket must agree on. It is apart from package
// control so that clients do not link the server.
package wire

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Names of headers in answers.
const (
	HeaderPart  = "Sup-Part"  // "i/n", 1…n, on an answer that was cut
	HeaderError = "Sup-Error" // code of an event.AskError, which is the body
)

// InboxPrefix begins every reply subject; the token of the connection follows.
const InboxPrefix = "_INBOX."

// Refusal begins the text of a -ERR line with which the bridge turns a
// connection away; a code and the reason follow: "supd: denied: uid 5 …".
const Refusal = "supd: "

// Codes of refusals.
const (
	RefusedDenied  = "denied"  // this user may not use supd
	RefusedBusy    = "busy"    // too many connections
	RefusedInvalid = "invalid" // the client did not speak as it should
	RefusedClosing = "closing" // the engine is starting or ending: try again
)

// PartSize is the most one message of an answer carries, in bytes; MaxParts
// bounds the answer.
const (
	PartSize = 512 << 10
	MaxParts = 512
)

// Limits of inbox tokens, in bytes.
const (
	minToken = 8
	maxToken = 64
)

// ValidToken tells whether s may name a connection's inbox:
// [A-Za-z0-9_-]{8,64}.
func ValidToken(s string) bool {
	if len(s) < minToken || len(s) > maxToken {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' {
			continue
		}
		return false
	}
	return true
}

// Inbox is the prefix of all reply subjects of a connection, with the dot.
func Inbox(token string) string { return InboxPrefix + token + "." }

// TokenOf is the token of the connection that a reply subject belongs to;
// empty if the subject is nobody's.
func TokenOf(reply string) string {
	rest, ok := strings.CutPrefix(reply, InboxPrefix)
	if !ok {
		return ""
	}
	token, tail, ok := strings.Cut(rest, ".")
	if !ok || tail == "" || !ValidToken(token) {
		return ""
	}
	return token
}

// ActorOf is the name of the actor whose public nkey is key.
func ActorOf(key string) string { return "nkey-" + key }

// Info is what the bridge adds, under the key "supd", to the first line it
// sends: what a client must know to write its subjects.
type Info struct {
	Node  string `json:"node"`
	Actor string `json:"actor,omitempty"` // empty on the network: the client has not said yet who it is
}

// Cut splits an answer into parts; a short answer, and an empty one, is one
// part. Parts share b's memory.
func Cut(b []byte) [][]byte {
	parts := make([][]byte, 0, 1+len(b)/PartSize)
	for len(b) > PartSize {
		parts = append(parts, b[:PartSize])
		b = b[PartSize:]
	}
	return append(parts, b)
}

// PartHeader writes the value of HeaderPart for part i of n.
func PartHeader(i, n int) string { return fmt.Sprintf("%d/%d", i, n) }

// ErrParts is returned when parts of an answer do not follow each other.
var ErrParts = errors.New("the parts of the answer are out of order")

// Joiner puts the parts of one answer after the other together. The zero
// value is ready. Part 1 begins anew, so an answer that broke off with its
// connection does no harm.
type Joiner struct {
	buf  []byte
	next int
	of   int
}

// Add takes one message: the value of its HeaderPart, empty for an answer
// that was not cut, and its body. It returns the whole answer when this was
// the last part.
func (j *Joiner) Add(header string, body []byte) (whole []byte, done bool, err error) {
	if header == "" {
		return body, true, nil
	}
	i, n, err := parsePart(header)
	if err != nil {
		return nil, false, err
	}
	if i == 1 {
		j.buf, j.next, j.of = nil, 1, n
	}
	if i != j.next || n != j.of {
		return nil, false, fmt.Errorf("%w: got %s, want %d/%d", ErrParts, header, j.next, j.of)
	}
	j.buf = append(j.buf, body...)
	j.next++
	if i < n {
		return nil, false, nil
	}
	whole, j.buf, j.next, j.of = j.buf, nil, 0, 0
	return whole, true, nil
}

func parsePart(s string) (i, n int, err error) {
	a, b, _ := strings.Cut(s, "/")
	i, erri := strconv.Atoi(a)
	n, errn := strconv.Atoi(b)
	if erri != nil || errn != nil || i < 1 || i > n || n > MaxParts {
		return 0, 0, fmt.Errorf("cannot read %s %q: want i/n with n up to %d", HeaderPart, s, MaxParts)
	}
	return i, n, nil
}
