package policytest

import (
	"maps"
	"slices"

	"supd/executor/policy"
	"supd/journal/event"
)

// Adopt has the keeper hold an instance that an earlier one started, by the number
// of its main process.
func (w *World) Adopt(service, instance string, pid int) {
	if w.slots[instance] != nil {
		return
	}
	p := w.processes[instance]
	if !w.adoptBefore(p, pid) || p == nil || !p.running || p.boot != w.Now.Boot {
		w.Seen["nobody there to adopt"]++
		w.tell(w.lost(service, instance, p))
		return
	}
	w.Seen["adopted"]++
	w.slots[instance] = &slot{executed: true, adopted: true, results: map[string]policy.Signaled{}}
	w.tell(*p.adopted())
}

// lost is what is told of a process that is gone; of every other one the kernel
// kept how it ended.
func (w *World) lost(service, instance string, p *process) policy.Lost {
	lost := policy.Lost{Service: service, Instance: instance, Leftovers: p != nil && p.tree && p.boot == w.Now.Boot}
	if p != nil && p.ran && p.boot == w.Now.Boot && p.pid%2 == 0 && p.ended != nil && !p.ended.Unknown {
		x := *p.ended
		x.Leftovers, x.Left = p.tree, 0
		lost.Exited = &x
	}
	return lost
}

func (p *process) adopted() *policy.Adopted {
	return &policy.Adopted{
		Service: p.service, Instance: p.instance, By: "keeper", Output: "attached", PID: p.pid, StartTime: uint64(p.pid),
	}
}

// NewEngine loses what was not delivered, as the death of an engine does, and
// returns what the next engine is told first.
func (w *World) NewEngine() policy.Settle {
	w.Queue = nil
	var in policy.Settle
	for _, id := range slices.Sorted(maps.Keys(w.slots)) {
		s, p := w.slots[id], w.processes[id]
		f := policy.Found{
			Service: p.service, Instance: id, GateClosed: p.gate, Executed: s.executed,
			ExecFailed: s.execFailed, Exited: s.exited, TreeEmpty: s.treeEmpty, PID: p.pid, StartTime: uint64(p.pid),
		}
		if s.adopted {
			f.Adopted = p.adopted()
		}
		in.Found = append(in.Found, f)
		for _, o := range s.order {
			in.Signaled = append(in.Signaled, s.results[o])
		}
	}
	for _, operation := range slices.Sorted(maps.Keys(w.hooks)) {
		if h := w.hooks[operation]; h.Service != "" {
			in.Hooks = append(in.Hooks, h)
		}
	}
	return in
}

// NewKeeper loses the keeper: stubs at their gates end, programs live on.
func (w *World) NewKeeper() {
	w.Keeper++
	w.slots, w.Queue, w.Said, w.hooks = map[string]*slot{}, nil, nil, map[string]policy.HookEnded{}
	for _, p := range w.processes {
		p.gate = false // at end of file its stub ends, and nobody sees how
	}
}

// Strangers ends, with proof, what lives and is not known, as an engine does to
// which records are missing. What it cannot find is left to the keeper that knows
// it; if that one is gone as well, nobody does, and it ends by itself.
func (w *World) Strangers(known func(instance string) bool) (ended []policy.Ended) {
	for _, p := range w.sorted() {
		if p.gate || !p.running && !p.tree || known(p.instance) {
			continue
		}
		held := w.slots[p.instance] != nil
		switch {
		case !p.behaviour.Hidden:
			w.Seen["a stranger found and ended"]++
			w.treeGone(p)
			if p.running {
				w.dead(p, policy.Exited{Signal: event.Kill})
			}
			ended = append(ended, policy.Ended{Service: p.service, Instance: p.instance, Found: "no record knows it"})
		case held:
			w.Seen["a stranger that only the keeper knows"]++
		default:
			w.Vanish(p.instance)
		}
	}
	return ended
}

// Reboot ends everything.
func (w *World) Reboot() {
	w.NewKeeper()
	for _, p := range w.processes {
		p.running, p.tree, p.dying = false, false, false
	}
	w.laters = nil
	w.boot()
	w.Now.Mono = int64(w.boots)
}

// Perform carries out a duty; id names the instance of a new stub. It returns
// false for one that is in hand and of which nothing will be heard.
func (w *World) Perform(d policy.Duty, id, digest string) bool {
	switch d.Do {
	case policy.ActPark:
		w.Park(d.Service, id, digest)
	case policy.ActOpen:
		w.Open(d.Instance)
	case policy.ActSignal:
		w.Signal(d.Instance, d.Operation, d.Signal, d.Scope)
	case policy.ActSweep:
		w.Sweep(d.Instance, d.Operation)
	case policy.ActHook:
		return w.Hook(d)
	}
	return true
}

// Effect carries out what a decision asks of the keeper beside its duties.
func (w *World) Effect(e policy.Effect) {
	switch e := e.(type) {
	case policy.Drop:
		w.Drop(e.Instance)
	case policy.Forget:
		w.Forget(e.Instance)
	case policy.Adopt:
		w.Adopt(e.Service, e.Instance, e.PID)
	case policy.Stranger:
		w.Kill(e.Instance)
	}
}

// Running lists the instances of a service whose programs run.
func (w *World) Running(service string) []string {
	var ids []string
	for _, p := range w.sorted() {
		if p.service == service && p.running {
			ids = append(ids, p.instance)
		}
	}
	return ids
}

// Stubs counts the stubs that wait at their gates for a service.
func (w *World) Stubs(service string) int {
	n := 0
	for _, p := range w.processes {
		if p.service == service && p.gate {
			n++
		}
	}
	return n
}
