package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"strings"

	"supd/journal/blocks"
	"supd/journal/event"
)

// fromJournal recovers from the block files, without JetStream: a disk that is
// full or read-only keeps nobody from starting, and what is damaged is read
// around.
func (j *Journal) fromJournal(ctx context.Context) (*Recovered, error) {
	r, err := blocks.Open(filepath.Join(j.cfg.StateDir, "journal"))
	if errors.Is(err, fs.ErrNotExist) {
		j.q = newQueue(Origin())
		return &Recovered{Source: FromNothing, Base: Base{Link: Origin()}, End: Origin(), Records: list(nil)}, nil
	}
	if err != nil {
		return nil, err
	}
	end := Origin()
	if e := r.End(); e.StreamSeq > 0 {
		last, err := event.Decode(e.Data)
		if err != nil && !errors.Is(err, event.ErrUnknownKind) {
			return nil, fmt.Errorf("cannot read last record of journal: %w", err)
		}
		end = LinkOf(last)
	}
	base, err := newestBase(r)
	if err != nil {
		return nil, err
	}
	j.q = newQueue(end)
	rec := &Recovered{Source: FromJournal, Base: base.base, End: end, Records: j.replay(ctx, r, base)}
	if end == Origin() {
		rec.Source = FromNothing
	}
	return rec, nil
}

// HoleError stands among Recovered.Records where JOURNAL lacks records or
// the chain is broken. The iteration goes on behind it: After is the link that
// the next record follows. A state folded across is not exact; a base should
// follow soon, and does once the damage is told (Notify.Damaged).
type HoleError struct {
	Before, After Link
}

// Error names what is missing.
func (e *HoleError) Error() string {
	if e.Before.Seq+1 > e.After.Seq {
		return fmt.Sprintf("the chain of the journal is broken at record %d", e.After.Seq+1)
	}
	return fmt.Sprintf("records %d to %d of the journal are missing", e.Before.Seq+1, e.After.Seq)
}

// replay reads the records behind a base. An error other than a HoleError ends
// it.
func (j *Journal) replay(ctx context.Context, r *blocks.Reader, from foundBase) iter.Seq2[event.Encoded, error] {
	return func(yield func(event.Encoded, error) bool) {
		link := from.base.Link
		for entry, err := range r.Records(from.first) {
			if err == nil {
				err = ctx.Err()
			}
			var d *blocks.Damage
			if errors.As(err, &d) {
				continue // the records behind it tell what is missing
			}
			var e event.Encoded
			if err == nil {
				e, err = event.Decode(entry.Data)
			}
			if err != nil {
				yield(event.Encoded{}, fmt.Errorf("cannot read journal: %w", err))
				return
			}
			next, err := link.Next(e)
			if err != nil && e.Record.Seq <= link.Seq {
				continue // it stands behind one with its number: no part of the history
			}
			if err != nil {
				hole := &HoleError{Before: link, After: Link{Seq: e.Record.Seq - 1, Hash: e.Record.Prev}}
				j.doubt(hole)
				if !yield(event.Encoded{}, hole) {
					return
				}
			}
			link = next
			if !yield(e, nil) {
				return
			}
		}
		j.q = newQueue(link)
	}
}

// doubt has the examiner look for the cause of a hole.
func (j *Journal) doubt(h *HoleError) {
	row := event.SeqRange{First: h.Before.Seq + 1, Last: max(h.Before.Seq+1, h.After.Seq)}
	j.examiner.doubt = append(j.examiner.doubt, row)
}

// foundBase is a complete base in JOURNAL.
type foundBase struct {
	base  Base
	first uint64 // position of its first part; 0 if there is no base
}

// baseTail ends the subject of each part of a base, whatever node wrote it:
// the node's name may have changed.
var baseTail = strings.TrimPrefix(event.RecordSubject("*", "", event.StateBase), "sup.*")

// newestBase finds the newest complete base, from the end backwards: it is
// never further than a quarter of the limits away (R9). A base is complete
// when all its parts are there, one after the other; an engine may have died
// in between.
func newestBase(r *blocks.Reader) (foundBase, error) {
	var parts []event.Encoded // the newest part first
	var expect uint64         // position of the part before
	for e := range r.Backwards(func(subject string) bool { return strings.HasSuffix(subject, baseTail) }) {
		rec, err := event.Decode(e.Data)
		if err != nil {
			return foundBase{}, fmt.Errorf("cannot read base at position %d: %w", e.StreamSeq, err)
		}
		d, ok := rec.Record.Data.(event.StateBaseData)
		if !ok || d.Part < 1 || d.Parts < d.Part {
			return foundBase{}, fmt.Errorf("cannot read base at position %d: it is no part of a base", e.StreamSeq)
		}
		if !continues(parts, rec, d) || e.StreamSeq != expect {
			parts = nil
			if d.Part != d.Parts {
				continue // the end of this one is not there
			}
		}
		parts, expect = append(parts, rec), e.StreamSeq-1
		if d.Part == 1 {
			return assemble(parts, e.StreamSeq), nil
		}
	}
	return foundBase{base: Base{Link: Origin()}}, nil
}

// continues tells whether rec is the part before the oldest of parts.
func continues(parts []event.Encoded, rec event.Encoded, d event.StateBaseData) bool {
	if len(parts) == 0 {
		return false
	}
	behind := parts[len(parts)-1].Record
	b := behind.Data.(event.StateBaseData)
	return d.Part == b.Part-1 && d.Parts == b.Parts && rec.Record.Seq == behind.Seq-1 && behind.Prev == rec.Hash
}

// assemble makes a base of its parts, the newest first.
func assemble(parts []event.Encoded, first uint64) foundBase {
	r := parts[len(parts)-1].Record
	// The state is the one before the base's own records.
	found := foundBase{first: first, base: Base{Link: Link{Seq: r.Seq - 1, Hash: r.Prev}}}
	for i := len(parts) - 1; i >= 0; i-- {
		d := parts[i].Record.Data.(event.StateBaseData)
		found.base.Version = d.Version
		if d.Parts == 1 {
			found.base.State = d.State
		} else {
			found.base.State = append(found.base.State, d.Chunk...)
		}
	}
	return found
}
