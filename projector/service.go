package projector

import (
	"fmt"
	"strconv"
	"time"

	"supd/journal/event"
)

// apply folds one record about the service. shuttingDown tells that supd is
// stopping, which makes an exit an orderly one.
func (v *Service) apply(r *event.Record, shuttingDown bool) error {
	now := event.Moment{Mono: r.Mono, Wall: r.Time}
	switch d := r.Data.(type) {
	case event.ServiceRemovedData:
		v.Removed, v.NextStart, v.Waiting = true, nil, nil
	case event.ServiceWantedData:
		v.applyWanted(r, d)
	case event.ServiceFatalData:
		if v.Live() {
			return v.impossible("it has a live instance")
		}
		v.Phase, v.Fatal, v.NextStart, v.Waiting = event.PhaseFatal, fatalText(d), nil, nil
	case event.RestartScheduledData:
		if v.Live() {
			return v.impossible("it has a live instance")
		}
		v.Phase, v.Retries = event.PhaseBackoff, d.Retry
		if !d.Shortage {
			v.Restarts++
		}
		v.NextStart = &NextStart{At: d.NotBefore, Delay: d.Delay, Boot: r.Boot, Record: r.ID}
	case event.RestartCancelledData:
		if v.Phase != event.PhaseBackoff && (v.Phase != event.PhaseWaiting || v.NextStart == nil) {
			return v.impossible("no restart is scheduled")
		}
		v.Phase, v.NextStart, v.Waiting = event.PhaseStopped, nil, nil
	case event.ServiceWaitingData:
		if v.Busy() || v.Want != event.Up {
			return v.impossible("it is not about to start")
		}
		v.Phase, v.Waiting = event.PhaseWaiting, &Waiting{For: d.For, Limiter: d.Limiter, Failed: d.Failed, Record: r.ID}
	case event.HookStartedData:
		return v.applyHookStarted(r, d)
	case event.HookEndedData:
		return v.applyHookEnded(r, d, shuttingDown)
	case event.InstanceStartingData:
		return v.applyStarting(r, d, now)
	case event.InstanceStoppingData:
		return v.applyStopping(r, d)
	case event.InstanceSweptData:
		v.applySwept(r, d, now, shuttingDown)
	case event.InstanceSignaledData:
		v.applySignaled(d, now)
	default:
		return v.applyToInstance(r, now, shuttingDown)
	}
	return nil
}

func (v *Service) impossible(why string) error {
	return fmt.Errorf("%w: %s: %s", ErrImpossible, v.Name, why)
}

// applyWanted also ends the rest of a service that had given up or was
// completed: wanted again, it is simply stopped.
func (v *Service) applyWanted(r *event.Record, d event.ServiceWantedData) {
	v.Want, v.WantReason, v.WantRecord, v.FirstWant = d.Want, d.Reason, r.ID, false
	switch {
	case d.Want == event.Up:
		v.Completed = false
		v.wantedAgain()
	case v.Phase == event.PhaseWaiting:
		v.Phase, v.Waiting, v.NextStart = event.PhaseStopped, nil, nil
	case d.Reason != event.ReasonCompleted && v.Completed: // what remained up is ended
		v.Completed = false
		if !v.Busy() && v.Phase == event.PhaseExited {
			v.Phase = event.PhaseStopped
		}
	}
}

// wantedAgain has a service that is at an end and wanted be about to start. While
// a hook of its last instance is still under way it is not, and the end of that
// comes here.
func (v *Service) wantedAgain() {
	if v.Want == event.Up && !v.Busy() && (v.Phase == event.PhaseExited || v.Phase == event.PhaseFatal) {
		v.Phase, v.Fatal = event.PhaseStopped, ""
	}
}

func fatalText(d event.ServiceFatalData) string {
	if d.Detail == "" {
		return d.Reason
	}
	return d.Reason + ": " + d.Detail
}

