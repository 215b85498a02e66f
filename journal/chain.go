package journal

import (
	"fmt"

	"supd/journal/event"
)

// Link is a place in the hash chain: a record's number and hash. It is a
// record's identity; the stream's own sequence is not (R6).
type Link struct {
	Seq  event.Seq
	Hash string // lower-case hex SHA-256 of the record's bytes
}

// Origin is the link before the first record.
func Origin() Link { return Link{Hash: event.Genesis} }

// LinkOf is the link of a record.
func LinkOf(e event.Encoded) Link { return Link{Seq: e.Record.Seq, Hash: e.Hash} }

// Next checks that e continues the chain behind l and returns e's link. It
// returns a *ChainError otherwise.
//
// A journal.gap record (R10) may follow any record in the range that it
// says is missing: a publish that timed out may have stored some of that range
// late, so the gap may claim more than is missing, never less.
func (l Link) Next(e event.Encoded) (Link, error) {
	next := LinkOf(e)
	if e.Record.Seq == l.Seq+1 {
		if e.Record.Prev != l.Hash {
			return next, &ChainError{Seq: next.Seq, What: fmt.Sprintf("prev is %.12s…, the record before has hash %.12s…", e.Record.Prev, l.Hash)}
		}
		return next, nil
	}
	if gap, ok := e.Record.Data.(event.JournalGapData); ok && bridges(gap, e, l.Seq) {
		return next, nil
	}
	if e.Record.Seq <= l.Seq {
		return next, &ChainError{Seq: e.Record.Seq, What: fmt.Sprintf("it comes after record %d", l.Seq)}
	}
	return next, &ChainError{Seq: l.Seq + 1, What: fmt.Sprintf("it is missing, record %d follows", e.Record.Seq)}
}

// bridges tells whether the gap record e may follow the record seq.
func bridges(gap event.JournalGapData, e event.Encoded, seq event.Seq) bool {
	return e.Record.Seq == gap.Last+1 && e.Record.Prev == gap.LastHash && gap.First <= seq+1 && seq <= gap.Last
}

// Base is a whole state at a link, from which a fold may start (R9). State is
// opaque here; Version is that of its canonical form.
type Base struct {
	Link
	Version int
	State   []byte
}
