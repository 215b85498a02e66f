package main

import (
	"errors"
	"fmt"
	"iter"

	"supd/journal/blocks"
	"supd/journal/event"
)

// Kinds of findings that the chain of records shows, beside those of blocks.
const (
	altered    = "altered"
	notARecord = "not a record"
	misplaced  = "wrong subject"
	gapNoted   = "recorded gap"
)

// step is one thing that is met when a journal is read from its beginning: a
// record or a finding.
type step struct {
	finding *finding
	entry   blocks.Entry
	rec     event.Encoded
	unknown error  // rec is of a kind that this version does not know
	stray   bool   // rec is out of order: no part of the history
	chosen  bool   // by a reader's own work
	text    string // which made this of it

	fault   error  // instead of an entry
	bad     error  // the entry is no record
	subject string // under which it belongs, if it is stored under another one
}

// reading is how a history is read.
type reading struct {
	from uint64      // stream sequence to begin at; 0: the oldest
	full depth       // what is decoded wholly; nil: everything
	work func(*step) // done on each record, by several goroutines at once; may be nil
}

// history reads the records, in order, with what is wrong in its place. It
// joins two views: what the block files show (blocks.Damage) and what the
// chain of seq and prev shows (R6, P11). Damage gets the records that it
// swallowed from the chain. Who keeps a step keeps a block of the journal in
// memory.
func (s *source) history(how reading) iter.Seq[*step] {
	return func(yield func(*step) bool) {
		c := chain{src: s, yield: yield}
		steps := loaded(s.reader.Records(how.from), func(st *step) {
			st.load(how.full)
			if how.work != nil && st.bad == nil {
				how.work(st)
			}
		})
		for st := range steps {
			var d *blocks.Damage
			switch {
			case errors.As(st.fault, &d):
				c.damage(d)
			case st.fault != nil:
				c.add(&finding{Grade: damage, What: string(blocks.Unreadable), Detail: st.fault.Error(), lost: true})
			default:
				c.record(st)
			}
			if c.stopped {
				return
			}
		}
		c.finish()
	}
}

// chain checks each record against the one before it.
type chain struct {
	src     *source
	yield   func(*step) bool
	stopped bool

	begun   bool
	first   blocks.Entry // of the first record
	oldest  event.Seq    // its number
	last    event.Encoded
	place   blocks.Entry // of last
	pending []*finding   // until the next record tells what is lost in them
	doubt   *finding     // last or the record before it was altered
	held    []*step      // behind doubt
}

func (c *chain) emit(s *step) {
	if c.doubt != nil {
		c.held = append(c.held, s)
		return
	}
	if !c.stopped {
		c.stopped = !c.yield(s)
	}
}

func (c *chain) add(f *finding) {
	f.File = c.src.rel(f.File)
	c.pending = append(c.pending, f)
}

func (c *chain) damage(d *blocks.Damage) {
	f := &finding{
		Grade: damage, What: string(d.What), File: d.File, Offset: d.Offset, Detail: d.Detail,
		lost: d.First != 0, end: d.Last,
	}
	if d.Err != nil {
		f.Detail += ": " + d.Err.Error()
	}
	if d.What == blocks.Tail {
		f.Grade = tail
	}
	c.add(f)
}

// at makes a finding at an entry.
func (c *chain) at(e blocks.Entry, what string, first, last event.Seq, format string, args ...any) *finding {
	return &finding{
		Grade: damage, What: what, File: c.src.rel(e.File), Offset: e.Offset,
		First: first, Last: last, Detail: fmt.Sprintf(format, args...),
	}
}