// applyToInstance folds the records that must name the live instance.
func (v *Service) applyToInstance(r *event.Record, now event.Moment, shuttingDown bool) error {
	in := v.Instance
	is := func(id string) error {
		if in == nil || in.ID != id {
			return v.impossible(id + " is not its instance")
		}
		return nil
	}
	switch d := r.Data.(type) {
	case event.InstanceRunningData:
		if err := is(d.Instance); err != nil {
			return err
		}
		in.Running = &now
		if in.Stop == nil && in.IsReady() {
			v.Phase = event.PhaseRunning
		}
	case event.InstanceReadyData:
		if err := is(d.Instance); err != nil {
			return err
		}
		if in.Running == nil {
			return v.impossible("it does not run")
		}
		in.Ready = &now
		if in.Stop == nil {
			v.Phase = event.PhaseRunning
		}
	case event.InstanceExtendedData:
		if err := is(d.Instance); err != nil {
			return err
		}
		return v.applyExtended(d)
	case event.HealthChangedData:
		if err := is(d.Instance); err != nil {
			return err
		}
		in.Health = d.To
	case event.InstanceExecFailedData:
		failure := &ExecFailure{Step: d.Step, Errno: d.Errno, Error: d.Error, Path: d.Path}
		if !v.Live() { // no stub got as far as its gate: there is no instance
			v.Failure, v.Phase, v.NextStart = failure, event.PhaseExited, nil
			return nil
		}
		if err := is(d.Instance); err != nil {
			return err
		}
		in.ExecFailed = failure
	case event.InstanceAdoptedData:
		if err := is(d.Instance); err != nil {
			return err
		}
		in.PID, in.StartTime = d.PID, d.StartTime
		in.Adopted = in.Adopted || d.By != event.AdoptedByNotify
	case event.InstanceReloadingData:
		return is(d.Instance)
	case event.InstanceStuckData:
		if err := is(d.Instance); err != nil {
			return err
		}
		in.Stuck, v.Phase = true, event.PhaseStuck
	case event.InstanceExitedData:
		if err := is(d.Instance); err != nil {
			return err
		}
		v.applyExited(r, d, now, shuttingDown)
	}
	return nil
}

// applyStarting keeps P1: no instance before the proof that the one before
// it, with its tree, is dead.
func (v *Service) applyStarting(r *event.Record, d event.InstanceStartingData, now event.Moment) error {
	if v.Busy() {
		return v.impossible("it has a live instance, or a hook is under way")
	}
	if d.Run != v.Run+1 {
		return v.impossible(fmt.Sprintf("run %d comes after run %d", d.Run, v.Run))
	}
	v.Run, v.Phase, v.NextStart, v.Fatal, v.Failure = d.Run, event.PhaseStarting, nil, "", nil
	v.Waiting, v.Completed = nil, false
	if d.Reason != event.ReasonRestart {
		v.Retries = 0
	}
	v.Instance = &Instance{
		ID: d.Instance, Run: d.Run, PID: d.PID, StartTime: d.StartTime, Boot: r.Boot, Cgroup: d.Cgroup,
		SpecDigest: d.SpecDigest, Record: r.ID, Seq: r.Seq, Started: now, Reason: d.Reason,
		Awaits: v.Spec.Ready != nil && !v.Spec.Oneshot(),
	}
	return nil
}

func (v *Service) applyStopping(r *event.Record, d event.InstanceStoppingData) error {
	order := StopOrder{Signal: d.Signal, Deadline: d.Deadline, Reason: d.Reason, Record: r.ID, Seq: r.Seq}
	switch {
	case v.Instance != nil && v.Instance.ID == d.Instance:
		order.Hooked = v.Spec.Hooks.PreStop != nil && v.Instance.Running != nil && d.Signal != event.Kill
		// A second order (a forced shutdown) keeps what was already sent.
		if old := v.Instance.Stop; old != nil {
			order.Signaled, order.Killed, order.PreStop = old.Signaled && old.Signal == d.Signal, old.Killed, old.PreStop
			order.Hooked = old.Hooked
		}
		v.Instance.Stop = &order
	case v.Tree != nil && v.Tree.Instance == d.Instance:
		v.Tree.Stop = order
	case v.Instance == nil && v.Tree == nil && v.LastExit != nil && v.LastExit.Instance == d.Instance:
		v.Tree = &Tree{Instance: d.Instance, Cgroup: v.LastExit.Cgroup, Boot: v.LastExit.Boot, Stop: order}
		v.LastExit.Left = false
	default:
		return v.impossible(d.Instance + " is not its newest instance")
	}
	if v.Instance == nil || !v.Instance.Stuck {
		v.Phase = event.PhaseStopping
	}
	return nil
}

// Operations on an instance are named, so that keeper and journal can tell
// whether one was carried out (R4).
const (
	opStop = ":stop"
	opTree = ":tree"
	opKill = ":kill"
)

