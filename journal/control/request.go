package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"supd/journal/event"
)

// Bounds of what a request may hold besides its size.
const (
	maxDepth   = 8
	maxPattern = 256 // bytes of one pattern
	maxArgs    = 16  // beside the counts of a scale, one for each of its patterns
	maxArg     = 256 // bytes of one argument's name or value
)

// Request is one request of a client, with who sent it.
type Request struct {
	Actor   string
	Client  *event.Client        // the process; nil on the network
	Remote  string               // the address of a client on the network
	Data    []byte               // as it was sent; at most event.MaxRequestSize bytes
	Command event.CommandRequest // of commands: decoded and checked
}

// Decode reads the JSON of a request strictly: one value, no unknown fields,
// shallow, valid UTF-8. No data at all leaves v as it is.
func Decode(data []byte, v any) error {
	if len(data) == 0 {
		return nil
	}
	if len(data) > event.MaxRequestSize {
		return fmt.Errorf("cannot read the request: %d bytes are more than %d", len(data), event.MaxRequestSize)
	}
	if !utf8.Valid(data) {
		return errors.New("cannot read the request: it is not UTF-8")
	}
	if deeper(data, maxDepth) {
		return fmt.Errorf("cannot read the request: nested deeper than %d", maxDepth)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("cannot read the request: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("cannot read the request: something follows the JSON value")
	}
	return nil
}

// deeper counts brackets outside strings, so that nobody makes the JSON
// reader recurse at our cost.
func deeper(data []byte, limit int) bool {
	depth, inString, escaped := 0, false, false
	for _, c := range data {
		switch {
		case escaped:
			escaped = false
		case inString:
			escaped, inString = c == '\\', c != '"'
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			if depth++; depth > limit {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// DecodeCommand reads and checks a command. The id is returned as far as it
// is a valid one, also with an error, so that a rejection can name it.
func DecodeCommand(data []byte) (event.CommandRequest, *string, error) {
	if len(data) == 0 {
		return event.CommandRequest{}, nil, errors.New("cannot read the request: it is empty")
	}
	var c event.CommandRequest
	if err := Decode(data, &c); err != nil {
		return event.CommandRequest{}, nil, err
	}
	if err := checkID(c.ID); err != nil {
		return event.CommandRequest{}, nil, err
	}
	return c, &c.ID, checkCommand(c)
}

// checkID accepts UUIDv7 in its one canonical form: two spellings of an id
// would be two commands (P2).
func checkID(id string) error {
	u, err := uuid.Parse(id)
	if err != nil || u.Version() != 7 || u.Variant() != uuid.RFC4122 || u.String() != id {
		return fmt.Errorf("id %.64q is not a UUIDv7 in lower case", id)
	}
	return nil
}

var verbs = []event.Verb{
	event.VerbStart, event.VerbStop, event.VerbRestart, event.VerbSignal, event.VerbReload, event.VerbApply, event.VerbScale,
	event.VerbUpgrade, event.VerbShutdown,
}

func checkCommand(c event.CommandRequest) error {
	if !slices.Contains(verbs, c.Verb) {
		return fmt.Errorf("verb %.64q is unknown", string(c.Verb))
	}
	if c.SentAt.IsZero() {
		return errors.New("sent_at is missing")
	}
	alone := c.Verb == event.VerbShutdown || c.Verb == event.VerbUpgrade || c.Verb == event.VerbApply
	if alone && len(c.Patterns) > 0 {
		return fmt.Errorf("%s takes no patterns", c.Verb)
	}
	if !alone && len(c.Patterns) == 0 {
		return errors.New("patterns are missing")
	}
	if len(c.Patterns) > event.MaxPatterns {
		return fmt.Errorf("%d patterns are more than %d", len(c.Patterns), event.MaxPatterns)
	}
	for _, p := range c.Patterns {
		if !plain(p, maxPattern) {
			return fmt.Errorf("pattern %.64q is empty, too long or has control characters", p)
		}
	}
	most := maxArgs
	if c.Verb == event.VerbScale {
		most += len(c.Patterns)
	}
	if len(c.Args) > most {
		return fmt.Errorf("%d arguments are more than %d", len(c.Args), most)
	}
	for k, v := range c.Args {
		if !plain(k, maxArg) || !plain(v, maxArg) {
			return errors.New("an argument is empty, too long or has control characters")
		}
	}
	return nil
}

// plain tells whether s is a short text of one line.
func plain(s string, limit int) bool {
	return s != "" && len(s) <= limit && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}
