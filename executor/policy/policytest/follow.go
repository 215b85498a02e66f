package policytest

import (
	"time"

	"supd/executor/policy"
)

// Said is what a service says in the notify socket of its main process (MAINPID).
type Said struct {
	Service, Instance string
	PID               int
}

// Unfollowed answers a Follow that changed nothing. Refused is empty if the
// process is the main one already.
type Unfollowed struct {
	policy.Input // none: only the loop knows what to do with it
	Service      string
	Instance     string
	Refused      string
}

// Why a process is not followed.
const (
	RefusedGone  = "gone"
	RefusedEnded = "ended"
)

// Names has a service name a main process: its child, made now if it has none;
// itself; or one that never was. False if none of it runs.
func (w *World) Names(service string, whom int) bool {
	for _, p := range w.sorted() {
		if p.service != service || !p.running || p.dying {
			continue
		}
		pid := p.pid
		switch whom {
		case 0:
			w.fork(p)
			pid = p.child
		case 1:
			pid = 1<<20 + p.pid
		}
		w.say(p, pid)
		return true
	}
	return false
}

func (w *World) say(p *process, pid int) {
	w.Seen["a main process named"]++
	w.Said = append(w.Said, Said{p.service, p.instance, pid})
}

// fork gives a main process a child, unless it has one.
func (w *World) fork(p *process) {
	if !p.tree {
		p.tree, p.child = true, p.pid+childPID
	}
}

// childPID is how far the number of a child is from its parent's.
const childPID = 1000

// daemon is a program that goes to the background as they do of old: the child is
// named, and the main process ends.
func (w *World) daemon(p *process) {
	w.fork(p)
	w.say(p, p.child)
	if p.behaviour.DiesIn == 0 { // at once
		w.end(p, policy.Exited{})
		return
	}
	w.whileMain(p, p.behaviour.DiesIn/4, func() { w.end(p, policy.Exited{}) })
}

// whileMain does something later to the main process that is it now. If another
// one is by then, and this one lives as one of the tree, the tree ends with it.
func (w *World) whileMain(p *process, d time.Duration, do func()) {
	pid := p.pid
	w.After(d, func() {
		switch {
		case p.pid == pid && p.running:
			do()
		case p.pid != pid && p.child == pid:
			w.treeGone(p)
		}
	})
}

// Follow has the keeper take another process for the main one of an instance, and
// tell what came of it. An exit that nobody has decided on is taken back.
func (w *World) Follow(instance string, pid int) {
	s, p := w.slots[instance], w.processes[instance]
	if s == nil {
		w.Seen["nobody knows whose main process is named"]++
		w.tell(policy.Forgotten{Service: w.service(instance), Instance: instance})
		return
	}
	s.named, s.refused = pid, ""
	switch {
	case p.running && pid == p.pid:
	case s.execFailed != nil || s.swept || s.forgotten || !p.running && (s.exited == nil || !p.tree):
		s.refused = RefusedEnded
	case !p.tree || pid != p.child:
		s.refused = RefusedGone
	default:
		w.replace(s, p)
		w.tell(policy.Followed{Service: p.service, Instance: instance, PID: p.pid, StartTime: uint64(p.pid)})
		w.goOn(p)
		return
	}
	if s.refused != "" {
		w.Seen["a main process that is not followed: "+s.refused]++
	}
	w.tell(Unfollowed{Service: p.service, Instance: instance, Refused: s.refused})
}

// Follows tells that the process named is one that could be followed.
func (w *World) Follows(said Said) bool {
	p := w.processes[said.Instance]
	return p != nil && p.tree && p.child == said.PID && w.slots[said.Instance] != nil
}

// replace makes the child the main process. The one before it, if it lives, is
// one of the tree.
func (w *World) replace(s *slot, p *process) {
	if p.running {
		w.Seen["another main process"]++
	} else {
		w.Seen["an exit is taken back"]++
		p.tree, s.exited, p.ended, p.running = false, nil, nil, true
	}
	p.pid, p.child, p.dying = p.child, p.pid, false
}

// goOn is what a process does that is the main one from now on.
func (w *World) goOn(p *process) {
	if p.behaviour.Daemons--; p.behaviour.Daemons > 0 {
		w.daemon(p)
	}
	if w.Oneshot != nil && w.Oneshot(p.service) {
		w.whileMain(p, p.behaviour.DiesIn/4, func() { w.end(p, policy.Exited{}) })
	}
}

// adoptBefore is the adoption by a number of before, which a keeper is asked for
// that was not there when another process was followed: false if that one is dead.
func (w *World) adoptBefore(p *process, pid int) bool {
	if p == nil || p.pid == pid || p.boot != w.Now.Boot {
		return true
	}
	w.Seen["adopted by a number of before"]++
	if p.tree && p.child == pid {
		p.tree, p.running = p.running, true // it lives, and the one that was followed is one of its tree
		p.pid, p.child = p.child, p.pid
		return true
	}
	p.tree, p.child = p.running, p.pid
	p.running, p.dying = false, false
	return false
}

// Ended is how the keeper knows that an instance's main process ended; nil if it
// does not.
func (w *World) Ended(instance string) *policy.Exited {
	if s := w.slots[instance]; s != nil {
		return s.exited
	}
	return nil
}

// Named is the process that an instance's keeper was asked to follow last, and why
// it did not.
func (w *World) Named(instance string) (pid int, refused string) {
	if s := w.slots[instance]; s != nil {
		return s.named, s.refused
	}
	return 0, ""
}
