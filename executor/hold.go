package executor

import (
	"time"

	"supd/executor/policy"
	"supd/journal/event"
)

// held is something that waits for its record to be durable.
type held struct {
	after event.Seq
	until int64 // CLOCK_BOOTTIME at which it goes on kept
	act   bool  // an act, not an answer: going on kept is a degraded journal
	do    func(durable bool)
}

func (c *Core) hold(after event.Seq, grace time.Duration, act bool, do func(durable bool)) {
	if after <= c.durable {
		do(true)
		return
	}
	until := c.now.Mono + int64(grace)
	if act && c.late() && c.degraded.calm == 0 {
		until = c.now.Mono // the journal is known not to answer (R1)
	}
	c.held = append(c.held, held{after, until, act, do})
}

// release lets go what is durable, in order.
func (c *Core) release() {
	rest := c.held[:0]
	var due []held
	for _, h := range c.held {
		if h.after <= c.durable {
			due = append(due, h)
		} else {
			rest = append(rest, h)
		}
	}
	c.held = rest
	for _, h := range due {
		h.do(true)
	}
}

// Bounds of what is told of degraded times.
const (
	// tellAfter is how long acts must have gone on kept before a degraded time
	// enters the journal. Each start of JetStream and each slow sync is late for a
	// moment: nothing is lost by it, and a pair of records for each would bury the
	// times that matter. The record says when it began.
	tellAfter = 200 * time.Millisecond
	// calmTime is how long everything must have been durable in time before a
	// degraded time ends: a disk that hiccups for seconds makes one, not dozens.
	calmTime = 250 * time.Millisecond
)

// degradedTime is the time that is open in which acts go on kept (R1).
type degradedTime struct {
	untold bool      // it is not in the journal (yet)
	since  time.Time // when it began
	mono   int64     // the same as CLOCK_BOOTTIME; 0: an earlier engine opened it
	seq    event.Seq // it ends when this is durable
	from   event.Seq // what was durable before it; 0: not told yet
	to     event.Seq // what was durable when all had caught up
	calm   int64     // when it ends if nothing is late until then; 0: not caught up
}

// next is when there is something to do about it.
func (d *degradedTime) next() int64 {
	switch {
	case d.calm != 0:
		return d.calm
	case d.untold:
		return d.mono + int64(tellAfter)
	}
	return never
}

// late tells that acts do not wait: the journal is known not to answer.
func (c *Core) late() bool { return c.degraded.untold || c.Config.State.Supd.Degraded }

// releaseOverdue lets go what has waited long enough. The first act that goes
// on without being durable opens a degraded time; it is closed when all that
// was kept is durable and that has lasted for calmTime.
func (c *Core) releaseOverdue() error {
	var due []held
	rest := c.held[:0]
	for _, h := range c.held {
		if h.until <= c.now.Mono {
			due = append(due, h)
		} else {
			rest = append(rest, h)
		}
	}
	c.held = rest
	late := false
	for _, h := range due {
		h.do(h.after <= c.durable)
		late = late || h.act && h.after > c.durable
	}
	switch {
	case late && !c.late():
		c.degraded = degradedTime{
			untold: true, since: c.now.Wall, mono: c.now.Mono, seq: c.Config.State.Seq(), from: c.durable,
		}
	case late && c.degraded.calm != 0:
		c.degraded.seq, c.degraded.calm = c.Config.State.Seq(), 0
	}
	return c.tellDegraded()
}

// tellDegraded records that a degraded time is there once it has lasted, and
// that it is over once it has been calm for long enough. Nothing follows
// supd.stopped: then the next engine ends it.
func (c *Core) tellDegraded() error {
	d := &c.degraded
	if c.Config.State.Supd.Stopped || c.now.Mono < d.next() {
		return c.failed
	}
	if d.calm == 0 {
		d.untold = false
		err := c.Step(policy.Note{Data: event.JournalDegradedData{
			Why: "no durable acknowledgement within " + ActGrace.String(), Since: d.since,
		}})
		d.seq = c.Config.State.Seq()
		return err
	}
	calm := d.calm
	d.calm = 0
	if d.untold {
		d.untold = false
		return c.failed
	}
	healed := event.JournalHealedData{Records: int(d.to - d.from), Method: "caught-up"}
	if d.mono > 0 {
		healed.Duration = event.Duration(calm - int64(calmTime) - d.mono)
	}
	return c.Step(policy.Note{Data: healed})
}

// caughtUp notes that all that was kept in a degraded time is durable.
func (c *Core) caughtUp() {
	if !c.late() || c.degraded.calm != 0 || c.durable < c.degraded.seq {
		return
	}
	c.degraded.calm, c.degraded.to = c.now.Mono+int64(calmTime), c.durable
}
