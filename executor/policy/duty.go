package policy

import (
	"time"

	"supd/journal/event"
	"supd/projector"
)

// Duty is something the state demands of the world now. A duty has a key; the
// executor carries out each key once at a time, and the keeper carries out
// each operation once at all, so the same duty may be found again and again.
type Duty struct {
	Do        Act
	Service   string
	Instance  string
	Operation string
	Signal    string
	Scope     string
	Cgroup    string
	Hook      string // name of the hook; its command is in event.Launch
	Deadline  int64  // of a hook, on the boot clock: then its processes are killed
	// After is the record that must be committed BEFORE the duty is carried
	// out: durable, or kept for 20 ms (R1, R3). Parking has none: a stub at its
	// gate is no instance, so it is forked while the records are written.
	After event.Seq
	// Urgent duties serve a person who waits; the start limiter lets them pass.
	Urgent bool
}

// Act says what a duty does.
type Act string

// The acts.
const (
	ActPark   Act = "park"   // start a stub that waits at its gate
	ActOpen   Act = "open"   // open the gate: the stub becomes the service
	ActSignal Act = "signal" // send a signal under an operation's name
	ActSweep  Act = "sweep"  // end what is left of a tree
	ActHook   Act = "hook"   // run a hook under an operation's name
)

// Key tells two duties apart.
func (d Duty) Key() string {
	switch d.Do {
	case ActPark:
		return "park/" + d.Service
	case ActOpen:
		return "open/" + d.Instance
	}
	return OperationKey(d.Instance, d.Operation)
}

// OperationKey is the key of the duty behind an operation on an instance: a
// command that signals several services is one operation on each.
func OperationKey(instance, operation string) string { return instance + " " + operation }

// Duties lists what the state demands for one service, in order.
func Duties(s *projector.State, v *projector.Service, now Now) []Duty {
	ds := hookDuty(v, now)
	switch {
	case v.Instance != nil:
		return append(ds, instanceDuties(s, v, now)...)
	case v.Tree != nil:
		return append(ds, treeDuties(v, now)...)
	case Startable(s, v, now):
		return []Duty{{Do: ActPark, Service: v.Name, Urgent: urgent(v)}}
	}
	return ds
}

// urgent tells that a person waits for a start, or for one of what depends on
// it.
func urgent(v *projector.Service) bool {
	return len(v.Pending) > 0 || v.WantReason == event.ReasonDependency && v.NextStart == nil
}

// hookDuty is the run of the hook that is under way. The keeper runs each
// operation once, so finding it again asks for its result (R4); a hook that
// another keeper was told to run is not in the hands of this one.
func hookDuty(v *projector.Service, now Now) []Duty {
	h := v.Hook
	if h == nil || h.Doubt || h.Boot != now.Boot {
		return nil
	}
	return []Duty{{
		Do: ActHook, Service: v.Name, Instance: h.Instance, Operation: h.Operation, Hook: h.Name, Deadline: h.Deadline.Mono, After: h.Seq,
	}}
}

func instanceDuties(s *projector.State, v *projector.Service, now Now) []Duty {
	i := v.Instance
	if i.Boot != now.Boot {
		return nil // it cannot exist; recovery settles it
	}
	var ds []Duty
	if i.Running == nil && i.ExecFailed == nil && !i.Adopted && prepared(v) {
		ds = append(ds, Duty{Do: ActOpen, Service: v.Name, Instance: i.ID, After: i.Seq})
	}
	signal := func(operation, sig, scope string, after event.Seq) {
		ds = append(ds, Duty{
			Do: ActSignal, Service: v.Name, Instance: i.ID, Operation: operation, Signal: sig, Scope: scope, After: after,
		})
	}
	if o := i.Stop; o != nil && o.Killed == nil {
		switch {
		case now.Mono >= o.Deadline.Mono:
			signal(projector.KillOperation(i.ID), event.Kill, event.ScopeTree, o.Seq)
		case !o.Signaled && (!o.Hooked || o.PreStop):
			signal(projector.StopOperation(i.ID, o.Signal), o.Signal, stopScope(v.Spec.Stop.Mode), o.Seq)
		}
	}
	for _, id := range v.Pending {
		if sig := commandSignal(v, s.Commands[id]); sig != "" {
			signal(projector.SignalOperation(id), sig, event.ScopeMain, s.Commands[id].Seq)
		}
	}
	return ds
}

// prepared tells that the live instance's pre_start has done its work, or that
// there is none: its gate may be open.
func prepared(v *projector.Service) bool {
	return v.Spec.Hooks.PreStart == nil || v.Instance.PreStarted
}

// commandSignal is the signal that a command sends to a service; empty if it
// sends none.
func commandSignal(v *projector.Service, c *projector.Command) string {
	text := ""
	switch c.Verb {
	case event.VerbSignal:
		text = c.Args[event.ArgSignal]
	case event.VerbReload:
		text = v.Spec.ReloadSignal
	}
	if n, ok := event.SignalNumber(text); ok {
		return event.SignalName(n)
	}
	return ""
}

// stopScope is where the first signal of a stop goes. For the tree it goes to
// the main process alone: a main process ends its own children in its own
// order, and what it leaves gets the signal after it (endTree).
func stopScope(mode string) string {
	if mode == event.StopGroup {
		return event.ScopeGroup
	}
	return event.ScopeMain
}

func treeDuties(v *projector.Service, now Now) []Duty {
	t := v.Tree
	switch {
	case t.Boot != now.Boot:
		return nil
	case now.Mono >= t.Stop.Deadline.Mono && now.Mono >= t.Retry:
		return []Duty{{
			Do: ActSweep, Service: v.Name, Instance: t.Instance, Cgroup: t.Cgroup,
			Operation: projector.SweepOperation(t.Instance, t.Sweeps+1), After: t.Stop.Seq,
		}}
	case !t.Stop.Signaled && t.Stop.Signal != event.Kill && now.Mono < t.Stop.Deadline.Mono:
		return []Duty{{
			Do: ActSignal, Service: v.Name, Instance: t.Instance, Operation: projector.TreeOperation(t.Instance),
			Signal: t.Stop.Signal, Scope: event.ScopeTree, After: t.Stop.Seq,
		}}
	}
	return nil
}

// Wait is how long until the service needs a Tick; ok is false if no deadline
// is ahead of it.
func Wait(s *projector.State, v *projector.Service, now Now) (wait time.Duration, ok bool) {
	sooner := func(d time.Duration) {
		if d = max(0, d); !ok || d < wait {
			wait, ok = d, true
		}
	}
	until := func(mono int64) {
		if mono > now.Mono {
			sooner(time.Duration(mono - now.Mono))
		}
	}
	if h := v.Hook; h != nil && h.Boot == now.Boot {
		sooner(time.Duration(h.Deadline.Mono + int64(StuckAfter) - now.Mono))
	}
	if mono, due := startDeadline(v); due {
		sooner(time.Duration(mono - now.Mono))
	}
	if at := stuckAt(v, now); at != 0 {
		sooner(time.Duration(at - now.Mono))
		if o := v.Instance.Stop; o.Killed == nil {
			until(o.Deadline.Mono)
		}
	}
	switch {
	case v.Tree != nil:
		until(max(v.Tree.Stop.Deadline.Mono, v.Tree.Retry))
	case v.Phase == event.PhaseBackoff && !v.Busy():
		until(v.NextStart.At.Mono)
	case v.Phase == event.PhaseWaiting && v.Waiting.Limiter && s.Config.Start != nil && mayStart(s, v, now) && !granted(s, v, now):
		sooner(limiterWait(s, v, now))
	}
	return wait, ok
}
