package executor

import (
	"slices"
	"syscall"
	"time"

	"supd/executor/keeper"
	"supd/executor/keeper/wire"
	"supd/executor/policy"
	"supd/executor/policy/policytest"
	"supd/executor/probe"
	"supd/journal/event"
)

// ear is what an engine has of the notify socket, and of the loop's calls. It dies
// with it; what lies in the socket does not.
type ear struct {
	naming *naming             // the keeper has not answered
	drains []drain             // to be told when all before them is heard
	calls  []func(*Core) error // of other goroutines, for the loop
	deaf   bool                // nothing is read: others flood the socket
	ends   map[string]int64    // exits of which the loop was told, and when
}

type naming struct {
	policytest.Said
	answer chan string
}

type drain struct {
	after int // so many messages
	heard func()
}

// told is what the keeper tells by a slot, as it was then.
type told struct {
	policy.Input
	slot keeper.Slot
}

// Told is what the slot tells.
func (t told) Told() policy.Input { return t.Input }

// slotted puts what the loop reads from slots into one.
func (r *rig) slotted(in policy.Input) policy.Input {
	var s keeper.Slot
	switch in := in.(type) {
	case policy.Exited:
		s = slotOf(in)
	case policy.TreeEmpty:
		if x := r.w.Ended(in.Instance); x != nil {
			s = slotOf(*x)
		}
		s.Service, s.Instance, s.State, s.TreeEmpty = in.Service, in.Instance, wire.StateExited, true
	case policy.Followed:
		s = keeper.Slot{Service: in.Service, Instance: in.Instance, State: wire.StateOpen, PID: in.PID, StartTime: in.StartTime}
	case policytest.Unfollowed:
		s = keeper.Slot{Service: in.Service, Instance: in.Instance, State: wire.StateOpen}
	default:
		return in
	}
	pid, refused := r.w.Named(s.Instance)
	s.Named, s.Refused = pid, map[string]wire.Refusal{
		policytest.RefusedGone: wire.RefusalGone, policytest.RefusedEnded: wire.RefusalEnded,
	}[refused]
	return told{in, s}
}

func slotOf(x policy.Exited) keeper.Slot {
	s := keeper.Slot{
		Service: x.Service, Instance: x.Instance, State: wire.StateExited, Leftovers: x.Leftovers,
		Exit: keeper.Exit{Known: !x.Unknown, Status: syscall.WaitStatus(x.Code << 8)},
	}
	if n, ok := event.SignalNumber(x.Signal); ok {
		s.Exit.Status = syscall.WaitStatus(n)
	}
	return s
}

// decide has the loop decide what it is told.
func (r *rig) decide(in policy.Input) error {
	switch in := in.(type) {
	case told:
		if x, ok := in.Input.(policy.Exited); ok {
			r.ends[x.Instance] = r.w.Now.Mono
		}
		return r.loop.keeperEvent(eventOf(in))
	case policy.Forgotten:
		return r.loop.keeperEvent(keeper.Unknown{Instance: in.Instance})
	}
	return r.core.Step(in)
}

func eventOf(in told) keeper.Event {
	switch in.Input.(type) {
	case policy.Exited:
		return keeper.Exited{Slot: in.slot}
	case policy.TreeEmpty:
		return keeper.TreeEmpty{Slot: in.slot}
	case policy.Followed:
		return keeper.Followed{Slot: in.slot}
	}
	return keeper.Unchanged{Slot: in.slot}
}

// newLoop makes an engine's loop, of which the rig is all goroutines.
func (r *rig) newLoop(c Config) {
	r.ear, c.BasePart = ear{deaf: r.ear.deaf, ends: map[string]int64{}}, r.basePart
	l := NewLoop(LoopConfig{Core: c, Host: rigKeeper{r}, Drain: func(heard func()) bool {
		r.drains = append(r.drains, drain{len(r.w.Said), heard})
		return true
	}})
	l.core.Quit = func(bool) { r.quit = true }
	l.post = func(f func(*Core) error) { r.calls = append(r.calls, f) }
	l.after = func(d time.Duration, f func()) {
		r.w.After(d, func() {
			if r.loop == l { // it dies with its engine
				f()
			}
		})
	}
	r.loop, r.core = l, l.core
}