// StopOperation names the first signal of a stop, KillOperation the KILL at
// its deadline, TreeOperation the signal to what the main process left.
func StopOperation(instance, signal string) string { return instance + opStop + ":" + signal }

// KillOperation names the KILL at a stop's deadline.
func KillOperation(instance string) string { return instance + opKill }

// TreeOperation names the signal to what the main process left behind.
func TreeOperation(instance string) string { return instance + opTree }

// HookOperation names the one run of a hook for an instance.
func HookOperation(instance, hook string) string { return instance + ":hook:" + hook }

// SweepOperation names the n-th sweep of a tree.
func SweepOperation(instance string, n int) string { return instance + ":sweep:" + strconv.Itoa(n) }

func (v *Service) applySignaled(d event.InstanceSignaledData, now event.Moment) {
	if in := v.Instance; in != nil && in.ID == d.Instance && in.Stop != nil {
		if d.Operation == StopOperation(in.ID, in.Stop.Signal) {
			in.Stop.Signaled = true
		}
		if d.Operation == KillOperation(in.ID) || d.Operation == StopOperation(in.ID, "SIGKILL") {
			in.Stop.Killed = &now
		}
	}
	if t := v.Tree; t != nil && t.Instance == d.Instance && d.Operation == TreeOperation(t.Instance) {
		t.Stop.Signaled = true
	}
	if x := v.LastExit; x != nil && x.Instance == d.Instance && d.Operation == KillOperation(x.Instance) {
		x.Unkilled = ""
	}
}

func (v *Service) applyExited(r *event.Record, d event.InstanceExitedData, now event.Moment, shuttingDown bool) {
	in := v.Instance
	v.LastExit = &LastExit{
		Instance: in.ID, Run: in.Run, Boot: in.Boot, Cgroup: in.Cgroup, Code: d.Code, Signal: d.Signal, Cause: d.Cause,
		Expected: d.Expected, At: now, Uptime: d.Uptime, Ran: in.Running != nil, Ready: in.IsReady(), Exec: in.ExecFailed, Record: r.ID,
		Left: d.Leftovers, Background: d.Background,
	}
	if in.Stop != nil {
		v.LastExit.Stop = in.Stop.Reason
		if in.Stop.Killed == nil {
			v.LastExit.Unkilled = in.Stop.Record
		}
	}
	v.Instance = nil
	// What was not wanted any more, and was to end later, does not remain.
	v.Completed = v.Spec.Oneshot() && d.Expected && in.Stop == nil && v.Want == event.Up
	if v.Phase = v.restPhase(r.Boot, shuttingDown); !d.Leftovers {
		v.postStop(r.Boot)
	}
}

// restPhase is where a service is when its last process has gone: stopped if
// that was asked for or if the machine took it, which is no failure of the
// service; else exited (until a restart is scheduled).
func (v *Service) restPhase(boot string, shuttingDown bool) event.Phase {
	asked := v.Want == event.Down && v.WantReason != event.ReasonCompleted || v.LastExit.Stop != "" && !Failing(v.LastExit.Stop)
	if asked || shuttingDown || v.Removed || v.LastExit.Boot != boot {
		return event.PhaseStopped
	}
	return event.PhaseExited
}

// sweepRetry is the pause before a tree with survivors is swept again; it
// doubles up to a minute, so that what cannot be killed does not fill the
// journal (P9).
func sweepRetry(sweeps int) int64 {
	return int64(min(time.Minute, time.Second<<min(sweeps-1, 6)))
}

func (v *Service) applySwept(r *event.Record, d event.InstanceSweptData, now event.Moment, shuttingDown bool) {
	if v.Tree == nil || v.Tree.Instance != d.Instance {
		if x := v.LastExit; x != nil && x.Left && x.Instance == d.Instance {
			x.Left = false
			v.postStop(r.Boot)
		}
		return // leftovers that were named and left alone (stop.mode main), or that a reboot took
	}
	if d.Survived > 0 {
		// Not proven dead: the tree stays, and with it the service (R4).
		v.Tree.Sweeps++
		v.Tree.Left = d.Left
		v.Tree.Retry = now.Mono + sweepRetry(v.Tree.Sweeps)
		return
	}
	v.Tree = nil
	v.Phase = v.restPhase(r.Boot, shuttingDown)
	v.postStop(r.Boot)
}

// MethodLeft is the method of an instance.swept that names leftovers without
// ending them.
const MethodLeft = "left"
