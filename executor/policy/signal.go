package policy

import (
	"supd/journal/event"
	"supd/projector"
)

// Results of a signal.
const (
	ResultSent    = "sent"
	ResultGone    = "gone"
	ResultFailed  = "failed"
	ResultUnknown = "unknown"
)

// signaled records what came of a signal, once.
func (tx *Tx) signaled(in Signaled) {
	v := tx.State.Services[in.Service]
	if v == nil || !expectsSignal(tx.State, v, in) {
		return
	}
	d := event.InstanceSignaledData{
		Instance: in.Instance, Operation: in.Operation, Signal: in.Signal, Scope: in.Scope,
		PIDs: in.PIDs, Result: in.Result, Errno: in.Errno,
	}
	if d.PIDs == nil {
		d.PIDs = []int{}
	}
	reload := reloadOf(tx.State, v, in)
	tx.emit(v.Name, signalCause(tx.State, v, in), d)
	if reload != nil && d.Result == ResultSent && v.Instance != nil && v.Instance.ID == in.Instance {
		tx.emit(v.Name, reload.Record, event.InstanceReloadingData{
			Instance: in.Instance, By: event.ReloadBySignal, Took: tx.since(reload),
		})
	}
}

// reloadOf finds the reload that waits for this result.
func reloadOf(s *projector.State, v *projector.Service, in Signaled) *projector.Command {
	for _, id := range v.Pending {
		if c := s.Commands[id]; c.Verb == event.VerbReload && in.Operation == projector.SignalOperation(id) {
			return c
		}
	}
	return nil
}

// expectsSignal tells whether this result is news to the state.
func expectsSignal(s *projector.State, v *projector.Service, in Signaled) bool {
	for _, id := range v.Pending {
		if in.Operation == projector.SignalOperation(id) {
			return true
		}
	}
	if x := v.LastExit; x != nil && x.Instance == in.Instance && in.Operation == projector.KillOperation(x.Instance) {
		return x.Unkilled != "" && in.Result == ResultSent
	}
	if t := v.Tree; t != nil && t.Instance == in.Instance {
		return in.Operation == projector.TreeOperation(t.Instance) && !t.Stop.Signaled
	}
	i := v.Instance
	if i == nil || i.ID != in.Instance || i.Stop == nil || i.Stop.Killed != nil {
		return false
	}
	return in.Operation == projector.KillOperation(i.ID) ||
		in.Operation == projector.StopOperation(i.ID, i.Stop.Signal) && !i.Stop.Signaled
}

func signalCause(s *projector.State, v *projector.Service, in Signaled) string {
	for _, id := range v.Pending {
		if in.Operation == projector.SignalOperation(id) {
			return s.Commands[id].Record
		}
	}
	if x := v.LastExit; x != nil && x.Instance == in.Instance && x.Unkilled != "" && in.Operation == projector.KillOperation(x.Instance) {
		return x.Unkilled
	}
	switch {
	case v.Instance != nil && v.Instance.Stop != nil:
		return v.Instance.Stop.Record
	case v.Tree != nil:
		return v.Tree.Stop.Record
	}
	return ""
}
