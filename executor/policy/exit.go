package policy

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"supd/journal/event"
	"supd/projector"
)

// exited records the proven death of a main process and what follows from it.
func (tx *Tx) exited(in Exited) {
	v, i := tx.instance(in.Service, in.Instance)
	if i == nil {
		tx.act(Forget{in.Instance}) // recorded before
		return
	}
	tx.emit(v.Name, exitCause(i), exitData(in, v, i, tx.Now))
	tx.act(Forget{in.Instance})
	switch {
	case !in.Leftovers:
		tx.rest(v)
	case tx.mayLeave(v):
		tx.emit(v.Name, v.LastExit.Record, event.InstanceSweptData{
			Instance: i.ID, Method: projector.MethodLeft, Killed: []event.Process{}, Survived: in.Left, Left: in.LeftNames,
		})
		tx.rest(v)
	default:
		tx.endTree(v, i)
	}
}

// mayLeave tells that what a stopped main process left behind is left alone.
func (tx *Tx) mayLeave(v *projector.Service) bool {
	return v.LastExit.Stop != "" && v.Spec.Stop.Mode == event.StopMain && !tx.startsAgain(v)
}

// startsAgain tells that another instance follows: then nothing of the old one
// may be left, whatever its stop.mode.
func (tx *Tx) startsAgain(v *projector.Service) bool {
	return v.Want == event.Up && !v.Removed && tx.State.Supd.Stopping == nil
}

func exitCause(i *projector.Instance) string {
	if i.Stop != nil {
		return i.Stop.Record
	}
	return ""
}

func exitData(in Exited, v *projector.Service, i *projector.Instance, now Now) event.InstanceExitedData {
	d := event.InstanceExitedData{
		Instance: i.ID, Core: in.Core, OOM: in.OOM, Cause: event.CauseUnknown,
		CPU: event.Duration(in.CPU), MaxRSS: in.MaxRSS, Uptime: event.Duration(uptime(i, now)),
		Leftovers: in.Leftovers,
	}
	switch {
	case in.Unknown:
	case in.Signal != "":
		d.Cause, d.Signal = event.CauseSignaled, &in.Signal
	default:
		d.Cause, d.Code = event.CauseExited, &in.Code
	}
	if i.Stop == nil {
		d.Expected = successful(v.Spec.SuccessExitCodes, d)
	} else {
		d.Expected = !projector.Failing(i.Stop.Reason)
	}
	d.Background = background(v, i, d)
	return d
}

// backgroundTime is how soon a program that goes into the background has ended.
const backgroundTime = time.Second

// background guesses that a program went into the background: supd supervises
// its first process, which has done what it was to do, and would start it again
// and again in vain.
func background(v *projector.Service, i *projector.Instance, d event.InstanceExitedData) bool {
	switch {
	case i.Stop != nil || i.Running == nil || v.Spec.Oneshot() || d.Code == nil || *d.Code != 0:
		return false
	case !i.IsReady():
		return true
	}
	return v.Spec.Restart == event.RestartAlways && (d.Leftovers || time.Duration(d.Uptime) < backgroundTime)
}

// uptime counts from the exec, by the boot clock within a boot and by the
// wall clock across one (R13).
func uptime(i *projector.Instance, now Now) time.Duration {
	from := i.Started
	if i.Running != nil {
		from = *i.Running
	}
	if i.Boot == now.Boot {
		return time.Duration(max(0, now.Mono-from.Mono))
	}
	return max(0, now.Wall.Sub(from.Wall))
}

func successful(codes []string, d event.InstanceExitedData) bool {
	switch {
	case d.Code != nil:
		return slices.Contains(codes, strconv.Itoa(*d.Code))
	case d.Signal != nil:
		return slices.Contains(codes, *d.Signal)
	}
	return false
}

// endTree ends what the main process left behind, before anything new starts:
// else the port is still taken. A stop that was asked for gives the rest the
// same signal and the rest of its time; after a crash there is nothing to
// wait for.
func (tx *Tx) endTree(v *projector.Service, i *projector.Instance) {
	d := event.InstanceStoppingData{
		Instance: i.ID, Signal: event.Kill, Deadline: tx.Now.Moment(), Reason: event.ReasonRestart,
	}
	if v.LastExit.Stop != "" {
		d.Reason = v.LastExit.Stop
	}
	if o := i.Stop; o != nil {
		if o.Killed == nil && v.Spec.Stop.Mode == event.StopTree && o.Deadline.Mono > tx.Now.Mono && i.Boot == tx.Now.Boot {
			d.Signal, d.Deadline = o.Signal, o.Deadline
		}
	}
	tx.emit(v.Name, v.LastExit.Record, d)
}

