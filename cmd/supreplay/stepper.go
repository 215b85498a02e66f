package main

import (
	"fmt"
	"sort"
	"time"

	"supd/journal/event"
	"supd/projector"
)

// markEvery is how far the places are apart that a stepper remembers, in
// records: it reads that many at once.
const markEvery = 1024

// mark is a place in the journal where reading can begin.
type mark struct {
	stream uint64 // stream sequence
	seq    event.Seq
	latest time.Time // the newest time before it
}

// stepper walks over a journal of any length, record by record, in both
// directions. It keeps a mark for each thousand records and two thousand
// records around the one it is at.
type stepper struct {
	src   *source
	marks []mark
	bases []mark
	last  event.Seq // of the journal

	loaded  map[int][]event.Encoded // by number of the mark
	chunk   int
	at      int // in the chunk
	service string
	fold    fold
}

func newStepper(src *source) (*stepper, error) {
	s := &stepper{src: src, loaded: map[int][]event.Encoded{}}
	var latest time.Time
	var base mark
	parts := 0
	for st := range src.history(heads) {
		if st.finding != nil || st.stray {
			continue
		}
		r := st.rec.Record
		here := mark{st.entry.StreamSeq, r.Seq, latest}
		if r.Time.After(latest) {
			latest = r.Time
		}
		if len(s.marks) == 0 || r.Seq >= s.marks[len(s.marks)-1].seq+markEvery {
			s.marks = append(s.marks, here)
		}
		d, ok := r.Data.(event.StateBaseData)
		if ok && d.Part == 1 {
			base, parts = here, 0
		}
		if parts++; ok && d.Part == parts && d.Part == d.Parts && base.seq != 0 {
			s.bases = append(s.bases, base)
		}
		s.last = r.Seq
	}
	if len(s.marks) == 0 {
		return nil, fmt.Errorf("the journal has no readable record")
	}
	return s, s.gotoSeq(s.last)
}

// records are those between a mark and the next.
func (s *stepper) records(chunk int) []event.Encoded {
	if have, ok := s.loaded[chunk]; ok {
		return have
	}
	end := s.last + 1
	if chunk+1 < len(s.marks) {
		end = s.marks[chunk+1].seq
	}
	var all []event.Encoded
	for st := range s.src.history(reading{from: s.marks[chunk].stream}) {
		if st.finding != nil || st.stray {
			continue
		}
		if st.rec.Record.Seq >= end {
			break
		}
		all = append(all, st.rec)
	}
	for have := range s.loaded {
		if have < chunk-1 || have > chunk+1 {
			delete(s.loaded, have)
		}
	}
	s.loaded[chunk] = all
	return all
}

// here is the record that the stepper is at.
func (s *stepper) here() event.Record { return s.records(s.chunk)[s.at].Record }

// around are up to n records before and behind the current one, and its place
// among them.
func (s *stepper) around(n int) (records []event.Record, at int) {
	chunk, i := s.chunk, s.at
	var before []event.Record
	for len(before) < n {
		if i--; i < 0 {
			if chunk--; chunk < 0 {
				break
			}
			i = len(s.records(chunk))
			continue
		}
		before = append(before, s.records(chunk)[i].Record)
	}
	for k := len(before) - 1; k >= 0; k-- {
		records = append(records, before[k])
	}
	at = len(records)
	chunk, i = s.chunk, s.at
	for len(records) <= at+n && chunk < len(s.marks) {
		if i >= len(s.records(chunk)) {
			chunk, i = chunk+1, 0
			continue
		}
		records = append(records, s.records(chunk)[i].Record)
		i++
	}
	return records, at
}

// move goes to the next record, or the one before, that is about the service;
// empty is any. It stays where it is if there is none.
func (s *stepper) move(forward bool, service string) error {
	chunk, i := s.chunk, s.at
	for {
		if forward {
			i++
		} else {
			i--
		}
		switch {
		case i < 0 && chunk == 0:
			return fmt.Errorf("there is none before")
		case i < 0:
			chunk--
			i = len(s.records(chunk))
			continue
		case i >= len(s.records(chunk)) && chunk == len(s.marks)-1:
			return fmt.Errorf("there is none behind")
		case i >= len(s.records(chunk)):
			chunk, i = chunk+1, -1
			continue
		}
		if r := s.records(chunk)[i].Record; service == "" || about(r, service) {
			s.chunk, s.at = chunk, i
			return nil
		}
	}
}

// gotoSeq goes to a record, or the first one behind where it is missing.
func (s *stepper) gotoSeq(seq event.Seq) error {
	if seq > s.last {
		return fmt.Errorf("the journal ends with record %d", s.last)
	}
	chunk := max(0, sort.Search(len(s.marks), func(i int) bool { return s.marks[i].seq > seq })-1)
	all := s.records(chunk)
	i := sort.Search(len(all), func(i int) bool { return all[i].Record.Seq >= seq })
	if i == len(all) {
		if chunk+1 == len(s.marks) {
			return fmt.Errorf("record %d is not readable", seq)
		}
		chunk, i = chunk+1, 0
	}
	s.chunk, s.at = chunk, i
	return nil
}

// gotoMoment goes to the last record of a moment.
func (s *stepper) gotoMoment(m moment) error {
	m, err := s.src.resolve(m)
	if err != nil {
		return err
	}
	if m.seq != 0 {
		return s.gotoSeq(m.seq)
	}
	// The newest time so far counts, which only grows.
	chunk := max(0, sort.Search(len(s.marks), func(i int) bool { return s.marks[i].latest.After(m.at) })-1)
	latest, found := s.marks[chunk].latest, -1
	for i, e := range s.records(chunk) {
		if e.Record.Time.After(latest) {
			latest = e.Record.Time
		}
		if latest.After(m.at) {
			break
		}
		found = i
	}
	switch {
	case found >= 0:
		s.chunk, s.at = chunk, found
	case chunk > 0:
		s.chunk, s.at = chunk-1, len(s.records(chunk-1))-1
	default:
		return fmt.Errorf("the journal begins later, with record %d", s.marks[0].seq)
	}
	return nil
}

// state is the state after the current record; nil with the reason why it is
// not known.
func (s *stepper) state() (*projector.State, string) {
	seq := s.here().Seq
	if s.fold.state == nil || s.fold.state.Seq() > seq || s.fold.state.Seq()+markEvery < seq {
		from := uint64(0)
		if n := sort.Search(len(s.bases), func(i int) bool { return s.bases[i].seq > seq }); n > 0 {
			from = s.bases[n-1].stream
		}
		if s.fold, _ = s.src.foldTo(from, seq); !s.fold.known() && from != 0 {
			s.fold, _ = s.src.foldTo(0, seq)
		}
	} else if s.fold.state.Seq() < seq {
		at := s.fold.state.Seq()
		for chunk := range len(s.marks) {
			if s.marks[chunk].seq > seq || chunk+1 < len(s.marks) && s.marks[chunk+1].seq <= at {
				continue
			}
			for _, e := range s.records(chunk) {
				if e.Record.Seq > at && e.Record.Seq <= seq {
					s.fold.feed(&step{rec: e})
				}
			}
		}
	}
	if !s.fold.known() {
		return nil, s.fold.explain()
	}
	return s.fold.state, ""
}
