package executor

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"supd/executor/policy"
	"supd/journal/event"
	"supd/projector"
)

// Bounds of waiting for durability (R1).
const (
	// ActGrace is how long an act that follows from what happened waits for
	// its record to be durable before it goes on kept.
	ActGrace = 20 * time.Millisecond
	// ReplyGrace is how long a caller's answer waits.
	ReplyGrace = 200 * time.Millisecond
)

// maxUndrained is how many ended instances of a service may have output that
// is not on disk yet before its next start waits (R7).
const maxUndrained = 2

// Config is what a core is made of.
type Config struct {
	State    *projector.State
	Journal  Journal
	Keeper   Keeper
	Launches Launches
	Clock    Clock
	Source   string // of records: supd/<node>/<node id>

	Inbox       int // open commands; beyond it a command is answered busy
	Concurrency int // stubs on their way to their gates, see Window
	// Prober, if not nil, is told what to find out; NotifySocket is where services
	// speak for themselves, empty if they cannot.
	Prober       Prober
	NotifySocket string
	NodeID       string // which services are told, so that they can be told from another supd's
	BasePart     int    // bytes of state in a record of a base; 0: projector.MaxBasePart
	Poisoned     string // id of a command that killed the engine twice (R12)
	// Use, if not nil, is called when a configuration is applied, before services
	// are started with it: Launches answers from it afterwards.
	Use func(c *Core, digest string)
	// Upgrade, if not nil, is called when the upgrade of a command is recorded.
	Upgrade func(command string)
	// Quit is called once, when the last record is appended.
	Quit func(keepServices bool)
}

// Core owns the state. Its methods must be called from one goroutine.
type Core struct {
	Config
	durable   event.Seq
	inFlight  map[string]bool // keys of duties that are held or sent
	held      []held          // by record, oldest first
	parks     parkQueue
	timers    timers
	waiters   map[string][]func(event.CommandReply)
	output    undrained
	adopting  map[string]bool
	strangers strangers
	settled   bool           // recovery is over: duties may be carried out
	unready   bool           // but first a configuration may be applied: they wait for it
	later     []policy.Input // what acting brought to light; decided next
	failed    error          // an act that the keeper did not take
	now       policy.Now
	degraded  degradedTime
}

// NewCore returns a core that acts on nothing until it was told Started and
// Settle.
func NewCore(c Config) *Core {
	core := &Core{
		Config: c, inFlight: map[string]bool{}, timers: newTimers(), waiters: map[string][]func(event.CommandReply){},
		output: undrained{}, adopting: map[string]bool{}, strangers: strangers{}, parks: newParkQueue(c.Concurrency),
	}
	core.degraded.seq = c.State.Seq()
	return core
}

// SetConcurrency changes how many stubs may be on their way to their gates.
func (c *Core) SetConcurrency(n int) { c.parks.limit = max(1, n) }

// State is the state the core is at. The caller must be the core's goroutine.
func (c *Core) State() *projector.State { return c.Config.State }

// Durable is the last record that is known to be durable.
func (c *Core) Durable() event.Seq { return c.durable }

// Step decides one input, commits, and carries out what may be carried out.
// An error means that the run log failed, which ends the engine: its
// successor starts from what is kept.
func (c *Core) Step(in policy.Input) error {
	if err := c.step(in); err != nil {
		return err
	}
	return c.stepLater()
}

