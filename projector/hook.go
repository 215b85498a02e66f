package projector

import (
	"supd/journal/event"
)

// postStop has the hook due when nothing of an instance is left. A reboot took
// the instance and everything it could clean up after.
func (v *Service) postStop(boot string) {
	if x := v.LastExit; v.Spec.Hooks.PostStop != nil && x.Ran && x.Boot == boot {
		v.PostStop, v.Phase = true, event.PhaseStopping
	}
}

// applyHookStarted keeps that hooks of one service never overlap, and that
// each is of the instance it is run for.
func (v *Service) applyHookStarted(r *event.Record, d event.HookStartedData) error {
	if v.Hook != nil {
		return v.impossible(v.Hook.Name + " is under way")
	}
	in := v.Instance
	if d.Hook == event.HookPostStop {
		if !v.PostStop || v.Live() || v.LastExit.Instance != d.Instance {
			return v.impossible("post_stop is not due")
		}
	} else if in == nil || in.ID != d.Instance {
		return v.impossible(d.Instance + " is not its instance")
	}
	if d.Hook == event.HookPostStart {
		in.PostStart = true
	}
	v.Hook = &Hook{
		Name: d.Hook, Instance: d.Instance, Operation: d.Operation, Deadline: d.Deadline, Boot: r.Boot, Record: r.ID, Seq: r.Seq,
	}
	return nil
}

func (v *Service) applyHookEnded(r *event.Record, d event.HookEndedData, shuttingDown bool) error {
	if v.Hook == nil || v.Hook.Operation != d.Operation {
		return v.impossible("hook " + d.Operation + " is not under way")
	}
	v.Hook = nil
	in := v.Instance
	switch {
	case d.Hook == event.HookPostStop:
		v.PostStop, v.Phase = false, v.restPhase(r.Boot, shuttingDown)
	case in == nil || in.ID != d.Instance:
		v.wantedAgain()
	case d.Hook == event.HookPreStart:
		in.PreStarted = d.Error == ""
	case d.Hook == event.HookPreStop && in.Stop != nil:
		in.Stop.PreStop = true
	}
	return nil
}

// applyExtended moves a deadline, never to an earlier moment.
func (v *Service) applyExtended(d event.InstanceExtendedData) error {
	in := v.Instance
	switch {
	case d.Of == event.ExtendStart:
		if in.Extended == nil || d.Deadline.Mono > in.Extended.Mono {
			in.Extended = &d.Deadline
		}
	case in.Stop == nil:
		return v.impossible("nobody asked it to end")
	case d.Deadline.Mono > in.Stop.Deadline.Mono:
		in.Stop.Deadline = d.Deadline
	}
	return nil
}

// applyAcross folds what a record about one service changes beyond it: the
// limiter's tokens, and commands that a dependency has made hopeless.
func (s *State) applyAcross(v *Service, r *event.Record) {
	switch d := r.Data.(type) {
	case event.InstanceStartingData:
		if l := s.Config.Start; l != nil && d.Reason == event.ReasonRestart {
			s.Supd.Bucket = &Bucket{Tokens: max(0, s.Tokens(r.Mono, r.Boot)-1), Mono: r.Mono, Boot: r.Boot}
		}
	case event.ServiceWantedData:
		switch {
		case d.Reason == event.ReasonDependency && d.Want == event.Down:
			s.supersedeStarts(v, "it is stopped because of another service that was started or stopped", configures)
		case d.Reason == event.ReasonDependency:
			s.supersedeStops(v, "it is started because another service needs it")
		case d.Reason == event.ReasonAutostart: // it was removed and came again before it had ended
			s.supersedeStops(v, "it is started because it was configured anew")
		}
	}
}

// Tokens is how many automatic restarts the limiter allows at a moment of a
// boot; the bucket is full at the start of each.
func (s *State) Tokens(mono int64, boot string) float64 {
	l, b := s.Config.Start, s.Supd.Bucket
	if l == nil {
		return 0
	}
	if b == nil || b.Boot != boot {
		return float64(l.Burst)
	}
	return min(float64(l.Burst), b.Tokens+l.Rate*float64(max(0, mono-b.Mono))/1e9)
}
