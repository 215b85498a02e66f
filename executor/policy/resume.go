package policy

import (
	"maps"
	"slices"

	"supd/journal/event"
	"supd/projector"
)

// resume goes on with a command whose first records are all that is left of the
// decision to carry it out: power failed between them and the rest. Where a want
// says already what the command wants, nothing is missing (row 11). One that
// brings a configuration is in doubt where that is not applied as a whole: it was
// not kept, and whoever applies it again completes it.
func (tx *Tx) resume(c *projector.Command) {
	switch {
	case c.Verb == event.VerbShutdown && tx.State.Supd.Stopping == nil:
		tx.shutdown(c.Record, shutdownOf(c.Args))
	case c.Configures() && tx.cutOff(c):
		tx.endCommand(c, event.Result{Outcome: event.InDoubt})
		return
	}
	for _, name := range slices.Clone(c.Targets) {
		v := tx.State.Services[name]
		if v == nil || !slices.Contains(v.Pending, c.ID) {
			continue
		}
		switch {
		case c.Verb == event.VerbStart && v.Want == event.Down:
			tx.raise(v, event.ReasonCommand, c.Actor, c.Record)
		case c.Verb == event.VerbStop && v.Settled() && !v.Remains(): // the boot took what remained up
			tx.emitAs(c.Actor, v.Name, c.Record, event.ServiceWantedData{Want: event.Down, Reason: event.ReasonCommand})
		case c.Verb == event.VerbStop:
			tx.lower(v, event.ReasonCommand, c.Actor, c.Record)
		case c.Verb == event.VerbRestart && !c.Rolling() && tx.untouched(v, c):
			tx.restart(v, c.Actor, c.Record)
		case c.Configures() && v.Want == event.Up && v.Instance != nil && v.Run <= c.After[name]:
			tx.stop(v, event.ReasonConfig, c.Record)
		}
	}
}

// cutOff tells that a configuration was not applied as a whole: some target of
// its command has no result and waits for nothing.
func (tx *Tx) cutOff(c *projector.Command) bool {
	return len(c.Targets) == 0 || slices.ContainsFunc(c.Targets, func(name string) bool {
		v := tx.State.Services[name]
		_, done := c.Results[name]
		return !done && (v == nil || !slices.Contains(v.Pending, c.ID))
	})
}

// untouched tells that nothing was done yet for a restart of a service.
func (tx *Tx) untouched(v *projector.Service, c *projector.Command) bool {
	if v.Want == event.Down {
		return true
	}
	return v.Instance != nil && v.Instance.Stop == nil && v.Run <= c.After[v.Name]
}

// resumeService goes on where a batch about a service was cut off: its end is
// recorded, and what follows from that is not. No state that was written whole
// wants a service up that has ended or was given up, or one down that is about to
// start again.
func (tx *Tx) resumeService(v *projector.Service) {
	if v.Want == event.Down && v.Phase == event.PhaseBackoff {
		tx.emit(v.Name, v.WantRecord, event.RestartCancelledData{By: v.WantReason})
	}
	if v.Want != event.Up || v.Removed || v.Busy() {
		return
	}
	switch {
	case v.Phase == event.PhaseFatal:
		tx.emit(v.Name, "", event.ServiceWantedData{Want: event.Down, Reason: event.ReasonFatal})
	case v.Phase != event.PhaseExited:
	case v.Failure != nil:
		tx.reschedule(v, "", event.Exit{}, v.Failure, false)
	case v.LastExit != nil:
		tx.rest(v)
	}
}

// resumeTrees decides what becomes of leftovers where a batch was cut off behind
// the exit of their main process: nothing may start beside them (P1).
func (tx *Tx) resumeTrees() {
	for _, name := range slices.Sorted(maps.Keys(tx.State.Services)) {
		v := tx.State.Services[name]
		x := v.LastExit
		if x == nil || !x.Left {
			continue
		}
		swept := event.InstanceSweptData{Instance: x.Instance, Method: projector.MethodLeft, Killed: []event.Process{}}
		if x.Boot != tx.Now.Boot {
			swept.Method = "reboot"
		} else if !tx.mayLeave(v) {
			tx.endTree(v, &projector.Instance{ID: x.Instance, Boot: x.Boot})
			continue
		}
		tx.emit(name, x.Record, swept)
	}
}

// resumeDefinitions gives those their first want that were defined by a batch
// that was cut off behind that.
func (tx *Tx) resumeDefinitions() {
	for _, name := range slices.Sorted(maps.Keys(tx.State.Services)) {
		if v := tx.State.Services[name]; v.FirstWant && !v.Removed {
			tx.raise(v, event.ReasonAutostart, self, "")
		}
	}
}
