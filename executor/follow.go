package executor

import (
	"context"
	"os"
	"time"

	"supd/executor/keeper"
	"supd/executor/keeper/wire"
	"supd/executor/policy"
	"supd/executor/probe"
	"supd/projector"
)

// hearLimit bounds how long the exit of a main process waits for what its service
// may have said before: supervision does not wait for one who floods the socket.
const hearLimit = 2 * time.Second

// follow is a process that the keeper was asked to take for a main one.
type follow struct {
	pid    int
	answer chan<- string
}

// end is an exit that is decided when all was heard that its service had said.
type end struct {
	slot    keeper.Slot
	overdue bool // it waits for the keeper's answer alone
}

// Follow has another process taken for the main one of an instance, and returns
// when that is kept, or why it is not. It may be called from any goroutine but the
// loop's.
func (l *Loop) Follow(ctx context.Context, m probe.Main) (refused string, err error) {
	answer := make(chan string, 1)
	if err = l.Do(ctx, func(*Core) error { return l.named(m, answer) }); err != nil {
		return "", err
	}
	select {
	case refused = <-answer:
		return refused, nil
	case <-ctx.Done():
		return "", ctx.Err()
	case <-l.done:
		return "", l.over
	}
}

// named asks the keeper to follow, or answers at once. It is called on the loop's
// goroutine, which answer must not block.
func (l *Loop) named(m probe.Main, answer chan<- string) error {
	v := l.core.State().Services[m.Service]
	switch {
	case v == nil || v.Instance == nil || v.Instance.ID != m.Instance:
		answer <- wire.RefusalEnded.String()
		return nil
	case v.Instance.PID == m.PID && l.ends[m.Instance] == nil:
		answer <- "" // many name themselves, again and again
		return nil
	}
	l.follows[m.Instance] = follow{m.PID, answer}
	return l.Host.Follow(keeper.Follow{Instance: m.Instance, PID: m.PID, Sender: m.Sender, User: l.core.user(v)})
}

// user is the one that an instance was started as; root where its specification is
// not known any more, so that root alone may name its main process.
func (c *Core) user(v *projector.Service) uint32 {
	launch, err := c.Launches.Launch(v.Name, v.Instance.SpecDigest)
	switch {
	case err != nil:
		return 0
	case launch.SetUser:
		return launch.UID
	}
	return uint32(os.Geteuid())
}

// answer tells who waits for a Follow what came of it: the slot that answers it
// names the process, and comes with whatever else has changed. What follows from
// that is decided already.
func (l *Loop) answer(e keeper.Event) error {
	var s keeper.Slot
	switch e := e.(type) {
	case keeper.Followed:
		s = e.Slot
	case keeper.Unchanged:
		s = e.Slot
	case keeper.Ready:
		s = e.Slot
	case keeper.Exited:
		s = e.Slot
	case keeper.TreeEmpty:
		s = e.Slot
	case keeper.Drained:
		s = e.Slot
	case keeper.Unknown:
		s = keeper.Slot{Instance: e.Instance, Named: l.follows[e.Instance].pid, Refused: wire.RefusalEnded}
	}
	f, waits := l.follows[s.Instance]
	if !waits || s.Named != f.pid {
		return nil
	}
	delete(l.follows, s.Instance)
	refused := ""
	if s.Refused != wire.RefusalNone {
		refused = s.Refused.String()
	}
	f.answer <- refused
	if x := l.ends[s.Instance]; x != nil && x.overdue {
		return l.decideEnd(s.Instance)
	}
	return nil
}

// mayBeFollowed tells that the exit of a main process is perhaps not the end of its
// instance: its service may have named another one, which nobody has heard yet.
func (l *Loop) mayBeFollowed(s keeper.Slot) bool {
	v := l.core.State().Services[s.Service]
	return l.Drain != nil && s.State == wire.StateExited && s.Leftovers && !s.TreeEmpty && !s.Forgotten &&
		v != nil && v.Instance != nil && v.Instance.ID == s.Instance && notifies(&v.Spec)
}

// exited decides on an exit; where its service may have named another main process,
// when all was heard that lies in the notify socket now.
func (l *Loop) exited(s keeper.Slot) error {
	x := &end{slot: s}
	l.ends[s.Instance] = x
	decide := func(*Core) error {
		if l.ends[s.Instance] != x {
			return nil // it was decided, or taken back; a later exit has a timer of its own
		}
		return l.decideEnd(s.Instance)
	}
	if !l.mayBeFollowed(s) || !l.Drain(func() { l.post(decide) }) {
		return l.decideEnd(s.Instance)
	}
	l.after(hearLimit, func() { l.post(decide) })
	return nil
}

// undecided tells that the exit in a slot of the table waits until all was heard
// that its service has said, and takes it out of what is found.
func (l *Loop) undecided(s keeper.Slot, f *policy.Found) bool {
	wait := l.mayBeFollowed(s)
	if wait {
		f.Exited = nil
	}
	return wait
}

// later keeps the newest slot of an exit that is not decided yet; false if there is none.
func (l *Loop) later(s keeper.Slot) bool {
	x := l.ends[s.Instance]
	if x != nil {
		x.slot = s
	}
	return x != nil
}

// decideEnd decides on an exit that was put off, if it still stands. One about
// which the keeper was asked waits for the answer: it may live again.
func (l *Loop) decideEnd(instance string) error {
	x := l.ends[instance]
	if x == nil {
		return nil
	}
	if _, waits := l.follows[instance]; waits {
		x.overdue = true
		return nil
	}
	delete(l.ends, instance)
	l.drained(x.slot)
	return l.core.Step(l.input(keeper.Exited{Slot: x.slot}))
}
