package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"supd/journal/event"
)

// Notify is how the journal tells the engine what happens behind it. The
// functions are called by the publisher's goroutine, one at a time, and must
// return at once. Any of them may be nil.
type Notify struct {
	// Durable is called when all records up to seq have become durable.
	Durable func(seq event.Seq)
	// Degraded is called when JOURNAL has not taken records for a second or
	// has failed twice; since is when that began. The engine goes on kept.
	Degraded func(why string, since time.Time)
	// Healed ends what Degraded began, once all that had piled up is durable.
	Healed func(duration time.Duration, records int, method string)
	// Damaged is called when JOURNAL or the run log turned out to be damaged,
	// once for each place, after what could be read was saved. A base should be
	// appended, so that a fold can start behind the damage. It may be called by
	// Start and by another goroutine than the rest.
	Damaged func(event.JournalDamagedData)
	// Forked is called at most once, with an error that wraps ErrFork. Nothing
	// becomes durable any more.
	Forked func(err error)
}

// publisher moves records from the queue to the stream: one goroutine, one
// publish at a time. What is appended while a publish is under way goes
// together in the next one, which is all the grouping there is.
type publisher struct {
	open    func(ctx context.Context) (Stream, error)
	q       *queue
	mark    func(Link)           // notes durability in the run log
	restore func(end Link) error // goes on where JOURNAL ends before what was durable
	notify  Notify
	timeout time.Duration // of one call to the stream
	closing chan struct{} // closed when nothing more comes

	stream   Stream
	tail     Tail
	settled  bool      // tail is known to be the stream's end
	failures int       // in a row
	began    time.Time // of the first of them
	cure     string    // what Heal found and mended meanwhile

	degraded bool
	from     event.Seq // newest durable record when it degraded
	goal     event.Seq // Healed is due when this is durable; 0 before the first success
}

const (
	publishTimeout = 2 * time.Second
	degradedAfter  = time.Second
	backoffFirst   = 20 * time.Millisecond
	// A disk that is well again is found within this and a publish. A look costs
	// a statfs and, with space, one probe write; restarts are rarer (restartEvery).
	backoffMax = 100 * time.Millisecond
	// plainTimeout is that of a publish without an atomic batch: into a full disk
	// it is never answered, and space that came back meanwhile would go unseen.
	// What was only slow is found by reading back, at no loss.
	plainTimeout = 500 * time.Millisecond
	// sickTimeout is the timeout while the store is sick.
	sickTimeout = 250 * time.Millisecond
)

// run works until ctx ends or the journal forks.
func (p *publisher) run(ctx context.Context) {
	for ctx.Err() == nil {
		batch := p.q.take()
		if p.settled && len(batch) == 0 {
			select {
			case <-p.q.wake:
			case <-ctx.Done():
			}
			continue
		}
		if p.settled && p.failures == 0 && len(batch) > plainMax && len(batch) < maxBatchRecords {
			p.gather(ctx, batch)
			batch = p.q.take()
		}
		began, before := time.Now(), p.q.durableLink()
		err := p.step(ctx, batch)
		switch {
		case err == nil:
			p.succeeded(p.q.durableLink() != before)
		case errors.Is(err, ErrFork):
			if p.notify.Forked != nil {
				p.notify.Forked(err)
			}
			return
		default:
			p.failed(ctx, began, err)
		}
	}
}

// In a storm, records gather before they go: each atomic batch makes and removes
// a store of its own in JetStream, for several milliseconds of the processor
// that the storm itself needs. Less than half of what acts wait for (R1).
const (
	gatherEach = 3 * time.Millisecond
	gatherMost = 3 * gatherEach
)

// gather waits while more records come, as long as one batch takes them.
func (p *publisher) gather(ctx context.Context, batch []event.Encoded) {
	tick := time.NewTicker(gatherEach)
	defer tick.Stop()
	for end := time.Now().Add(gatherMost); time.Now().Before(end); {
		select {
		case <-tick.C:
		case <-p.closing:
			return
		case <-ctx.Done():
			return
		}
		more := p.q.take()
		if len(more) == len(batch) || len(more) == maxBatchRecords {
			return
		}
		batch = more
	}
}

