package policy

import (
	"fmt"

	"supd/journal/event"
	"supd/projector"
)

// beginHook authorises the hook that is due for a service, if none is under
// way. Its duty follows from the state.
func (tx *Tx) beginHook(v *projector.Service) {
	stopping := tx.State.Supd.Stopping
	if v.Hook != nil || stopping != nil && stopping.Forced {
		return
	}
	instance, hook, cause := dueHook(v, tx.Now)
	if hook == "" {
		return
	}
	tx.emit(v.Name, cause, event.HookStartedData{
		Instance: instance, Hook: hook, Operation: projector.HookOperation(instance, hook),
		Deadline: tx.Now.Moment().Add(event.HookTimeout),
	})
}

// dueHook names the hook that the state demands now; empty if there is none.
func dueHook(v *projector.Service, now Now) (instance, hook, cause string) {
	if v.PostStop {
		return v.LastExit.Instance, event.HookPostStop, v.LastExit.Record
	}
	i, h := v.Instance, v.Spec.Hooks
	if i == nil || i.Boot != now.Boot {
		return "", "", ""
	}
	switch o := i.Stop; {
	case o != nil && o.Hooked && !o.PreStop && o.Killed == nil && h.PreStop != nil:
		return i.ID, event.HookPreStop, o.Record
	case o != nil:
	case h.PreStart != nil && !i.PreStarted && i.Running == nil && i.ExecFailed == nil:
		return i.ID, event.HookPreStart, i.Record
	case h.PostStart != nil && !i.PostStart && i.IsReady() && !v.Spec.Oneshot():
		return i.ID, event.HookPostStart, i.Record
	}
	return "", "", ""
}

// hookEnded records the end of a hook, once, and goes on with what waited for
// it.
func (tx *Tx) hookEnded(in HookEnded) {
	v := tx.State.Services[in.Service]
	if v == nil || v.Hook == nil || v.Hook.Operation != in.Operation {
		return
	}
	d := event.HookEndedData{
		Instance: v.Hook.Instance, Hook: v.Hook.Name, Operation: in.Operation, Took: event.Duration(in.Took), Error: clip(hookError(in)),
	}
	switch {
	case !in.Executed || in.Unknown:
	case in.Signal != "":
		d.Signal = &in.Signal
	default:
		d.Code = &in.Code
	}
	r := tx.emit(v.Name, v.Hook.Record, d)
	i := v.Instance
	live := i != nil && i.ID == d.Instance
	switch {
	case d.Hook == event.HookPostStop:
		tx.rest(v)
	case d.Hook == event.HookPreStart && live && d.Error != "" && i.Stop == nil && i.Running == nil:
		// Nothing of the service runs yet: there is nobody to ask.
		tx.emit(v.Name, r.ID, event.InstanceStoppingData{
			Instance: i.ID, Signal: event.Kill, Deadline: tx.Now.Moment(), Reason: event.ReasonHook,
		})
	case d.Hook == event.HookPreStop && live && i.Stop != nil && i.Stop.Killed == nil && tx.Now.Mono < i.Stop.Deadline.Mono:
		// The time of the stop begins with its signal.
		o := i.Stop
		tx.emit(v.Name, r.ID, stopping(v, o.Reason, tx.Now.Moment()))
	}
}

// hookError says what went wrong with a hook; empty if nothing did.
func hookError(in HookEnded) string {
	switch {
	case in.Unknown && in.Error == "":
		return event.HookInDoubt
	case in.Error != "":
		return in.Error
	case !in.Executed:
		return "it was not executed"
	case in.Signal != "":
		return "it was ended by " + in.Signal
	case in.Code != 0:
		return fmt.Sprintf("it exited with code %d", in.Code)
	}
	return ""
}

// hookOverdue gives up on a hook that should long have been killed: nothing
// may hang on what nobody tells.
func (tx *Tx) hookOverdue(v *projector.Service) {
	if h := v.Hook; h != nil && h.Boot == tx.Now.Boot && tx.Now.Mono >= h.Deadline.Mono+int64(StuckAfter) {
		tx.hookEnded(HookEnded{Service: v.Name, Instance: h.Instance, Operation: h.Operation, Unknown: true, Error: "nothing was heard of it"})
	}
}
