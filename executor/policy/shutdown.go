package policy

import (
	"maps"
	"slices"

	"supd/journal/event"
	"supd/projector"
)

// shutdown opens an orderly end, or forces the one that is under way. Wants
// stay as they are: the next supd starts what was wanted.
func (tx *Tx) shutdown(cause string, in Shutdown) {
	actor := self
	if in.Reason == event.ReasonSignal {
		actor = event.ReasonSignal
	}
	if now := tx.State.Supd.Stopping; now != nil && (now.Forced || !in.Forced) {
		return
	}
	r := tx.emitAs(actor, "", cause, event.SupdStoppingData{Reason: in.Reason, KeepServices: in.KeepServices, Forced: in.Forced})
	for _, name := range slices.Sorted(maps.Keys(tx.State.Services)) {
		v := tx.State.Services[name]
		if v.Phase == event.PhaseBackoff {
			tx.emit(name, r.ID, event.RestartCancelledData{By: event.ReasonShutdown})
		}
		switch {
		case in.KeepServices:
		case in.Forced:
			tx.kill(v, r.ID)
		case !heldUp(tx.State, v):
			tx.stop(v, event.ReasonShutdown, r.ID)
		}
	}
}

// kill ends the wait of a stop: its deadline is now.
func (tx *Tx) kill(v *projector.Service, cause string) {
	id := ""
	switch {
	case v.Instance != nil:
		id = v.Instance.ID
	case v.Tree != nil:
		id = v.Tree.Instance
	default:
		return
	}
	tx.emit(v.Name, cause, event.InstanceStoppingData{
		Instance: id, Signal: event.Kill, Deadline: tx.Now.Moment(), Reason: event.ReasonShutdown,
	})
}

// finishShutdown writes the last record as soon as nothing lives, or nothing
// has to end. A forced end does not wait for what KILL was tried on in vain: a
// person must be able to end supd. Who is left behind stands in the journal,
// and the next supd starts no other before that one is dead (P1, R4).
func (tx *Tx) finishShutdown() {
	stopping := tx.State.Supd.Stopping
	if stopping == nil || !stopping.KeepServices && tx.anyAwaited(stopping.Forced) {
		return
	}
	for _, c := range tx.openCommands() {
		missing := event.Result{Outcome: event.Superseded, Error: "supd is stopping"}
		if c.Verb == event.VerbShutdown {
			missing = event.Result{Outcome: event.Done}
		}
		tx.endCommand(c, missing)
	}
	d := event.SupdStoppedData{Reason: stopping.Reason, KeepServices: stopping.KeepServices, Forced: stopping.Forced}
	tx.emit("", stopping.Record, d)
	tx.act(Quit{KeepServices: d.KeepServices || tx.anyLive()})
}

// anyAwaited tells that an orderly end waits for somebody's death.
func (tx *Tx) anyAwaited(forced bool) bool {
	for _, v := range tx.State.Services {
		if v.Live() && !(forced && unkillable(v)) || v.Busy() && !forced {
			return true
		}
	}
	return false
}

// unkillable tells that KILL was tried and recorded in vain: on the main
// process, which is then stuck, or by a sweep on what it left.
func unkillable(v *projector.Service) bool {
	if v.Instance != nil {
		return v.Instance.Stuck
	}
	return v.Tree != nil && v.Tree.Sweeps > 0
}

func (tx *Tx) anyLive() bool {
	for _, v := range tx.State.Services {
		if v.Live() {
			return true
		}
	}
	return false
}

func (tx *Tx) openCommands() []*projector.Command {
	open := slices.Collect(maps.Values(tx.State.Commands))
	slices.SortFunc(open, func(a, b *projector.Command) int { return int(a.Seq) - int(b.Seq) })
	return open
}
