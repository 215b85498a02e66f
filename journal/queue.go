package journal

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"supd/journal/event"
)

// Limits of one publish; the server is told of the first (startServer). Each batch
// has a store of its own in JetStream and some syncs, whatever its size, so what
// piled up while a disk did not write becomes durable sooner in large ones.
const (
	maxBatchRecords = 4000
	maxBatchBytes   = 4 << 20
)

// queue holds the records that are kept and not yet durable, in order. The
// run log bounds it, since nothing is here that is not there too.
type queue struct {
	mu      sync.Mutex
	durable Link
	recs    []event.Encoded
	wake    chan struct{} // has one token when there may be records
	moved   chan struct{} // closed and replaced when durable advances
	fork    error
}

func newQueue(durable Link) *queue {
	return &queue{durable: durable, wake: make(chan struct{}, 1), moved: make(chan struct{})}
}

func (q *queue) push(batch []event.Encoded) {
	q.mu.Lock()
	q.recs = append(q.recs, batch...)
	q.mu.Unlock()
	q.signal()
}

// replace gives up all records for these (R10).
func (q *queue) replace(batch []event.Encoded) {
	q.mu.Lock()
	q.recs = append([]event.Encoded(nil), batch...)
	q.mu.Unlock()
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns the oldest records, as many as one publish may carry. They stay
// in the queue until they are durable.
func (q *queue) take() []event.Encoded {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, size := 0, 0
	for n < len(q.recs) && n < maxBatchRecords {
		size += len(q.recs[n].Bytes)
		if n > 0 && size > maxBatchBytes {
			break
		}
		n++
	}
	return q.recs[:n:n]
}

// settle compares the end of JOURNAL with the queue and moves on to it (R6).
//
//	end of JOURNAL                        what it means
//	the newest durable record             nothing more was stored: publish on
//	a record in the queue, same hash      all up to it was stored: publish on behind it
//	in the range of a gap at the front    part of what was given up was stored late: the gap comes next
//	a durable number, another hash        fork
//	before the newest durable record      durable records are lost: errLost, see restore
//	behind all that is known              another writer: fork
func (q *queue) settle(end Link) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if end == q.durable {
		return nil
	}
	if end.Seq < q.durable.Seq {
		return errLost
	}
	if end.Seq == q.durable.Seq {
		return q.forked(fmt.Sprintf("record %d was durable, JOURNAL ends with record %d (hash %.12s…)", q.durable.Seq, end.Seq, end.Hash))
	}
	for _, e := range q.recs {
		if e.Record.Seq != end.Seq {
			continue
		}
		if e.Hash != end.Hash {
			return q.forked(fmt.Sprintf("record %d has hash %.12s… in JOURNAL and %.12s… here", end.Seq, end.Hash, e.Hash))
		}
		q.advance(end)
		return nil
	}
	if len(q.recs) > 0 {
		gap, ok := q.recs[0].Record.Data.(event.JournalGapData)
		if ok && bridges(gap, q.recs[0], end.Seq) {
			q.advance(end)
			return nil
		}
	}
	return q.forked(fmt.Sprintf("JOURNAL ends with record %d, which is not from here", end.Seq))
}

func (q *queue) forked(what string) error {
	q.fork = fmt.Errorf("%w: %s", ErrFork, what)
	q.wakeWaiters()
	return q.fork
}

// stop notes that nothing will become durable any more.
func (q *queue) stop(fork error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.fork = fork
	q.wakeWaiters()
}

// restore takes end for the newest durable record and puts those of recs back
// that were durable and come after it. It returns how many. What was never
// durable is in the queue, or about to be pushed.
func (q *queue) restore(end Link, recs []event.Encoded) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for n < len(recs) && recs[n].Record.Seq <= q.durable.Seq {
		n++
	}
	q.recs = append(recs[:n:n], q.recs...)
	q.durable = end
	return n
}

// advanceTo notes that everything up to link is durable.
func (q *queue) advanceTo(link Link) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.advance(link)
}

func (q *queue) advance(link Link) {
	n := 0
	for n < len(q.recs) && q.recs[n].Record.Seq <= link.Seq {
		q.recs[n] = event.Encoded{} // let go of the bytes
		n++
	}
	q.recs = q.recs[n:]
	if len(q.recs) == 0 {
		q.recs = nil
	}
	q.durable = link
	q.wakeWaiters()
}

func (q *queue) wakeWaiters() {
	close(q.moved)
	q.moved = make(chan struct{})
}

// end is the newest record in the queue or durable.
func (q *queue) end() Link {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.recs); n > 0 {
		return LinkOf(q.recs[n-1])
	}
	return q.durable
}

// waiting are the records in the queue as the run log holds them.
func (q *queue) waiting() []rawRecord {
	q.mu.Lock()
	defer q.mu.Unlock()
	var recs []rawRecord
	for _, e := range q.recs {
		recs = append(recs, rawRecord{seq: uint64(e.Record.Seq), bytes: e.Bytes})
	}
	return recs
}

// newest is the number of the newest record in the queue or durable.
func (q *queue) newest() event.Seq {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.recs) > 0 {
		return q.recs[len(q.recs)-1].Record.Seq
	}
	return q.durable.Seq
}

func (q *queue) durableLink() Link {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.durable
}

// wait returns when record seq is durable, when ctx ends, or with ErrFork.
func (q *queue) wait(ctx context.Context, seq event.Seq) error {
	for {
		q.mu.Lock()
		reached, fork, moved := q.durable.Seq >= seq, q.fork, q.moved
		q.mu.Unlock()
		if reached || fork != nil {
			return fork
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// undurable says what would be given up if the queue, with more behind it, were
// dropped now; with nothing Last is 0. A gap record (R10) is made of it: its
// number is Last+1 and its prev is LastHash. budget bounds what it carries.
func (q *queue) undurable(budget int64, more []event.Encoded) event.JournalGapData {
	q.mu.Lock()
	recs := slices.Concat(q.recs, more) // advance clears what is in the queue
	q.mu.Unlock()
	return gapOf(recs, budget)
}
