package main

import (
	"bytes"
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
	batchSize = 512
	batches   = 12
)

// depth says of a record without its data whether a reader needs that too; it
// runs on several goroutines at once.
type depth func(*event.Record) bool

// headsOnly decodes what the chain itself and the search for a base need.
func headsOnly(*event.Record) bool { return false }

// heads is the quickest look at all records: without data and hashes.
var heads = reading{full: headsOnly, passing: true, unhashed: true}

// load finds out about a record what takes time. A record of which less than all
// is asked for has no Data, and its texts are part of the block that it was read
// from; so are those of every record that is only passing. The others own theirs.
func (s *step) load(how *reading) {
	if !s.scan(how) {
		s.rec, s.bad = event.Decode(bytes.Clone(s.entry.Data))
		if errors.Is(s.bad, event.ErrUnknownKind) {
			s.unknown, s.bad = s.bad, nil
		}
	}
	s.checkSubject()
}

// scan reads a record in the usual form; false if it has another one.
func (s *step) scan(how *reading) bool {
	e, r := &s.rec, &s.rec.Record
	if e.Bytes = s.entry.Data; how.full == nil && !how.passing {
		e.Bytes = bytes.Clone(e.Bytes)
	}
	data, ok := event.Scan(e.Bytes, r)
	if !ok {
		return false
	}
	if how.full == nil || r.Kind == event.JournalGap || r.Kind == event.StateBase || how.full(r) {
		if how.full != nil && !how.passing {
			return false // it is to own its texts
		}
		if r.Data, ok = data.Decode(); !ok {
			return false
		}
	}
	if !how.unhashed {
		e.Hash = event.Hash(e.Bytes)
	}
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
	ready chan struct{} // sent to when work is done
}

// loaded gives all entries in their order with work done on each. A step is
// used again when the caller has asked for the next one, and its block is sent
// back when the caller has asked for one of another block.
func loaded(entries iter.Seq2[blocks.Entry, error], work func(*step), back chan<- *blocks.Block) iter.Seq[*step] {
	return func(yield func(*step) bool) {
		var (
			order = make(chan *batch, batches)
			jobs  = make(chan *batch, batches)
			used  = make(chan *batch, batches+2) // all that there can be
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
					b.ready <- struct{}{}
				}
			})
		}
		all.Go(func() {
			defer close(order)
			defer close(jobs)
			deal(entries, order, jobs, used, stop)
		})
		var lent *blocks.Block
		for b := range order {
			<-b.ready
			for i := range b.steps {
				s := &b.steps[i]
				if s.entry.Block != lent && s.fault == nil {
					giveBack(back, lent)
					lent = s.entry.Block
				}
				if !yield(s) {
					return
				}
			}
			used <- b
		}
	}
}

func giveBack(back chan<- *blocks.Block, b *blocks.Block) {
	if b == nil {
		return
	}
	select {
	case back <- b:
	default: // there is room enough
	}
}

// deal cuts the entries into batches for the workers and, in their order, for
// the caller.
func deal(entries iter.Seq2[blocks.Entry, error], order, jobs chan<- *batch, used <-chan *batch, stop <-chan struct{}) {
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
			select {
			case b = <-used:
				b.steps = b.steps[:0]
			default:
				b = &batch{steps: make([]step, 0, batchSize), ready: make(chan struct{}, 1)}
			}
		}
		b.add(e, err)
		if len(b.steps) == batchSize && !send() {
			return
		}
	}
	send()
}

// add puts an entry into the next step, whose line keeps its room.
func (b *batch) add(e blocks.Entry, err error) {
	n := len(b.steps)
	b.steps = b.steps[:n+1]
	s := &b.steps[n]
	*s = step{entry: e, fault: err, line: s.line[:0]}
}
