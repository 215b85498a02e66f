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
	refuse  bool            // the next batch
	refused []event.Encoded // which it was
	dropped []event.Encoded
	state   []byte
	at      event.Seq
}

func (j *fullJournal) Pressure() Pressure { return Pressure{Full: j.full} }

func (j *fullJournal) Append(batch []event.Encoded) error {
	if j.refuse {
		j.refuse, j.refused = false, batch
		return ErrFull
	}
	return j.rigJournal.Append(batch)
}

func (j *fullJournal) Undurable(_ int64, more ...event.Encoded) event.JournalGapData {
	all := append(append([]event.Encoded{}, j.records...), more...)
	last := all[len(all)-1]
	gap := event.JournalGapData{
		First: event.Seq(j.durable + 1), Last: last.Record.Seq, LastHash: last.Hash, Counts: map[event.Kind]int{},
	}
	for _, e := range all[j.durable:] {
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
	lost := j.Undurable(0)
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

// A batch that finds no room in the run log does not end the engine: the gap goes
// over it, the base behind has what it did, and the command is answered.
func TestRefusedBatchIsInTheGap(t *testing.T) {
	r := newRig(t, "refused", -1)
	r.input(configure(rigSpec("web")))
	r.calm(1e9)
	durable := len(r.records)
	j := &fullJournal{rigJournal: rigJournal{r}, durable: durable, refuse: true}
	r.core.Journal = j
	id := r.send(event.VerbStart, nil, "web")
	if len(j.refused) == 0 || len(j.dropped) < 2 {
		t.Fatalf("%d records refused, %d instead of a gap and a base", len(j.refused), len(j.dropped))
	}
	last := j.refused[len(j.refused)-1]
	gap, ok := j.dropped[0].Record.Data.(event.JournalGapData)
	if !ok || int(gap.First) != durable+1 || gap.Last != last.Record.Seq || gap.LastHash != last.Hash {
		t.Fatalf("the gap says %+v; refused is up to %d", gap, last.Record.Seq)
	}
	s := projector.New()
	for _, e := range append(append([]event.Encoded{}, r.records[:durable]...), j.dropped...) {
		if err := s.Apply(e); err != nil {
			t.Fatal(err)
		}
	}
	if s.Stale() || !bytes.Equal(s.Canonical(), r.core.State().Canonical()) || s.Commands[id] == nil {
		t.Error("the base does not have what the refused batch did")
	}
}
