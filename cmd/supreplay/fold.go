package main

import (
	"errors"
	"fmt"
	"strings"

	"supd/journal/event"
	"supd/projector"
)

// fold keeps the state while a history is read. Where records are missing it
// has none, until the next complete base makes it true again (R9, R10).
type fold struct {
	state *projector.State // nil while it is not known
	since event.Seq        // the record after which it became known last
	lost  event.Seq        // the record at which it stopped being known; 0: it never was
	why   error
	parts []event.Encoded

	// compared tells how a base in the history relates to the fold before it.
	compared func(base event.Encoded, equal bool)
	snapshot []byte // the fold before part 1 of the base that is being read
	text     strings.Builder
}

// known tells whether the state is true now.
func (f *fold) known() bool { return f.state != nil && !f.state.Stale() }

func (f *fold) feed(s *step) {
	if s.stray {
		return
	}
	r := &s.rec.Record
	if f.state == nil && r.Seq == 1 {
		f.state, f.since = projector.New(), 1
	}
	if f.state == nil {
		f.start(&s.rec)
		return
	}
	f.compare(&s.rec)
	stale := f.state.Stale()
	if err := f.state.Apply(s.rec); err != nil {
		f.state, f.lost, f.why = nil, r.Seq, err
		f.start(&s.rec)
		return
	}
	switch now := f.state.Stale(); {
	case now && !stale:
		f.lost, f.why = r.Seq, errors.New("supd had to drop records before it")
	case stale && !now:
		f.since = r.Seq
	}
}

// start collects a base to start at.
func (f *fold) start(e *event.Encoded) {
	d, ok := e.Record.Data.(event.StateBaseData)
	if !ok || d.Part == 1 {
		f.parts = nil
	}
	if !ok || d.Part != len(f.parts)+1 {
		return
	}
	f.parts = append(f.parts, *e)
	if d.Part < d.Parts {
		return
	}
	state, err := projector.FromBase(f.parts)
	f.parts = nil
	if err != nil {
		f.lost, f.why = e.Record.Seq, err
		return
	}
	f.state, f.since = state, e.Record.Seq
}

// compare holds a base against the fold of the records before it: a base that
// differs would make replay tell another story from there on (P6).
func (f *fold) compare(e *event.Encoded) {
	d, ok := e.Record.Data.(event.StateBaseData)
	if !ok || f.compared == nil {
		f.snapshot = nil
		return
	}
	if d.Part == 1 {
		f.snapshot = nil
		f.text.Reset()
		if f.known() {
			f.snapshot = f.state.Canonical()
		}
	}
	f.text.WriteString(d.Chunk)
	if d.Chunk == "" {
		f.text.Write(d.State)
	}
	if d.Part == d.Parts && f.snapshot != nil {
		f.compared(*e, projector.IsBase(f.text.String(), f.snapshot))
		f.snapshot = nil
	}
}

// explain says why there is no state.
func (f *fold) explain() string {
	switch {
	case errors.Is(f.why, event.ErrUnknownKind):
		return fmt.Sprintf("record %d was written by a newer supd: use its supreplay", f.lost)
	case f.lost == 0:
		return "the journal's beginning was discarded and no complete base comes before that moment"
	}
	return fmt.Sprintf("the state is not known from record %d on: %v", f.lost, f.why)
}

func chainBroken(err error) bool { return errors.Is(err, projector.ErrChain) }
