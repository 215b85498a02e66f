package executor

import (
	"bytes"
	"slices"

	"supd/journal/event"
	"supd/projector"
)

// memory is the journal of a rig: the run log, which survives engines, and
// JOURNAL, which survives the machine. The records are all that were ever
// decided and not lost; a record's number is its place.
type memory struct {
	rig     *rig
	records []event.Encoded
	durable event.Seq   // known to be in JOURNAL
	stored  event.Seq   // in JOURNAL: ahead of durable while a publish is in doubt (R6)
	hang    bool        // the disk takes nothing
	inside  []event.Seq // records that others of their batch follow
	forked  bool        // JOURNAL has another record in this one's place: it takes nothing more (R6)
	// snapshot is where the run log starts; nil: at the first record.
	snapshot *snapshot
	missing  []event.JournalGapData // what JOURNAL will never get (R10)
	bases    int
	// How often the journal asks, by records; 0: every 200, and never.
	everyBase, everyCompact, full int
	// publishing, if not nil, says how a publish of all up to last ends.
	publishing func(last event.Seq) (stored, durable event.Seq)
	// direct folds records as they were made instead of reading their bytes. All
	// bytes are read in the end.
	direct bool
}

type snapshot struct {
	state []byte
	seq   event.Seq
	hash  string
}

// stuck tells that nothing becomes durable.
func (m *memory) stuck() bool { return m.hang || m.forked }

// publish moves what is kept to JOURNAL; false if there is nothing to tell.
func (m *memory) publish() bool {
	last := event.Seq(len(m.records))
	if m.stuck() || m.durable >= last {
		return false
	}
	if m.publishing == nil {
		m.stored, m.durable = last, last
	} else {
		m.stored, m.durable = m.publishing(last)
	}
	return true
}

// lost tells that a record is in no JOURNAL.
func (m *memory) lost(seq event.Seq) bool {
	return slices.ContainsFunc(m.missing, func(g event.JournalGapData) bool { return g.First <= seq && seq <= g.Last })
}

// gone tells that a record is in no JOURNAL, and what came of it in no base:
// JOURNAL was cut between the gap and the base that follows it.
func (m *memory) gone(seq event.Seq) bool {
	return slices.ContainsFunc(m.missing, func(g event.JournalGapData) bool {
		if m.lost(g.Last + 1) {
			return false // a later gap stands for this one
		}
		return g.First <= seq && seq <= g.Last && m.base(int(g.Last)+1) == nil
	})
}

// base is the whole base whose first part is at a place; nil if there is none.
func (m *memory) base(at int) []event.Encoded {
	if at >= len(m.records) {
		return nil
	}
	first, ok := m.records[at].Record.Data.(event.StateBaseData)
	if !ok || first.Part != 1 || at+first.Parts > len(m.records) || m.lost(m.records[at].Record.Seq) {
		return nil
	}
	parts := m.records[at : at+first.Parts]
	for i, e := range parts {
		if d, ok := e.Record.Data.(event.StateBaseData); !ok || d.Part != i+1 || d.Parts != first.Parts {
			return nil // it was cut, and others follow
		}
	}
	return parts
}

// cut loses all records behind the first so many; the run log is gone.
func (m *memory) cut(kept event.Seq) {
	inGap := func(g event.JournalGapData) bool { return g.First <= kept && kept <= g.Last }
	for i := slices.IndexFunc(m.missing, inGap); i >= 0; i = slices.IndexFunc(m.missing, inGap) {
		kept = m.missing[i].First - 1 // its gap record is not there, and what it stands for never will be
	}
	m.missing = slices.DeleteFunc(m.missing, func(g event.JournalGapData) bool { return g.First > kept })
	m.records, m.snapshot = m.records[:kept:kept], nil
	m.stored, m.durable = kept, kept
	m.bases = min(m.bases, int(kept))
	m.inside = slices.DeleteFunc(m.inside, func(seq event.Seq) bool { return seq >= kept })
}

// fold is what an engine begins with: the run log, or JOURNAL from its newest
// base on (R2).
func (m *memory) fold() (*projector.State, error) {
	if p := m.snapshot; p != nil {
		s, err := projector.Parse(p.state, p.seq, p.hash)
		return s, m.foldOn(s, err, p.seq, m.direct)
	}
	if m.direct {
		for i := range slices.Backward(m.records) {
			if parts := m.base(i); parts != nil {
				s, err := projector.FromBase(parts)
				return s, m.foldOn(s, err, parts[len(parts)-1].Record.Seq, true)
			}
		}
	}
	s := projector.New()
	return s, m.foldOn(s, nil, 0, m.direct)
}

func (m *memory) foldOn(s *projector.State, err error, from event.Seq, direct bool) error {
	for _, e := range m.records[from:] {
		if err != nil {
			return err
		}
		if m.lost(e.Record.Seq) {
			continue
		}
		if !direct {
			if e, err = event.Decode(e.Bytes); err != nil {
				return err
			}
		}
		err = s.Apply(e)
	}
	return err
}

