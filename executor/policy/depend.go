package policy

import (
	"fmt"
	"maps"
	"slices"

	"supd/journal/event"
	"supd/projector"
)

// need is what keeps a wanted service from starting.
type need struct {
	waits  []event.WaitFor
	failed string // a requirement that will not come by itself
	cause  string // record of that failure
	trying string // a requirement that failed and that supd tries again
}

func (n need) met() bool { return len(n.waits) == 0 && n.failed == "" }

// holds tells whether a condition is met by a service. One that is ending
// meets none.
func holds(t *projector.Service, condition string) bool {
	if t == nil || t.Removed {
		return false
	}
	i, x := t.Instance, t.LastExit
	up := i != nil && i.Stop == nil && i.Running != nil
	switch condition {
	case event.ConditionStarted:
		return up || t.Completed
	case event.ConditionReady:
		return up && i.IsReady() && !t.Spec.Oneshot() || t.Completed
	}
	finished := t.WantReason == event.ReasonCompleted && !t.Busy() && x != nil && x.Expected
	return t.Completed || finished && !t.Spec.Oneshot()
}

// needs looks at everything a service waits for.
func needs(s *projector.State, v *projector.Service) need {
	var n need
	g := s.Graph()
	for _, e := range g.Needs(v.Name) {
		t := s.Services[e.Service]
		switch {
		case holds(t, e.Condition):
		case t.Removed || t.Want == event.Down:
			if e.Requires {
				n.failed, n.cause = t.Name+": "+downText(t), t.WantRecord
			}
		case e.Requires:
			n.waits = append(n.waits, event.WaitFor{Service: t.Name, Condition: e.Condition})
			if why := troubleOf(t); why != "" {
				n.trying = fmt.Sprintf("requirement %s: %s; supd goes on trying", t.Name, why)
			}
		case !retried(t):
			n.waits = append(n.waits, event.WaitFor{Service: t.Name, Condition: e.Condition})
		}
	}
	for _, m := range g.Missing() {
		if m.Service == v.Name && m.Key == "requires" {
			n.failed, n.cause = m.Name+": there is no such service", v.WantRecord
		}
	}
	for _, name := range g.Conflicts(v.Name) {
		switch c := s.Services[name]; {
		case c.Want == event.Up && !c.Removed:
			// Each start of one lowers the other, so both are wanted only where a
			// service needs what it is in conflict with.
			n.failed, n.cause = name+": it is in conflict with it, and wanted too", c.WantRecord
		case c.Busy():
			n.waits = append(n.waits, event.WaitFor{Service: name, Condition: event.ConditionStopped})
		}
	}
	return n
}

// downText says why a service is not there.
func downText(t *projector.Service) string {
	switch {
	case t.Removed:
		return "the service was removed"
	case t.Phase == event.PhaseFatal:
		return t.Fatal
	case t.WantReason == event.ReasonCompleted:
		return "it has ended by itself"
	}
	return "it is stopped"
}

// retried tells that a service is being started again by its restart policy,
// or that what it requires is.
func retried(t *projector.Service) bool {
	again := t.NextStart != nil || t.Instance != nil && t.Instance.Reason == event.ReasonRestart
	return again || t.Waiting != nil && t.Waiting.Failed != ""
}

// troubleOf says how the newest try to start a service failed; empty if it
// did not, or if supd has not tried often enough to tell.
func troubleOf(t *projector.Service) string {
	switch x := t.LastExit; {
	case !retried(t):
	case t.Waiting != nil && t.Waiting.Failed != "":
		return t.Waiting.Failed
	case t.Failure != nil:
		return t.Failure.Text()
	case t.Retries >= 2 && x != nil, t.Retries == 1 && x != nil && (!x.Ready || t.Spec.Oneshot()):
		return x.FailureText()
	}
	return ""
}

// mayStart tells that a service is wanted and nothing of its own is in the
// way; dependencies and the limiter are others' business.
func mayStart(s *projector.State, v *projector.Service, now Now) bool {
	if v.Want != event.Up || v.Removed || v.Busy() || s.Supd.Stopping != nil || s.Supd.Stopped {
		return false
	}
	switch v.Phase {
	case event.PhaseStopped:
		return true
	case event.PhaseBackoff, event.PhaseWaiting:
		return Remaining(v.NextStart, now) <= 0
	}
	return false
}

