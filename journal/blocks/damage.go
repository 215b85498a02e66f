package blocks

import (
	"fmt"
	"math"
)

// What says what kind of damage was found.
type What string

// The kinds of damage.
const (
	// Corrupt bytes are not a record, or one whose checksum is wrong.
	Corrupt What = "corrupt"
	// Missing records are absent although what surrounds them is intact: a
	// deleted block, a removed record.
	Missing What = "missing"
	// Erased records were overwritten on purpose.
	Erased What = "erased"
	// Disorder is a record with a sequence that was passed already.
	Disorder What = "out of order"
	// Unreadable is a file that the system refuses to read.
	Unreadable What = "unreadable"
	// Tail is an end that was being written: a half record or half batch in a
	// live copy, or after a power loss. Nothing that was acknowledged as
	// durable is in it, unless the end of the file was cut off later.
	Tail What = "tail incomplete"
)

// OpenEnd is the Last of damage whose end nobody can know.
const OpenEnd = math.MaxUint64

// Damage is a place that could not be read. It is an error of one place: the
// iteration goes on behind it.
type Damage struct {
	What   What
	File   string // path of the block
	Offset int64  // bytes into the file; into the decompressed block if Packed
	Length int64  // bytes; 0 if nothing is there to be measured
	Packed bool   // the block is compressed
	First  uint64 // stream sequences covered, inclusive; 0: none are lost
	Last   uint64 // OpenEnd: up to an end that is not known
	Detail string
	Err    error // of the system or the decompressor; may be nil
}

// Error names kind, place and cause.
func (d *Damage) Error() string {
	s := fmt.Sprintf("%s: %s at byte %d", d.What, d.File, d.Offset)
	if d.Length > 0 {
		s += fmt.Sprintf(", %d bytes", d.Length)
	}
	if d.Packed {
		s += " of the decompressed block"
	}
	s += ": " + d.Detail
	if r := d.Range(); r != "" {
		s += " (" + r + ")"
	}
	if d.Err != nil {
		s += ": " + d.Err.Error()
	}
	return s
}

// Unwrap returns the error below, if there is one.
func (d *Damage) Unwrap() error { return d.Err }

// Range tells the covered stream sequences to people; it is empty if no
// record is lost.
func (d *Damage) Range() string {
	switch {
	case d.First == 0:
		return ""
	case d.Last == OpenEnd:
		return fmt.Sprintf("stream records from %d on", d.First)
	case d.First == d.Last:
		return fmt.Sprintf("stream record %d", d.First)
	}
	return fmt.Sprintf("stream records %d to %d", d.First, d.Last)
}

// Covers tells whether a record with this stream sequence is in the damage.
func (d *Damage) Covers(seq uint64) bool { return d.First != 0 && d.First <= seq && seq <= d.Last }
