package output

import (
	"fmt"
	"strconv"
	"strings"
)

// Position is a place in one stream: the byte at Offset of a segment. Segments
// are numbered from 1; the zero Position is "not set".
type Position struct {
	Segment uint64
	Offset  int64
}

// Cursor is a place in the output of a service. It is all the state a reader
// has: whoever holds it can go on after the death of every process of ours.
// The zero Cursor lets the query's Tail and Since choose where to begin.
type Cursor struct {
	Out, Err Position
}

// IsZero tells whether the cursor names no place yet.
func (c Cursor) IsZero() bool { return c == Cursor{} }

// String is the form that travels: "1-SEGMENT-OFFSET-SEGMENT-OFFSET", stdout
// first. The zero cursor is the empty string.
func (c Cursor) String() string {
	if c.IsZero() {
		return ""
	}
	return fmt.Sprintf("1-%d-%d-%d-%d", c.Out.Segment, c.Out.Offset, c.Err.Segment, c.Err.Offset)
}

// MarshalText makes the cursor a string in JSON.
func (c Cursor) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText is ParseCursor.
func (c *Cursor) UnmarshalText(b []byte) error {
	v, err := ParseCursor(string(b))
	if err == nil {
		*c = v
	}
	return err
}

// ParseCursor reads what String wrote. Any cursor it accepts is safe to read
// with: a place that does not exist is resolved to one that does.
func ParseCursor(s string) (Cursor, error) {
	if s == "" {
		return Cursor{}, nil
	}
	f := strings.Split(s, "-")
	if len(s) > 100 || len(f) != 5 || f[0] != "1" {
		return Cursor{}, fmt.Errorf("cannot read cursor %.100q: not one that logs returned", s)
	}
	var v [4]uint64
	for i := range v {
		n, err := strconv.ParseUint(f[i+1], 10, 62)
		if err != nil {
			return Cursor{}, fmt.Errorf("cannot read cursor %.100q: not one that logs returned", s)
		}
		v[i] = n
	}
	return Cursor{
		Out: Position{v[0], int64(v[1])},
		Err: Position{v[2], int64(v[3])},
	}, nil
}
