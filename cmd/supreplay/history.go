package main

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"strings"

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
	retold  bool   // it is stray because a gap carries it
	chosen  bool   // by a reader's own work
	line    []byte // which made this of it

	fault   error  // instead of an entry
	bad     error  // the entry is no record
	subject string // under which it belongs, if it is stored under another one
}

// reading is how a history is read.
type reading struct {
	from uint64      // stream sequence to begin at; 0: the oldest
	full depth       // what is decoded wholly; nil: everything
	work func(*step) // done on each record, by several goroutines at once; may be nil
	// retell has the records that a gap carries (R10) told before it, as stray ones.
	retell bool

	// passing: no record is kept. Then what is decoded has its texts in the block
	// that it was read from, and no step outlives its turn.
	passing bool
	// unhashed leaves the chain of hashes unchecked; only the numbers are.
	unhashed bool
}

// history reads the records, in order, with what is wrong in its place. It
// joins two views: what the block files show (blocks.Damage) and what the
// chain of seq and prev shows (R6, P11). Damage gets the records that it
// swallowed from the chain. A step is used again for another record when its turn
// is over. What it holds may be kept, and keeps a block of the journal in memory
// where it is not a decoded record.
func (s *source) history(how reading) iter.Seq[*step] {
	return func(yield func(*step) bool) {
		c := chain{src: s, yield: yield, how: how}
		entries, back := s.entries(&how)
		steps := loaded(entries, func(st *step) {
			st.load(&how)
			if how.work != nil && st.bad == nil {
				how.work(st)
			}
		}, back)
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

// entries are what is to be read. Blocks are lent where no step keeps a part of
// them: records either own their texts or are only passing.
func (s *source) entries(how *reading) (iter.Seq2[blocks.Entry, error], chan *blocks.Block) {
	lender, ok := s.reader.(*blocks.Reader)
	if !ok || how.full != nil && !how.passing {
		return s.reader.Records(how.from), nil
	}
	back := make(chan *blocks.Block, 2)
	return lender.Lent(how.from, back), back
}

// link is what the next record is checked against.
type link struct {
	seq  event.Seq
	hash string
}

// place is where a record is stored.
type place struct {
	file   string
	offset int64
}

func placeOf(e *blocks.Entry) place { return place{e.File, e.Offset} }

// chain checks each record against the one before it.
type chain struct {
	src     *source
	how     reading
	yield   func(*step) bool
	stopped bool

	begun   bool
	first   uint64    // stream sequence of the first record
	oldest  event.Seq // its number
	last    link
	place   place      // of last
	pending []*finding // until the next record tells what is lost in them
	doubt   *finding   // last or the record before it was altered
	held    []*step    // behind doubt
}

func (c *chain) emit(s *step) {
	if c.doubt != nil {
		held := *s
		held.own()
		c.held = append(c.held, &held)
		return
	}
	if !c.stopped {
		c.stopped = !c.yield(s)
	}
}

// own makes a step that outlives its turn independent of the room that is used
// again for others.
func (s *step) own() {
	s.line = bytes.Clone(s.line)
	s.entry.Header, s.entry.Data = bytes.Clone(s.entry.Header), bytes.Clone(s.entry.Data)
	s.entry.Block = nil
	if s.finding != nil {
		return
	}
	data, hash := s.rec.Record.Data, s.rec.Hash
	if s.rec, _ = event.Decode(s.entry.Data); data == nil { // only the head was asked for
		s.rec.Record.Data, s.rec.Hash = nil, hash
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
func (c *chain) at(p place, what string, first, last event.Seq, format string, args ...any) *finding {
	return &finding{
		Grade: damage, What: what, File: c.src.rel(p.file), Offset: p.offset,
		First: first, Last: last, Detail: fmt.Sprintf(format, args...),
	}
}

func (c *chain) record(s *step) {
	e, r := &s.entry, &s.rec.Record
	if s.bad != nil {
		c.add(&finding{Grade: damage, What: notARecord, File: e.File, Offset: e.Offset, Detail: s.bad.Error(), lost: true})
		return
	}
	c.settleDoubt(r)
	switch {
	case !c.begun:
		c.begin(e, r)
	case r.Seq == c.last.seq+1 && (c.how.unhashed || r.Prev == c.last.hash):
		c.release(0, 0)
	case c.recordedGap(r):
		c.release(0, 0)
		d := r.Data.(event.JournalGapData)
		c.retell(s, d)
		f := c.at(placeOf(e), gapNoted, c.last.seq+1, d.Last, "supd had to drop them and said so: %s", d.Why)
		f.Grade = note
		c.emit(&step{finding: f})
	case r.Seq <= c.last.seq: // what is pending waits for the next record in order
		c.emit(&step{finding: c.at(placeOf(e), string(blocks.Disorder), r.Seq, r.Seq, "it stands behind record %d", c.last.seq)})
		s.stray = true
		c.emit(s)
		return
	case r.Seq > c.last.seq+1:
		c.gap(e, r)
	default:
		c.release(0, 0)
		c.mismatch(r)
	}
	if s.subject != "" {
		// The chain does not cover it, and filters and permissions go by it.
		c.emit(&step{finding: c.at(placeOf(e), misplaced, r.Seq, r.Seq, "it is stored under %q, not %q", e.Subject, s.subject)})
	}
	c.begun, c.last, c.place = true, link{r.Seq, s.rec.Hash}, placeOf(e)
	c.emit(s)
}

// begin takes the first record there is. A journal that does not begin with
// record 1 had its head discarded, which is no damage (R9).
func (c *chain) begin(e *blocks.Entry, r *event.Record) {
	c.first, c.oldest = e.StreamSeq, r.Seq
	if r.Seq > 1 {
		c.release(1, r.Seq-1)
		return
	}
	c.release(0, 0)
	if r.Prev != event.Genesis {
		c.emit(&step{finding: c.at(placeOf(e), altered, 1, 1, "its prev is not that of a first record")})
	}
}

// retell emits what a gap carries and was not stored late after all.
func (c *chain) retell(gap *step, d event.JournalGapData) {
	if !c.how.retell {
		return
	}
	for _, raw := range d.Kept {
		rec, err := event.Decode(raw)
		if err != nil || rec.Record.Seq <= c.last.seq {
			continue
		}
		st := &step{entry: gap.entry, rec: rec, stray: true, retold: true}
		if c.how.work != nil {
			c.how.work(st)
		}
		c.emit(st)
	}
}

// recordedGap tells whether supd said what is missing before r. It may have
// said too much: a publish that timed out may have stored some of it late.
func (c *chain) recordedGap(r *event.Record) bool {
	d, ok := r.Data.(event.JournalGapData)
	last := c.last.seq
	return ok && d.First <= last+1 && last < d.Last && d.Last+1 == r.Seq && d.LastHash == r.Prev
}

func (c *chain) gap(e *blocks.Entry, r *event.Record) {
	first, last := c.last.seq+1, r.Seq-1
	for _, f := range c.pending {
		if f.lost {
			c.release(first, last)
			return
		}
	}
	c.release(0, 0)
	c.emit(&step{finding: c.at(placeOf(e), string(blocks.Missing), first, last, "record %d comes directly behind record %d", r.Seq, c.last.seq)})
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
func (c *chain) mismatch(r *event.Record) {
	c.doubt = c.at(c.place, altered, c.last.seq, r.Seq, "its hash is not the prev that record %d carries", r.Seq)
}

// settleDoubt is called with the next record, or with none at the end.
func (c *chain) settleDoubt(next *event.Record) {
	f := c.doubt
	if f == nil {
		return
	}
	c.doubt = nil
	follows := next.Seq == c.last.seq+1
	switch {
	case follows && next.Prev == c.last.hash:
		f.Last = f.First
	case follows:
		f.First, f.File, f.Offset = f.Last, c.src.rel(c.place.file), c.place.offset
		f.Detail = fmt.Sprintf("neither its prev nor its hash fits its neighbours %d and %d", f.First-1, f.First+1)
		c.last.hash = strings.Clone(next.Prev) // told once
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
	c.settleDoubt(&event.Record{})
	for _, f := range c.pending {
		switch {
		case !f.lost:
		case f.end != 0 && f.end < c.first: // seen at the end, but about the beginning
			f.First, f.Last = 1, c.oldest-1
		default:
			f.First, f.Last = c.last.seq+1, 0
		}
		c.emit(&step{finding: f})
	}
	c.pending = nil
}