// step settles if the end of the stream is in doubt, else publishes the batch.
func (p *publisher) step(ctx context.Context, batch []event.Encoded) error {
	timeout := p.timeout
	switch {
	case p.settled && p.failures > 0:
		timeout = min(timeout, sickTimeout)
	case p.settled && len(batch) <= plainMax:
		timeout = min(timeout, plainTimeout)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if !p.settled {
		return p.settle(ctx)
	}
	if p.failures > 0 {
		// A sick store is tried with one record: JetStream leaves a goroutine
		// behind for each batch that it cannot stage (P9).
		batch = batch[:1]
	}
	tail, err := p.stream.Publish(ctx, p.tail, batch)
	if err != nil {
		p.settled = false // in doubt: it may have been stored, or will be (R6)
		return err
	}
	p.tail = tail
	p.q.advanceTo(tail.Link)
	p.advanced(tail.Link)
	return nil
}

// settle makes the stream usable and learns where it ends. The same steps serve
// the first start and every failed publish.
func (p *publisher) settle(ctx context.Context) error {
	if p.stream == nil {
		s, err := p.open(ctx)
		if err != nil {
			return err
		}
		p.stream = s
	} else if p.failures > 0 {
		why, err := p.stream.Heal(ctx)
		if err != nil {
			return fmt.Errorf("cannot heal journal: %w", err)
		}
		if why != "" {
			p.cure = "restarted JetStream: " + why
		}
	}
	tail, err := p.stream.Last(ctx)
	if err != nil {
		return err
	}
	before := p.q.durableLink()
	if err := p.agree(tail.Link); err != nil {
		return err
	}
	p.tail, p.settled = tail, true
	if tail.Link.Seq > before.Seq {
		p.advanced(tail.Link)
	}
	return nil
}

// agree compares the end of JOURNAL with what is known here.
func (p *publisher) agree(end Link) error {
	err := p.q.settle(end)
	if !errors.Is(err, errLost) {
		return err
	}
	if err = p.restore(end); errors.Is(err, ErrFork) {
		p.q.stop(err)
	}
	return err
}

func (p *publisher) advanced(link Link) {
	p.mark(link)
	if p.notify.Durable != nil {
		p.notify.Durable(link.Seq)
	}
}

// failed counts, tells, and waits before the next attempt. The first failure
// is repeated at once: most often it is an answer that got lost.
func (p *publisher) failed(ctx context.Context, began time.Time, err error) {
	if ctx.Err() != nil {
		return
	}
	p.failures++
	p.goal = 0
	if p.failures == 1 {
		p.began = began
	}
	if !p.degraded && (p.failures > 1 || time.Since(p.began) >= degradedAfter) {
		p.degraded, p.from, p.cure = true, p.q.durableLink().Seq, ""
		if p.notify.Degraded != nil {
			p.notify.Degraded(err.Error(), p.began)
		}
	}
	if p.failures == 1 {
		return
	}
	wait := time.NewTimer(min(backoffFirst<<min(p.failures-2, 10), backoffMax))
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
	}
}

// succeeded ends a row of failures when records became durable or none wait:
// that the end could be read does not mean that the store writes.
func (p *publisher) succeeded(progress bool) {
	durable, newest := p.q.durableLink().Seq, p.q.newest()
	if !progress && durable != newest {
		return
	}
	p.failures = 0
	if !p.degraded {
		return
	}
	if p.goal == 0 {
		p.goal = newest
	}
	if durable < p.goal {
		return
	}
	p.degraded = false
	if p.notify.Healed != nil {
		method := p.cure
		if method == "" {
			method = "the store answered again"
		}
		p.notify.Healed(time.Since(p.began), int(durable-p.from), method)
	}
}
