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
	if act && c.Config.State.Supd.Degraded && c.degraded.calm == 0 {
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

// calmTime is how long everything must have been durable in time before a
// degraded time ends: a disk that hiccups for seconds makes one, not dozens.
const calmTime = 250 * time.Millisecond

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
	degrade := false
	for _, h := range due {
		h.do(h.after <= c.durable)
		degrade = degrade || h.act && h.after > c.durable
	}
	if c.Config.State.Supd.Degraded {
		if degrade && c.degraded.calm != 0 {
			c.degraded.seq, c.degraded.calm = c.Config.State.Seq(), 0
		}
		return c.heal()
	}
	if !degrade {
		return c.failed
	}
	from, mono := c.durable, c.now.Mono
	err := c.Step(policy.Note{Data: event.JournalDegradedData{
		Why: "no durable acknowledgement within " + ActGrace.String(), Since: c.now.Wall,
	}})
	c.degraded.seq, c.degraded.from, c.degraded.mono, c.degraded.calm = c.Config.State.Seq(), from, mono, 0
	return err
}

// caughtUp notes that all that was kept in a degraded time is durable.
func (c *Core) caughtUp() {
	if !c.Config.State.Supd.Degraded || c.degraded.calm != 0 || c.durable < c.degraded.seq {
		return
	}
	c.degraded.calm, c.degraded.to = c.now.Mono+int64(calmTime), c.durable
}

// heal ends a degraded time once it has been calm for long enough. Nothing
// follows supd.stopped: then the next engine ends it.
func (c *Core) heal() error {
	calm := c.degraded.calm
	if calm == 0 || c.now.Mono < calm || c.Config.State.Supd.Stopped {
		return c.failed
	}
	d := event.JournalHealedData{Records: int(c.degraded.to - c.degraded.from), Method: "caught-up"}
	if c.degraded.mono > 0 {
		d.Duration = event.Duration(calm - int64(calmTime) - c.degraded.mono)
	}
	c.degraded.calm = 0
	return c.Step(policy.Note{Data: d})
}