// settle is what the loop makes of a table: exits that may be taken back wait.
func (r *rig) settle(in policy.Settle) error {
	var undecided []keeper.Slot
	for i := range in.Found {
		f := &in.Found[i]
		if f.Exited == nil {
			continue
		}
		slot := slotOf(*f.Exited)
		slot.TreeEmpty = f.TreeEmpty
		if r.loop.undecided(slot, f) {
			r.saw("an exit in the table that may be taken back")
			undecided, r.ends[slot.Instance] = append(undecided, slot), r.w.Now.Mono
		}
	}
	if err := r.core.Step(in); err != nil {
		return err
	}
	for _, slot := range undecided {
		if err := r.loop.exited(slot); err != nil {
			return err
		}
	}
	return nil
}

// hear takes what lies in the notify socket, as a prober does: one message after
// the other, each for as long as it takes to decide; false if there is none.
func (r *rig) hear() bool {
	if r.unanswered() || r.deaf {
		return false
	}
	for i, d := range r.drains {
		if d.after == 0 {
			r.drains = slices.Delete(r.drains, i, i+1)
			d.heard()
			return true
		}
	}
	if len(r.w.Said) == 0 {
		return false
	}
	said := r.w.Said[0]
	t, ok := r.targets[said.Service]
	switch {
	case !ok || t.Instance != said.Instance || t.Watchdog == 0 && (t.ReadyBy == nil || !t.ReadyBy.Notify):
		r.heard() // nobody of ours, or not one that may speak
		return true
	case !t.Running && len(r.w.Queue) > 0:
		return false // the keeper's word that its program runs is under way
	}
	n := &naming{said, make(chan string, 1)}
	r.naming = n
	r.do(func() error {
		return r.loop.named(probe.Main{Service: said.Service, Instance: said.Instance, PID: said.PID}, n.answer)
	})
	if r.unanswered() && r.choose(8) == 7 {
		r.saw("the keeper takes its time to follow")
		r.w.Advance(hearLimit)
		r.owed = map[string]int64{}
	}
	return true
}

// premature tells that an exit is recorded though the service has named another
// main process that lives, and there was time to hear it.
func (r *rig) premature(d event.InstanceExitedData) bool {
	at, waited := r.ends[d.Instance]
	return d.Leftovers && waited && r.w.Now.Mono-at < int64(hearLimit) && slices.ContainsFunc(r.w.Said, func(said policytest.Said) bool {
		v := r.core.State().Services[said.Service]
		return said.Instance == d.Instance && notifies(&v.Spec) && r.w.Follows(said)
	})
}

// heard takes the oldest message out of the socket.
func (r *rig) heard() {
	r.w.Said = r.w.Said[1:]
	for i := range r.drains {
		r.drains[i].after--
	}
}

// unanswered tells that the keeper has not answered. When it has, what it says is kept.
func (r *rig) unanswered() bool {
	if r.naming == nil {
		return false
	}
	select {
	case refused := <-r.naming.answer:
		said := r.naming.Said
		if v := r.core.State().Services[said.Service]; refused == "" && (v == nil || v.Instance == nil || v.Instance.ID != said.Instance || v.Instance.PID != said.PID) {
			r.fatalf("P6: %+v is said to be followed, and the state has another main process", said)
		}
		r.naming = nil
		r.heard()
		return false
	default:
		return true
	}
}

// call runs one call that waits for the loop; false if there is none.
func (r *rig) call() bool {
	if len(r.calls) == 0 {
		return false
	}
	f := r.calls[0]
	r.calls = r.calls[1:]
	r.do(func() error { return f(r.core) })
	r.unanswered()
	return true
}

// Follow, Events and HostSignalDone make the world a loop's Host.
func (k rigKeeper) Follow(f keeper.Follow) error {
	k.point("before another main process is followed")
	k.w.Follow(f.Instance, f.PID)
	k.point("after another main process is followed")
	return nil
}

// Events is for a loop that runs.
func (k rigKeeper) Events() <-chan keeper.Event { return nil }

// HostSignalDone is for one that is told of signals.
func (k rigKeeper) HostSignalDone(uint64) error { return nil }
