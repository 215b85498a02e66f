package policytest

import (
	"maps"
	"slices"
	"time"

	"supd/executor/policy"
)

// later is something that the world does by itself when its time has come.
type later struct {
	at int64
	do func()
}

// After has something happen once so much time has passed.
func (w *World) After(d time.Duration, do func()) {
	w.laters = append(w.laters, later{w.Now.Mono + int64(d), do})
}

// Due is how long until the world does something by itself; ok is false if it
// is about to do nothing.
func (w *World) Due() (wait time.Duration, ok bool) {
	for _, l := range w.laters {
		if d := time.Duration(max(0, l.at-w.Now.Mono)); !ok || d < wait {
			wait, ok = d, true
		}
	}
	return wait, ok
}

// Advance lets time pass, and happen what is due by then.
func (w *World) Advance(d time.Duration) {
	w.Now.Mono += int64(d)
	w.Now.Wall = w.Now.Wall.Add(d)
	for i := 0; i < len(w.laters); {
		l := w.laters[i]
		if l.at > w.Now.Mono {
			i++
			continue
		}
		w.laters = append(w.laters[:i], w.laters[i+1:]...)
		l.do()
		i = 0 // what happened may have made more happen
	}
}

// live has a program end by itself when its time is over.
func (w *World) live(p *process) {
	if d := p.behaviour.LivesFor; d > 0 {
		w.whileMain(p, d, func() { w.end(p, policy.Exited{Code: p.behaviour.ExitCode}) })
	}
}

// die tells that the end of a main process takes time: it is a zombie whose
// threads live, or nobody has reaped it. Until then it is not dead (R4), and
// nothing that it is sent changes that.
func (w *World) die(p *process, x policy.Exited) (slowly bool) {
	switch {
	case p.dying:
		return true
	case !p.running || p.behaviour.DiesIn == 0:
		return false
	}
	p.dying = true
	w.Seen["a death that takes time"]++
	w.whileMain(p, p.behaviour.DiesIn, func() { w.dead(p, x) })
	return true
}

// EndStub ends a stub that waits at its gate for a service, as a person with
// KILL may; false if there is none.
func (w *World) EndStub(service string) bool {
	for _, p := range w.sorted() {
		if p.service == service && p.gate {
			w.Seen["a stub ended by a person"]++
			w.end(p, policy.Exited{Signal: "SIGKILL"})
			return true
		}
	}
	return false
}

// Process is what the kernel would say of an instance's main process. ended is
// how it ended, nil while it lives or if nobody has seen it.
func (w *World) Process(instance string) (pid int, gate, alive bool, ended *policy.Exited) {
	p := w.processes[instance]
	if p == nil {
		return 0, false, false, nil
	}
	return p.pid, p.gate, p.alive(), p.ended
}

// Vanish ends all of an instance, and nobody is told.
func (w *World) Vanish(instance string) {
	if p := w.processes[instance]; p != nil {
		p.gate, p.running, p.tree = false, false, false
	}
}

// Sent counts how often an operation's signal was delivered.
func (w *World) Sent(instance, operation string) int { return w.sent[instance+operation] }

// Unsay forgets what was done once. The journal that named it is lost, so the
// same names may come again.
func (w *World) Unsay() { w.sent, w.hooked = map[string]int{}, map[string]int{} }

// Instances lists everything that was ever parked.
func (w *World) Instances() []string { return slices.Sorted(maps.Keys(w.processes)) }

// InstanceOf is the instance that something told is about; empty if it is about
// none. What is told of one instance has an order (Queue).
func InstanceOf(in policy.Input) string {
	switch in := in.(type) {
	case policy.Parked:
		return in.Instance
	case policy.ParkFailed:
		return in.Instance
	case policy.ParkEnded:
		return in.Instance
	case policy.Executed:
		return in.Instance
	case policy.ExecFailed:
		return in.Instance
	case policy.Exited:
		return in.Instance
	case policy.Signaled:
		return in.Instance
	case policy.Swept:
		return in.Instance
	case policy.TreeEmpty:
		return in.Instance
	case policy.Adopted:
		return in.Instance
	case policy.Followed:
		return in.Instance
	case Unfollowed:
		return in.Instance
	case interface{ Told() policy.Input }: // as Tell has changed it
		return InstanceOf(in.Told())
	case policy.Lost:
		return in.Instance
	case policy.Forgotten:
		return in.Instance
	case policy.Ready:
		return in.Instance
	case policy.HookEnded:
		return in.Instance
	}
	return ""
}