// Startable tells whether the state demands a new instance of the service
// now: it is wanted, nothing of it lives (P1), no wait is pending, what it
// needs is there, and the start limiter lets it pass.
func Startable(s *projector.State, v *projector.Service, now Now) bool {
	return mayStart(s, v, now) && needs(s, v).met() && granted(s, v, now)
}

// converge decides what follows for the services that a decision has touched
// and for their neighbours, until nothing follows any more. It costs what is
// touched, not what there is.
func (tx *Tx) converge() {
	if tx.State.Supd.Stopped {
		return
	}
	todo := map[string]bool{}
	add := func(name string) {
		todo[name] = true
		g := tx.State.Graph()
		for _, e := range g.NeededBy(name) {
			todo[e.Service] = true
		}
		for _, e := range g.Needs(name) {
			todo[e.Service] = true
		}
		for _, c := range g.Conflicts(name) {
			todo[c] = true
		}
		if tx.State.Services[name] == nil { // it is gone: somebody may have waited for it
			for _, m := range g.Missing() {
				todo[m.Service] = true
			}
		}
	}
	for name := range tx.Touched {
		add(name)
	}
	tx.untied(todo, tx.Records)
	tx.roll()
	for from := 0; ; {
		for _, name := range slices.Sorted(maps.Keys(todo)) {
			if v := tx.State.Services[name]; v != nil {
				tx.follow(v)
			}
		}
		tx.endResolved()
		tx.roll()
		clear(todo)
		fresh := tx.Records[max(from, tx.settledTo):]
		for _, e := range fresh {
			if e.Record.Subject != "" {
				add(e.Record.Subject)
			}
		}
		tx.untied(todo, fresh)
		from, tx.settledTo = len(tx.Records), len(tx.Records)
		if len(todo) == 0 {
			return
		}
	}
}

// untied adds all who wait to start or to end if a service was defined or has
// gone: what tied them to it, and made them its neighbours, may have gone as well.
func (tx *Tx) untied(todo map[string]bool, records []event.Encoded) {
	if !slices.ContainsFunc(records, func(e event.Encoded) bool {
		return e.Record.Kind == event.ServiceDefined || e.Record.Subject != "" && tx.State.Services[e.Record.Subject] == nil
	}) {
		return
	}
	for name, v := range tx.State.Services {
		if v.Waiting != nil || v.Instance != nil && v.Instance.Stop == nil && ending(tx.State, v) {
			todo[name] = true
		}
	}
}

// follow decides what follows for one service from where it and the others
// are now.
func (tx *Tx) follow(v *projector.Service) {
	tx.endWhenDue(v)
	tx.beginHook(v)
	if !mayStart(tx.State, v, tx.Now) {
		return
	}
	tx.pullAgain(v)
	if v.Want != event.Up { // what it needs is in conflict with it, and came last
		return
	}
	n := needs(tx.State, v)
	w := v.Waiting
	if v.Phase != event.PhaseWaiting {
		w = nil // it waited before its newest restart was scheduled, and is told anew: nobody else wakes it
	}
	switch {
	case n.failed != "":
		tx.giveUp(v, n.cause, event.ServiceFatalData{Reason: event.ReasonRequirement, Retries: v.Retries, Detail: clip(n.failed)})
	case len(n.waits) > 0:
		if w == nil || w.Limiter || w.Failed != clip(n.trying) || !slices.Equal(w.For, n.waits) {
			tx.emit(v.Name, v.WantRecord, event.ServiceWaitingData{For: n.waits, Failed: clip(n.trying)})
		}
	case !granted(tx.State, v, tx.Now):
		if w == nil || !w.Limiter {
			tx.emit(v.Name, v.NextStart.Record, event.ServiceWaitingData{For: []event.WaitFor{}, Limiter: true})
		}
	default:
		tx.Touched[v.Name] = true // its stub may be parked
	}
}

// pullAgain wants up again what a service requires and what has completed in
// another boot or with another outcome, once for each time it is about to
// start.
func (tx *Tx) pullAgain(v *projector.Service) {
	if v.Waiting != nil {
		return
	}
	for _, e := range tx.State.Graph().Needs(v.Name) {
		t := tx.State.Services[e.Service]
		if e.Requires && !t.Removed && t.Want == event.Down && t.WantReason == event.ReasonCompleted && !holds(t, e.Condition) {
			tx.raise(t, event.ReasonDependency, self, v.WantRecord)
		}
	}
}