func (tx *Tx) treeEmpty(in TreeEmpty) {
	if v := tx.tree(in.Service, in.Instance); v != nil {
		tx.sweptClean(v, event.InstanceSweptData{Instance: in.Instance, Method: "none", Killed: []event.Process{}})
	}
}

func (tx *Tx) swept(in Swept) {
	v := tx.tree(in.Service, in.Instance)
	if v == nil {
		return
	}
	d := event.InstanceSweptData{
		Instance: in.Instance, Method: in.Method, Killed: in.Killed, Survived: in.Survived, Left: in.Left, Took: event.Duration(in.Took),
	}
	if d.Killed == nil {
		d.Killed = []event.Process{}
	}
	tx.sweptClean(v, d)
}

func (tx *Tx) sweptClean(v *projector.Service, d event.InstanceSweptData) {
	tx.emit(v.Name, v.Tree.Stop.Record, d)
	if v.Tree == nil {
		tx.rest(v)
	}
}

func (tx *Tx) tree(service, instance string) *projector.Service {
	v := tx.State.Services[service]
	if v == nil || v.Tree == nil || v.Tree.Instance != instance {
		return nil
	}
	return v
}

// rest decides what becomes of a service whose last process has gone. One that
// was stopped stays so, or starts again by its want.
func (tx *Tx) rest(v *projector.Service) {
	if v.Removed || v.Phase != event.PhaseExited {
		return
	}
	if c := tx.awaited(v); c != nil {
		tx.emitAs(c.Actor, v.Name, c.Record, event.ServiceWantedData{Want: event.Up, Reason: event.ReasonCommand})
		return
	}
	x := v.LastExit
	if finished(v.Spec, x) {
		tx.emit(v.Name, x.Record, event.ServiceWantedData{Want: event.Down, Reason: event.ReasonCompleted})
		return
	}
	tx.reschedule(v, x.Record, event.Exit{Code: x.Code, Signal: x.Signal}, x.Exec, stable(v.Spec, x))
}

// finished tells that an exit is the end of a service's work. A oneshot that
// failed has not done its work, and one that ended before it was ready never
// began.
func finished(spec event.Spec, x *projector.LastExit) bool {
	switch {
	case projector.Failing(x.Stop) || !x.Ready:
		return false
	case spec.Oneshot():
		return x.Expected
	}
	return spec.Restart == event.RestartNever || spec.Restart == event.RestartOnFailure && x.Expected
}

// stable tells that an instance was up long enough for its end to count as the
// first one. One that supd ended because it did no good was up only for as
// long as that took to find out, less what finding out takes.
func stable(spec event.Spec, x *projector.LastExit) bool {
	good := time.Duration(x.Uptime)
	switch h := spec.Health; {
	case x.Stop == event.ReasonHealth && h != nil:
		good -= time.Duration(h.Failures) * time.Duration(h.Interval+h.Timeout)
	case x.Stop == event.ReasonWatchdog:
		good -= time.Duration(spec.Watchdog)
	}
	return x.Ready && good >= time.Duration(spec.Backoff.ResetAfter)
}

// awaited finds a person's start that came while what has now ended was still
// there: it is wanted anew, whatever the restart policy would say.
func (tx *Tx) awaited(v *projector.Service) *projector.Command {
	for _, id := range v.Pending {
		c := tx.State.Commands[id]
		if (c.Verb == event.VerbStart || c.Verb == event.VerbRestart) && c.After[v.Name] >= v.Run {
			return c
		}
	}
	return nil
}

// reschedule decides between another try and giving up.
func (tx *Tx) reschedule(v *projector.Service, cause string, exit event.Exit, failure *projector.ExecFailure, stable bool) {
	retries := v.Retries
	if stable {
		retries = 0
	}
	if failure != nil && hopeless(*failure) {
		tx.giveUp(v, cause, event.ServiceFatalData{Reason: event.ReasonExec, Retries: retries, Detail: clip(failure.Text())})
		return
	}
	if v.Spec.MaxRetries >= 0 && retries >= v.Spec.MaxRetries || v.Spec.Restart == event.RestartNever {
		tx.giveUp(v, cause, event.ServiceFatalData{Reason: fatalReason(v, cause), Retries: retries, Detail: retryDetail(v, exit, failure)})
		return
	}
	delay := Delay(v.Spec.Backoff, retries+1, tx.Rand)
	tx.emit(v.Name, cause, event.RestartScheduledData{
		Retry: retries + 1, Delay: event.Duration(delay), Jitter: tx.Rand, NotBefore: tx.Now.Moment().Add(delay), Exit: exit,
		Policy: event.RestartPolicy{Restart: v.Spec.Restart, Backoff: v.Spec.Backoff, MaxRetries: v.Spec.MaxRetries},
	})
}

