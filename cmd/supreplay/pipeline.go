package main

import (
	"errors"
	"iter"
	"runtime"
	"strings"
	"sync"

	"supd/journal/blocks"
	"supd/journal/event"
)

// Reading block files is quick; hashing and decoding what is in them is not.
// So one goroutine reads, as many as there are processors hash and decode, and
// the caller gets everything in the order of the journal. What is under way is
// bounded, whatever the journal's length.
const (
	batchSize = 256
	batches   = 8
)

// depth says how much of a record a reader needs beyond its head; it runs on
// several goroutines at once.
type depth func(h event.Head) bool

// wholly decodes every record.
func wholly(event.Head) bool { return true }

// headsOnly decodes what the chain itself and the search for a base need.
func headsOnly(event.Head) bool { return false }

// load finds out about a record what takes time. A record whose head is enough
// has no Data, and its texts are part of the block that it was read from.
func (s *step) load(full depth) {
	e := s.entry
	h, ok := event.ScanHead(e.Data)
	kind, known := h.Kind()
	if ok && known && kind != event.JournalGap && kind != event.StateBase && !full(h) {
		s.rec = event.Encoded{Bytes: e.Data, Hash: event.Hash(e.Data), Record: event.Record{
			ID: h.ID, Source: h.Source, Kind: kind, Subject: h.Subject, Time: h.Time, Mono: h.Mono,
			Boot: h.Boot, Seq: h.Seq, Prev: h.Prev, Cause: h.Cause, Actor: h.Actor,
		}}
	} else {
		s.rec, s.bad = event.Decode(e.Data)
		if errors.Is(s.bad, event.ErrUnknownKind) {
			s.unknown, s.bad = s.bad, nil
		}
	}
	s.subject = s.properSubject()
}

// properSubject is under which subject the record belongs if that is not where
// it is stored.
func (s *step) properSubject() string {
	r := s.rec.Record
	node, ok := strings.CutPrefix(r.Source, "supd/")
	node, _, _ = strings.Cut(node, "/")
	if !ok || s.unknown != nil || s.bad != nil || s.entry.Subject == "" {
		return ""
	}
	if want := event.RecordSubject(node, r.Subject, r.Kind); want != s.entry.Subject {
		return want
	}
	return ""
}

// batch is a piece of the journal on its way through the workers.
type batch struct {
	steps []step
	ready chan struct{} // closed when work is done
}

// loaded gives all entries in their order with work done on each.
func loaded(entries iter.Seq2[blocks.Entry, error], work func(*step)) iter.Seq[*step] {
	return func(yield func(*step) bool) {
		var (
			order = make(chan *batch, batches)
			jobs  = make(chan *batch, batches)
			stop  = make(chan struct{})
			all   sync.WaitGroup
		)
		defer all.Wait()
		defer close(stop)
		for range runtime.GOMAXPROCS(0) {
			all.Go(func() {
				for b := range jobs {
					for i := range b.steps {
						if s := &b.steps[i]; s.fault == nil {
							work(s)
						}
					}
					close(b.ready)
				}
			})
		}
		all.Go(func() {
			defer close(order)
			defer close(jobs)
			deal(entries, order, jobs, stop)
		})
		for b := range order {
			<-b.ready
			for i := range b.steps {
				if !yield(&b.steps[i]) {
					return
				}
			}
		}
	}
}

// deal cuts the entries into batches for the workers and, in their order, for
// the caller.
func deal(entries iter.Seq2[blocks.Entry, error], order, jobs chan<- *batch, stop <-chan struct{}) {
	var b *batch
	send := func() bool {
		if b == nil {
			return true
		}
		full := b
		b = nil
		select {
		case order <- full:
		case <-stop:
			return false
		}
		// The workers take whatever is in order, so this cannot wait for ever.
		jobs <- full
		return true
	}
	for e, err := range entries {
		if b == nil {
			b = &batch{steps: make([]step, 0, batchSize), ready: make(chan struct{})}
		}
		b.steps = append(b.steps, step{entry: e, fault: err})
		if len(b.steps) == batchSize && !send() {
			return
		}
	}
	send()
}