// replay reads all bytes back: from the first record, from every base, and as
// JOURNAL has them, the state is the one that decisions built (P6).
func (m *memory) replay(live *projector.State) {
	want := live.Canonical()
	compare := func(s *projector.State, err error, from event.Seq) {
		if err == nil {
			err = m.foldOn(s, nil, from, true)
		}
		if err != nil {
			m.rig.fatalf("P6: from record %d: %v", from, err)
		}
		if got := s.Canonical(); !bytes.Equal(got, want) {
			m.rig.fatalf("P6: replay from record %d differs\n got %s\nwant %s", from, got, want)
		}
	}
	read := make([]event.Encoded, len(m.records))
	for i, stored := range m.records {
		e, err := event.Decode(stored.Bytes)
		if err != nil || e.Hash != stored.Hash {
			m.rig.fatalf("P6: record %d: %v", i+1, err)
		}
		read[i] = e
		if gap, ok := e.Record.Data.(event.JournalGapData); ok {
			m.counted(gap)
		}
	}
	m.records = read
	compare(projector.New(), nil, 0)
	for i := range m.records {
		if parts := m.base(i); parts != nil {
			s, err := projector.FromBase(parts)
			compare(s, err, parts[len(parts)-1].Record.Seq)
		}
	}
	if slices.ContainsFunc(m.missing, func(g event.JournalGapData) bool { return m.gone(g.First) }) {
		return
	}
	gaps := m.missing
	m.missing = nil
	compare(projector.New(), nil, 0)
	m.missing = gaps
}

// counted: a gap says exactly what is missing (P4).
func (m *memory) counted(gap event.JournalGapData) {
	for _, e := range m.records[gap.First-1 : gap.Last] {
		gap.Counts[e.Record.Kind]--
	}
	for kind, n := range gap.Counts {
		if n != 0 || gap.LastHash != m.records[gap.Last-1].Hash {
			m.rig.fatalf("P4: the gap after record %d says %d too many %s", gap.First-1, n, kind)
		}
	}
}

// rigJournal is the core's port to it.
type rigJournal struct{ *rig }

func (j rigJournal) Append(batch []event.Encoded) error {
	j.point("before an append of records")
	j.keep(batch)
	j.point("after an append of records")
	return nil
}

func (j rigJournal) keep(batch []event.Encoded) {
	for i, e := range batch {
		if i < len(batch)-1 {
			j.inside = append(j.inside, e.Record.Seq)
		}
		prev := event.Genesis
		if n := len(j.records); n > 0 {
			prev = j.records[n-1].Hash
		}
		if e.Record.Prev != prev || int(e.Record.Seq) != len(j.records)+1 {
			j.fatalf("R6: record %d does not follow", e.Record.Seq)
		}
		if d, ok := e.Record.Data.(event.InstanceExitedData); ok && j.premature(d) {
			j.fatalf("P1: the end of %s is decided, and what its service has said is not heard", d.Instance)
		}
		j.witness.see(e.Record)
		j.sawRecord(e.Record)
		j.records = append(j.records, e)
		if d, ok := e.Record.Data.(event.StateBaseData); ok && d.Part == d.Parts {
			if j.bases = len(j.records); d.Parts > 1 {
				j.saw("a base in parts")
			}
		}
	}
}

func (j rigJournal) Pressure() Pressure {
	n, every, from := len(j.records), 200, event.Seq(0)
	if j.everyBase > 0 {
		every = j.everyBase
	}
	if j.snapshot != nil {
		from = j.snapshot.seq
	}
	return Pressure{
		Base:    n-j.bases >= every,
		Compact: j.everyCompact > 0 && n-int(from) >= j.everyCompact,
		Full:    j.full > 0 && j.stored == j.durable && n-int(j.durable) >= j.full,
	}
}

func (j rigJournal) Compact(state []byte, seq event.Seq, hash string) error {
	j.point("before a compaction of records")
	j.snapshot = &snapshot{state, seq, hash}
	j.point("after a compaction of records")
	return nil
}

func (j rigJournal) Undurable(int64, ...event.Encoded) event.JournalGapData {
	last := j.records[len(j.records)-1]
	gap := event.JournalGapData{
		First: j.durable + 1, Last: last.Record.Seq, LastHash: last.Hash, Counts: map[event.Kind]int{},
	}
	for _, e := range j.records[j.durable:] {
		gap.Counts[e.Record.Kind]++
	}
	return gap
}

func (j rigJournal) Drop(batch []event.Encoded, state []byte, seq event.Seq, hash string) error {
	j.point("before a drop of records")
	gap, ok := batch[0].Record.Data.(event.JournalGapData)
	if !ok || gap.First != j.durable+1 || int(gap.Last) != len(j.records) {
		j.fatalf("P4: records are dropped without a gap: %+v", batch[0].Record)
	}
	j.keep(batch)
	j.missing = append(j.missing, gap)
	j.snapshot = &snapshot{state, seq, hash}
	j.point("after a drop of records")
	return nil
}

func (j rigJournal) NoteInHand(id string) { j.inHand = id }
func (j rigJournal) ClearInHand()         { j.inHand = "" }
