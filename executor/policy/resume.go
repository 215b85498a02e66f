package policy

import (
	"slices"

	"supd/journal/event"
	"supd/projector"
)

// resume goes on with a command whose first records are all that is left of the
// decision to carry it out: power failed between them and the rest. Where a want
// says already what the command wants, nothing is missing (row 11). Commands
// that bring a configuration go on with the next one that is applied.
func (tx *Tx) resume(c *projector.Command) {
	for _, name := range slices.Clone(c.Targets) {
		v := tx.State.Services[name]
		if v == nil || !slices.Contains(v.Pending, c.ID) {
			continue
		}
		switch {
		case c.Verb == event.VerbStart && v.Want == event.Down:
			tx.raise(v, event.ReasonCommand, c.Actor, c.Record)
		case c.Verb == event.VerbStop && (v.Want == event.Up || v.Remains()):
			tx.lower(v, event.ReasonCommand, c.Actor, c.Record)
		case c.Verb == event.VerbRestart && !c.Rolling() && tx.untouched(v, c):
			tx.restart(v, c.Actor, c.Record)
		}
	}
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
// wants a service up that has ended or was given up.
func (tx *Tx) resumeService(v *projector.Service) {
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
