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
	if act && c.Config.State.Supd.Degraded {
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

// releaseOverdue lets go what has waited long enough. The first act that goes
// on without being durable opens a degraded time; it is closed when all that
// was kept is durable.
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
	degrade := false
	for _, h := range due {
		h.do(h.after <= c.durable)
		degrade = degrade || h.act && h.after > c.durable
	}
	if !degrade || c.Config.State.Supd.Degraded {
		return c.failed
	}
	from, mono := c.durable, c.now.Mono
	err := c.Step(policy.Note{Data: event.JournalDegradedData{
		Why: "no durable acknowledgement within " + ActGrace.String(), Since: c.now.Wall,
	}})
	c.degraded.seq, c.degraded.from, c.degraded.mono = c.Config.State.Seq(), from, mono
	return err
}