func (c *Core) step(in policy.Input) error {
	c.now = c.Clock.Now()
	if cmd, ok := in.(policy.Command); ok {
		if c.poisonous(cmd) {
			return c.setAside(cmd)
		}
		cmd.Full = len(c.Config.State.Commands) >= c.Inbox
		in = cmd
		c.Journal.NoteInHand(cmd.Request.ID)
		defer c.Journal.ClearInHand()
	}
	if p, ok := in.(policy.Parked); ok {
		p.SpecDigest = c.parks.digest(p.Service, p.Instance)
		in = p
	}
	tx := policy.NewTx(c.Config.State, c.now, c.Clock.Rand(), c.mint)
	policy.Decide(tx, in)
	if err := c.commit(tx.Records); err != nil {
		return err
	}
	// Where supd has stopped already, and only its keeper does not know, nothing is
	// settled: what an engine before this one perhaps did is not done again (R4).
	if _, ok := in.(policy.Settle); ok && !c.Config.State.Supd.Stopped {
		c.settled = true
		for name := range c.Config.State.Services {
			tx.Touched[name] = true
		}
	}
	c.observe(in)
	// What only tidies up waits until what somebody waits for is under way.
	tidying := func(e policy.Effect) bool { _, ok := e.(policy.Forget); return ok }
	for _, e := range tx.Effects {
		if !tidying(e) {
			c.effect(e)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(tx.Touched)) {
		c.refresh(name)
	}
	c.startParked()
	c.release()
	for _, e := range tx.Effects {
		if tidying(e) {
			c.effect(e)
		}
	}
	return nil
}

// holdDuties keeps all duties undone until goOn. Between recovery and the
// configuration that supd was started with the state wants services as they were
// specified before, and an edited one has no launch any more: started now it
// would be fatal.
func (c *Core) holdDuties() { c.unready = true }

func (c *Core) goOn() error {
	c.now = c.Clock.Now()
	c.unready = false
	for _, name := range slices.Sorted(maps.Keys(c.Config.State.Services)) {
		c.refresh(name)
	}
	c.startParked()
	c.release()
	return c.stepLater()
}

// stepLater decides what acting has brought to light. What that brings to
// light in turn waits for the next step or pass: a service whose every start
// fails at once must not keep the core from the others.
func (c *Core) stepLater() error {
	if c.failed != nil {
		return c.failed
	}
	batch := c.later
	c.later = nil
	for _, in := range batch {
		if err := c.step(in); err != nil {
			return err
		}
	}
	return nil
}

// poisonous tells a command on which the engine died twice and that it never
// accepted: one that is in the state is answered from there.
func (c *Core) poisonous(cmd policy.Command) bool {
	id, s := cmd.Request.ID, c.Config.State
	return c.Poisoned != "" && id == c.Poisoned && s.Commands[id] == nil && s.EndedCommand(id) == nil
}

// setAside refuses a poisonous command, and says so in the journal (R12).
func (c *Core) setAside(cmd policy.Command) error {
	const why = "supd's engine died twice on this command; it is set aside"
	id := cmd.Request.ID
	err := c.step(policy.Rejected{Actor: cmd.Actor, Command: &id, Reason: event.RejectMalformed, Detail: why, Count: 1})
	if err != nil {
		return err
	}
	c.reply(policy.Reply{Command: id, Reply: event.CommandReply{
		Status: event.ReplyRejected, Command: id, Seq: c.Config.State.Seq(), Reason: event.RejectMalformed, Detail: why,
	}})
	return nil
}

// mint makes the next record of a draft.
func (c *Core) mint(d event.Draft) (event.Encoded, error) {
	s := c.Config.State
	return event.Encode(event.Record{
		ID: c.Clock.ID(), Source: c.Source, Kind: d.Data.Kind(), Subject: d.Subject, Time: c.now.Wall, Mono: c.now.Mono,
		Boot: c.now.Boot, Seq: s.Seq() + 1, Prev: s.Hash(), Cause: d.Cause, Actor: d.Actor, Data: d.Data,
	})
}

func (c *Core) commit(records []event.Encoded) error {
	if len(records) == 0 {
		return nil
	}
	err := c.Journal.Append(records)
	if errors.Is(err, ErrFull) {
		err = c.dropUndurable(records...)
	}
	if err != nil {
		return fmt.Errorf("cannot keep records %d to %d: %w",
			records[0].Record.Seq, records[len(records)-1].Record.Seq, err)
	}
	return nil
}

// Tend gives the journal what it needs, and lets time pass: call it after a
// batch of steps. A base that is due when supd has stopped is the next engine's:
// nothing follows the last record that can wait.
func (c *Core) Tend() error {
	p := c.Journal.Pressure()
	if p.Base && !c.Config.State.Supd.Stopped {
		if err := c.Step(policy.Base{Part: c.BasePart}); err != nil {
			return err
		}
	}
	if p.Full {
		return c.dropUndurable()
	}
	if p.Compact {
		s := c.Config.State
		if err := c.Journal.Compact(s.Kept(), s.Seq(), s.Hash()); err != nil {
			return fmt.Errorf("cannot compact the run log: %w", err)
		}
	}
	return nil
}

// dropUndurable gives up records that the journal could not take for so long
// that the run log is nearly full. The gap is counted and a base follows it, so
// that a fold is true again behind it (R10, P4). What is dropped are only
// tellings: the state has them all, those of a batch that found no room too.
func (c *Core) dropUndurable(refused ...event.Encoded) error {
	gap := c.Journal.Undurable(int64(len(c.Config.State.Kept())), refused...)
	if gap.Last == 0 {
		return nil
	}
	gap.Why = "the run log was full before the journal took records again"
	c.now = c.Clock.Now()
	s := c.Config.State
	tx := policy.NewTx(s, c.now, 0, c.mint)
	policy.Decide(tx, policy.Note{Data: gap})
	policy.Decide(tx, policy.Base{Part: c.BasePart})
	if err := c.Journal.Drop(tx.Records, s.Kept(), s.Seq(), s.Hash()); err != nil {
		return fmt.Errorf("cannot make room in the run log: %w", err)
	}
	return nil
}

// SetDurable tells that all records up to seq are durable. A degraded time ends
// a while after everything up to its beginning is.
func (c *Core) SetDurable(seq event.Seq) error {
	c.now = c.Clock.Now()
	c.durable = max(c.durable, seq)
	if c.degraded.from == 0 {
		c.degraded.from = c.durable
	}
	c.release()
	c.caughtUp()
	return c.failed
}

// Pass lets time pass: due deadlines become ticks, held acts whose time is
// over are carried out.
func (c *Core) Pass() error {
	c.now = c.Clock.Now()
	if err := c.stepLater(); err != nil {
		return err
	}
	for {
		name, ok := c.timers.due(c.now.Mono)
		if !ok {
			break
		}
		if err := c.Step(policy.Tick{Service: name}); err != nil {
			return err
		}
	}
	return c.releaseOverdue()
}

// Next is how long the core can be left alone; ok is false if nothing is due.
func (c *Core) Next() (wait time.Duration, ok bool) {
	if len(c.later) > 0 {
		return 0, true
	}
	next := c.timers.next()
	for _, h := range c.held {
		next = min(next, h.until)
	}
	if !c.Config.State.Supd.Stopped {
		next = min(next, c.degraded.next())
	}
	if next == never {
		return 0, false
	}
	return max(0, time.Duration(next-c.Clock.Now().Mono)), true
}

// Idle tells that nothing waits for durability.
func (c *Core) Idle() bool { return len(c.held) == 0 }

// Await registers an answer for the command that the next Step decides; reply
// is called on the core's goroutine and must not block.
func (c *Core) Await(command string, reply func(event.CommandReply)) {
	c.waiters[command] = append(c.waiters[command], reply)
}
