package main

import (
	"fmt"
	"path/filepath"
	"time"

	"supd/journal/blocks"
	"supd/journal/event"
)

// liveCheck tells how the state of a running supd relates to the replayed one.
type liveCheck struct {
	Seq    event.Seq `json:"seq"`   // the record at which it was compared; 0: supd did not answer
	Equal  *bool     `json:"equal"` // null if it could not be compared
	Detail string    `json:"detail"`
}

// live is the state of a running supd, to be compared with the fold when that
// has come to the same record.
type live struct {
	liveCheck
	dump event.Dump
}

// What is live is a few milliseconds ahead of the disk (R1).
const (
	catchUpTries = 20
	catchUpPause = 100 * time.Millisecond
)

// askLive asks the supd that runs on the journal for its state; nil if none
// runs on it.
func (s *source) askLive() *live {
	if !s.running {
		return nil
	}
	l := &live{}
	d, err := s.dump()
	if err != nil {
		l.Detail = fmt.Sprintf("not compared: %v", err)
		return l
	}
	l.dump, l.Seq = d, d.Seq
	l.Detail = fmt.Sprintf("not compared: record %d, which supd is at, is not in the journal", d.Seq)
	return l
}

// compare is called after each record of the fold.
func (l *live) compare(seq event.Seq, f *fold, report reporter) {
	if l == nil || l.Seq == 0 || seq != l.Seq || l.Equal != nil {
		return
	}
	if !f.known() {
		l.Detail = "not compared: " + f.explain()
		return
	}
	equal := f.state.Hash() == l.dump.Hash && string(f.state.Canonical()) == string(l.dump.State)
	l.Equal = &equal
	l.Detail = fmt.Sprintf("state at record %d is the replayed one", seq)
	if !equal {
		l.Detail = fmt.Sprintf("state at record %d is NOT the replayed one", seq)
		report(damage, "live state differs", seq, seq, "the running supd's state, or its record, is not what the journal gives")
	}
}

// catchUp reads what became durable behind a record while the journal was
// read, up to where supd was.
func (s *source) catchUp(l *live, behind uint64, f *fold, report reporter) {
	for range catchUpTries {
		if l.Equal != nil || f.state == nil || f.state.Seq() >= l.Seq || s.reopen() != nil {
			return
		}
		for st := range s.history(reading{from: behind + 1}) {
			if st.finding != nil || st.stray {
				continue
			}
			behind = st.entry.StreamSeq
			f.feed(st)
			l.compare(st.rec.Record.Seq, f, report)
		}
		time.Sleep(catchUpPause)
	}
}

// reopen finds block files that are new.
func (s *source) reopen() error {
	if s.folder == "" {
		return nil
	}
	r, err := blocks.Open(filepath.Join(s.folder, "journal"))
	if err == nil {
		s.reader = r
	}
	return err
}