func (tx *Tx) giveUp(v *projector.Service, cause string, d event.ServiceFatalData) {
	r := tx.emit(v.Name, cause, d)
	tx.emit(v.Name, r.ID, event.ServiceWantedData{Want: event.Down, Reason: event.ReasonFatal})
}

// fatalReason says why supd gives up after the exit with the given record.
func fatalReason(v *projector.Service, exit string) string {
	if x := v.LastExit; x != nil && x.Record == exit && (x.Stop == event.ReasonStartTimeout || x.Stop == event.ReasonHook) {
		return x.Stop
	}
	return event.ReasonMaxRetries
}

func retryDetail(v *projector.Service, exit event.Exit, failure *projector.ExecFailure) string {
	how, hint := "its exit status is unknown", ""
	if failure == nil && v.LastExit != nil {
		hint = v.LastExit.Hint()
	}
	switch {
	case failure != nil:
		how = failure.Text()
	case v.LastExit != nil && v.LastExit.Stop == event.ReasonHealth:
		how = "it was unhealthy"
	case v.LastExit != nil && v.LastExit.Stop == event.ReasonWatchdog:
		how = "it missed its watchdog"
	case v.LastExit != nil && projector.Failing(v.LastExit.Stop):
		how = v.LastExit.FailureText()
	case exit.Code != nil:
		how = fmt.Sprintf("it exited with code %d", *exit.Code)
	case exit.Signal != nil:
		how = "it was ended by " + *exit.Signal
	}
	if v.Spec.Restart == event.RestartNever {
		return clip(how + "; restart is never" + hint)
	}
	return clip(fmt.Sprintf("%s; max_retries is %d%s", how, v.Spec.MaxRetries, hint))
}

// hopeless tells an exec failure that another try cannot mend: the program is
// missing (2 ENOENT, 20 ENOTDIR), may not be run (1 EPERM, 13 EACCES), is no
// program (8 ENOEXEC, 21 EISDIR, 40 ELOOP, 36 ENAMETOOLONG), or the request is
// wrong (7 E2BIG, 22 EINVAL). Numbers, because they are what records hold;
// they are the same on every architecture supd is built for.
func hopeless(f projector.ExecFailure) bool {
	switch f.Step {
	case "exec", "chdir", "user", "limits":
		return slices.Contains([]int{1, 2, 7, 8, 13, 20, 21, 22, 36, 40}, f.Errno)
	}
	return false
}

// scarce tells a start that failed for lack of what other processes will give
// back: 11 EAGAIN, 12 ENOMEM, 23 ENFILE, 24 EMFILE. Numbers as in hopeless.
func scarce(f projector.ExecFailure) bool { return slices.Contains([]int{11, 12, 23, 24}, f.Errno) }

// ShortageDelay is the longest wait before a start is tried again that the
// machine had no resources for. Half of it is chance, so that a thousand
// services do not ask again at once.
const ShortageDelay = time.Second

// postpone tries a start again that never took place. It says nothing about the
// service, so it uses up no retry and no backoff, and however long the shortage
// lasts, supd never gives up.
func (tx *Tx) postpone(v *projector.Service, cause string) {
	delay := time.Duration(float64(ShortageDelay) * (1 + tx.Rand) / 2)
	tx.emit(v.Name, cause, event.RestartScheduledData{
		Retry: v.Retries, Delay: event.Duration(delay), Jitter: tx.Rand, NotBefore: tx.Now.Moment().Add(delay), Shortage: true,
		Policy: event.RestartPolicy{Restart: v.Spec.Restart, Backoff: v.Spec.Backoff, MaxRetries: v.Spec.MaxRetries},
	})
}

// Delay is the wait before the n-th restart since a start or a stable time:
// none before the first, then initial × factor^(n-2) up to max, plus the
// jitter's share. initial = 0 never waits.
func Delay(b event.Backoff, n int, rand float64) time.Duration {
	if n <= 1 || b.Initial <= 0 {
		return 0
	}
	d := float64(b.Initial) * math.Pow(b.Factor, float64(n-2))
	if limit := float64(b.Max); d > limit || math.IsInf(d, 0) || math.IsNaN(d) {
		d = limit
	}
	return time.Duration(d * (1 + rand*b.Jitter))
}

// Remaining is how long a scheduled restart still has to wait by the boot
// clock. The first record of a boot moves schedules to its clock (R13).
func Remaining(n *projector.NextStart, now Now) time.Duration {
	if n == nil {
		return 0
	}
	return time.Duration(n.At.Mono - now.Mono)
}