func (c *chain) record(s *step) {
	e, rec := s.entry, s.rec
	if s.bad != nil {
		c.add(&finding{Grade: damage, What: notARecord, File: e.File, Offset: e.Offset, Detail: s.bad.Error(), lost: true})
		return
	}
	r := rec.Record
	c.settleDoubt(rec)
	switch {
	case !c.begun:
		c.begin(e, r)
	case r.Seq == c.last.Record.Seq+1 && r.Prev == c.last.Hash:
		c.release(0, 0)
	case c.recordedGap(r):
		c.release(0, 0)
		d := r.Data.(event.JournalGapData)
		f := c.at(e, gapNoted, c.last.Record.Seq+1, d.Last, "supd had to drop them and said so: %s", d.Why)
		f.Grade = note
		c.emit(&step{finding: f})
	case r.Seq <= c.last.Record.Seq: // what is pending waits for the next record in order
		c.emit(&step{finding: c.at(e, string(blocks.Disorder), r.Seq, r.Seq, "it stands behind record %d", c.last.Record.Seq)})
		s.stray = true
		c.emit(s)
		return
	case r.Seq > c.last.Record.Seq+1:
		c.gap(e, r)
	default:
		c.release(0, 0)
		c.mismatch(r)
	}
	if s.subject != "" {
		// The chain does not cover it, and filters and permissions go by it.
		c.emit(&step{finding: c.at(e, misplaced, r.Seq, r.Seq, "it is stored under %q, not %q", e.Subject, s.subject)})
	}
	c.begun, c.last, c.place = true, rec, e
	c.emit(s)
}

// begin takes the first record there is. A journal that does not begin with
// record 1 had its head discarded, which is no damage (R9).
func (c *chain) begin(e blocks.Entry, r event.Record) {
	c.first, c.oldest = e, r.Seq
	if r.Seq > 1 {
		c.release(1, r.Seq-1)
		return
	}
	c.release(0, 0)
	if r.Prev != event.Genesis {
		c.emit(&step{finding: c.at(e, altered, 1, 1, "its prev is not that of a first record")})
	}
}

// recordedGap tells whether supd said what is missing before r. It may have
// said too much: a publish that timed out may have stored some of it late.
func (c *chain) recordedGap(r event.Record) bool {
	d, ok := r.Data.(event.JournalGapData)
	last := c.last.Record.Seq
	return ok && d.First <= last+1 && last < d.Last && d.Last+1 == r.Seq && d.LastHash == r.Prev
}

func (c *chain) gap(e blocks.Entry, r event.Record) {
	first, last := c.last.Record.Seq+1, r.Seq-1
	for _, f := range c.pending {
		if f.lost {
			c.release(first, last)
			return
		}
	}
	c.release(0, 0)
	c.emit(&step{finding: c.at(e, string(blocks.Missing), first, last, "record %d comes directly behind record %d", r.Seq, c.last.Record.Seq)})
}

// release reports what was pending, now that the records lost in it are known.
func (c *chain) release(first, last event.Seq) {
	for _, f := range c.pending {
		switch {
		case f.lost && first != 0:
			f.First, f.Last = first, last
		case f.What == string(blocks.Missing) || f.Grade == tail:
			// The stream has a hole and the chain has none: the record was
			// lost before it was acknowledged, and published again.
			f.Grade = note
		}
		c.emit(&step{finding: f})
	}
	c.pending = c.pending[:0]
}

// mismatch: r does not carry the hash of the record before it. Which of the
// two was altered is told by the record behind them.
func (c *chain) mismatch(r event.Record) {
	c.doubt = c.at(c.place, altered, c.last.Record.Seq, r.Seq, "its hash is not the prev that record %d carries", r.Seq)
}

// settleDoubt is called with the next record, or with none at the end.
func (c *chain) settleDoubt(next event.Encoded) {
	f := c.doubt
	if f == nil {
		return
	}
	c.doubt = nil
	follows := next.Record.Seq == c.last.Record.Seq+1
	switch {
	case follows && next.Record.Prev == c.last.Hash:
		f.Last = f.First
	case follows:
		f.First, f.File, f.Offset = f.Last, c.src.rel(c.place.File), c.place.Offset
		f.Detail = fmt.Sprintf("neither its prev nor its hash fits its neighbours %d and %d", f.First-1, f.First+1)
		c.last.Hash = next.Record.Prev // told once
	default:
		f.Detail += "; one of the two was altered"
	}
	held := c.held
	c.held = nil
	c.emit(&step{finding: f})
	for _, s := range held {
		c.emit(s)
	}
}

func (c *chain) finish() {
	c.settleDoubt(event.Encoded{})
	for _, f := range c.pending {
		switch {
		case !f.lost:
		case f.end != 0 && f.end < c.first.StreamSeq: // seen at the end, but about the beginning
			f.First, f.Last = 1, c.oldest-1
		default:
			f.First, f.Last = c.last.Record.Seq+1, 0
		}
		c.emit(&step{finding: f})
	}
	c.pending = nil
}