// raise wants a service up, together with what it requires and wants, and
// what is in conflict with it down.
func (tx *Tx) raise(v *projector.Service, reason, actor, cause string) {
	again := v.Want == event.Up
	tx.want(v, event.Up, reason, actor, cause)
	tx.pull(v, cause, again, map[string]bool{v.Name: true})
}

// pull does so for what a service requires and wants. again tells that the
// service was wanted up before: what has completed for it is not done anew.
func (tx *Tx) pull(v *projector.Service, cause string, again bool, seen map[string]bool) {
	g := tx.State.Graph()
	for _, name := range g.Conflicts(v.Name) {
		if other := tx.State.Services[name]; !seen[name] && (other.Want == event.Up || other.Remains()) {
			tx.lower(other, event.ReasonDependency, self, cause)
		}
	}
	for _, e := range g.Needs(v.Name) {
		t := tx.State.Services[e.Service]
		if !e.Pulls || t.Removed || seen[t.Name] {
			continue
		}
		seen[t.Name] = true
		if again && t.Want == event.Down && t.Completed && !t.Busy() {
			continue
		}
		known := t.Want == event.Up || t.Remains()
		if !known {
			tx.emit(t.Name, cause, event.ServiceWantedData{Want: event.Up, Reason: event.ReasonDependency})
		}
		tx.pull(t, cause, known, seen)
	}
}

// lower wants a service down, and first those that require it: a service that
// is up on purpose never loses a requirement to a command.
func (tx *Tx) lower(v *projector.Service, reason, actor, cause string) {
	down := []*projector.Service{v}
	seen := map[string]bool{v.Name: true}
	for at := 0; at < len(down); at++ {
		for _, e := range tx.State.Graph().NeededBy(down[at].Name) {
			if w := tx.State.Services[e.Service]; e.Requires && !seen[w.Name] && (w.Want == event.Up || w.Remains()) {
				seen[w.Name], down = true, append(down, w)
			}
		}
	}
	for _, w := range slices.Backward(down[1:]) {
		tx.want(w, event.Down, event.ReasonDependency, self, cause)
	}
	tx.want(v, event.Down, reason, actor, cause)
}

// ending tells that a service is to end: nobody wants it, or supd ends.
func ending(s *projector.State, v *projector.Service) bool {
	stopping := s.Supd.Stopping
	return v.Want == event.Down || v.Removed || stopping != nil && !stopping.KeepServices
}

// heldUp tells that a stop has to wait: who depends on the service ends first.
// One that cannot be killed does not keep the others from ending.
func heldUp(s *projector.State, v *projector.Service) bool {
	for _, e := range s.Graph().NeededBy(v.Name) {
		if w := s.Services[e.Service]; w.Busy() && ending(s, w) && !unkillable(w) {
			return true
		}
	}
	return false
}

// endWhenDue orders the stop that had to wait for others.
func (tx *Tx) endWhenDue(v *projector.Service) {
	if v.Instance == nil || v.Instance.Stop != nil || !ending(tx.State, v) || heldUp(tx.State, v) {
		return
	}
	switch stopping := tx.State.Supd.Stopping; {
	case v.Removed:
		tx.stop(v, event.ReasonConfig, v.WantRecord)
	case v.Want == event.Down:
		tx.stop(v, v.WantReason, v.WantRecord)
	default:
		tx.stop(v, event.ReasonShutdown, stopping.Record)
	}
}

// roll goes on with the commands that do one target after the other: the
// first one without a result is restarted, as far as it has not been.
func (tx *Tx) roll() {
	for _, c := range tx.State.Rolling() {
		for _, name := range c.Targets {
			if _, done := c.Results[name]; done {
				continue
			}
			if v := tx.State.Services[name]; v != nil && v.Run == c.After[name] {
				tx.restart(v, c.Actor, c.Record)
			}
			break
		}
	}
}

// restart wants a service up and ends the instance it has.
func (tx *Tx) restart(v *projector.Service, actor, cause string) {
	if v.Want == event.Down {
		tx.raise(v, event.ReasonCommand, actor, cause)
	} else {
		tx.want(v, event.Up, event.ReasonCommand, actor, cause)
	}
	tx.stop(v, event.ReasonRestart, cause)
}
