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

// headsOnly decodes what the chain itself and the search for a base need.
func headsOnly(event.Head) bool { return false }

// load finds out about a record what takes time. A record whose head is enough
// has no Data, and its texts are part of the block that it was read from.
func (s *step) load(full depth) {
	if full == nil || !s.scan(full) {
		s.rec, s.bad = event.Decode(s.entry.Data)
		if errors.Is(s.bad, event.ErrUnknownKind) {
			s.unknown, s.bad = s.bad, nil
		}
	}
	s.checkSubject()
}

// scan takes the head of a record if that is all that is asked for.
func (s *step) scan(full depth) bool {
	data := s.entry.Data
	h, ok := event.ScanHead(data)
	if !ok {
		return false
	}
	kind, known := h.Kind()
	if !known || kind == event.JournalGap || kind == event.StateBase || full(h) {
		return false
	}
	s.rec = event.Encoded{Bytes: data, Hash: event.Hash(data), Record: event.Record{
		ID: h.ID, Source: h.Source, Kind: kind, Subject: h.Subject, Time: h.Time, Mono: h.Mono,
		Boot: h.Boot, Seq: h.Seq, Prev: h.Prev, Cause: h.Cause, Actor: h.Actor,
	}}
	return true
}

// checkSubject notes under which subject the record belongs if that is not
// where it is stored. The chain does not cover that, and filters and
// permissions go by it.
func (s *step) checkSubject() {
	r := &s.rec.Record
	node, ok := strings.CutPrefix(r.Source, "supd/")
	node, _, _ = strings.Cut(node, "/")
	if !ok || s.unknown != nil || s.bad != nil || s.entry.Subject == "" || isSubject(s.entry.Subject, node, r) {
		return
	}
	if want := event.RecordSubject(node, r.Subject, r.Kind); want != s.entry.Subject {
		s.subject = want
	}
}

// isSubject tells without making the text that a subject is the usual one of
// the record; false tells nothing.
func isSubject(text, node string, r *event.Record) bool {
	service := r.Subject
	if service == "" {
		service = event.NoService
	}
	for _, part := range [...]string{"sup.", node, ".evt.", service, "."} {
		if !strings.HasPrefix(text, part) {
			return false
		}
		text = text[len(part):]
	}
	return text == string(r.Kind) && !strings.Contains(service, ".")
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
