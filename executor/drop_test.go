package executor

import (
	"bytes"
	"testing"

	"supd/journal/event"
	"supd/projector"
)

// fullJournal is full once: what is not durable is all that came after the
// first durable records.
type fullJournal struct {
	rigJournal
	durable int // records
	full    bool
	dropped []event.Encoded
	state   []byte
	at      event.Seq
}

func (j *fullJournal) Pressure() Pressure { return Pressure{Full: j.full} }

func (j *fullJournal) Undurable(...event.Encoded) event.JournalGapData {
	last := j.records[len(j.records)-1]
	gap := event.JournalGapData{
		First: event.Seq(j.durable + 1), Last: last.Record.Seq, LastHash: last.Hash, Counts: map[event.Kind]int{},
	}
	for _, e := range j.records[j.durable:] {
		gap.Counts[e.Record.Kind]++
	}
	return gap
}

func (j *fullJournal) Drop(batch []event.Encoded, state []byte, seq event.Seq, _ string) error {
	j.full, j.dropped, j.state, j.at = false, batch, state, seq
	return nil
}

// A run log that fills while nothing becomes durable is emptied: a counted gap
// and a base follow, and a fold over what is left is true again (R10, P4).
func TestDropsUndurable(t *testing.T) {
	r := newRig(t, "full", -1)
	r.input(configure(rigSpec("web")))
	r.send(event.VerbStart, nil, "web")
	r.calm(1e9)
	const durable = 3
	j := &fullJournal{rigJournal: rigJournal{r}, durable: durable, full: true}
	r.core.Journal = j
	lost := j.Undurable()
	if err := r.core.Tend(); err != nil {
		t.Fatal(err)
	}
	if len(j.dropped) < 2 {
		t.Fatalf("%d records instead of a gap and a base", len(j.dropped))
	}
	gap, ok := j.dropped[0].Record.Data.(event.JournalGapData)
	if !ok || gap.First != lost.First || gap.Last != lost.Last || gap.LastHash != lost.LastHash || gap.Why == "" || len(gap.Counts) == 0 {
		t.Fatalf("the gap says %+v; lost is %+v", gap, lost)
	}
	s := projector.New()
	for _, e := range append(append([]event.Encoded{}, r.records[:durable]...), j.dropped...) {
		if err := s.Apply(e); err != nil {
			t.Fatal(err)
		}
	}
	if s.Stale() || s.Seq() != j.at || !bytes.Equal(s.Canonical(), j.state) || !bytes.Equal(s.Canonical(), r.core.State().Canonical()) {
		t.Errorf("the fold over the gap is another state (stale %v)\n%s\n%s", s.Stale(), s.Canonical(), j.state)
	}
	if err := r.core.Tend(); err != nil || j.full {
		t.Errorf("it drops again: %v", err)
	}
}
