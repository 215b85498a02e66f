package policy

import (
	"cmp"
	"slices"
	"time"

	"supd/journal/event"
	"supd/projector"
)

// Decide writes the records that follow from one input and the effects that
// go with them. The state is afterwards as the records say.
func Decide(tx *Tx, in Input) {
	if tx.State.Supd.Stopped && tx.afterEnd(in) {
		return
	}
	switch in := in.(type) {
	case Command:
		tx.command(in)
	case Rejected:
		tx.emitAs(in.Actor, "", "", event.CommandRejectedData{
			Command: in.Command, Reason: in.Reason, Detail: clip(in.Detail), Count: in.Count,
		})
	case Denied:
		tx.emitAs(in.Actor, "", "", event.AccessDeniedData{Subject: clip(in.Subject), Count: in.Count})
	case Configure:
		tx.configure(in, "")
	case ConfigRefused:
		tx.refuseConfiguration(in.Actor, "", in.Errors)
	case Shutdown:
		tx.shutdown("", in)
	case Upgraded:
		tx.upgraded(in)
	case Started:
		tx.started(in)
	case LoggerStarted:
		tx.emit("", "", in.Logger)
	case Settle:
		tx.settle(in)
	case Note:
		tx.emit(in.Subject, "", in.Data)
	case Base:
		for _, part := range tx.State.Parts(cmp.Or(in.Part, projector.MaxBasePart)) {
			tx.emit("", "", part)
		}
	default:
		tx.serviceInput(in)
	}
	tx.endResolved()
	tx.converge()
	tx.finishShutdown()
}

// afterEnd tells that an input comes to nothing because the last record of an
// orderly end is written. Facts are still recorded: what a service that was
// left running does until the keeper has gone, and what was not kept (P3, P4). A
// KILL that is told after the exit it led to is none that changes anything: the
// last record stays the last.
func (tx *Tx) afterEnd(in Input) bool {
	switch in := in.(type) {
	case Command:
		if e := tx.State.EndedCommand(in.Request.ID); e != nil && e.Content == contentOf(in) {
			tx.act(Reply{Command: e.ID, Reply: EndedReply(e, e.Seq)})
			return true
		}
		tx.act(Reply{Command: in.Request.ID, Reply: event.CommandReply{
			Status: event.ReplyRejected, Command: in.Request.ID, Reason: event.RejectShuttingDown, Detail: "supd has stopped",
		}})
		return true
	case Rejected, Denied, Configure, ConfigRefused, Shutdown, LoggerStarted, Settle:
		return true
	case Signaled:
		v := tx.State.Services[in.Service]
		return v == nil || !v.Live()
	}
	return false
}

// serviceInput decides what concerns one service. A service that has gone
// meanwhile needs nothing but that its stub does not start.
func (tx *Tx) serviceInput(in Input) {
	switch in := in.(type) {
	case Parked:
		tx.parked(in)
	case ParkFailed:
		tx.parkFailed(in)
	case Executed:
		tx.executed(in)
	case ExecFailed:
		tx.execFailed(in)
	case Exited:
		tx.exited(in)
	case Signaled:
		tx.signaled(in)
	case TreeEmpty:
		tx.treeEmpty(in)
	case Swept:
		tx.swept(in)
	case Adopted:
		tx.adopted(in)
	case Followed:
		tx.followed(in)
	case Lost:
		tx.lost(in)
	case Ended:
		tx.strangerEnded(in)
	case ParkEnded:
		tx.Touched[in.Service] = true // the duty may stand again
	case Forgotten:
		tx.forgotten(in)
	case Ready:
		tx.ready(in)
	case Reloading:
		tx.reloading(in)
	case Extended:
		tx.extended(in)
	case Health:
		tx.health(in)
	case WatchdogMissed:
		tx.watchdogMissed(in)
	case HookEnded:
		tx.hookEnded(in)
	case Tick:
		tx.tick(in)
	}
}

// instance finds a service whose live instance is the given one.
func (tx *Tx) instance(service, id string) (*projector.Service, *projector.Instance) {
	v := tx.State.Services[service]
	if v == nil || v.Instance == nil || v.Instance.ID != id {
		return nil, nil
	}
	return v, v.Instance
}

// parked turns a stub into an instance, or lets it go. Between the request
// for the stub and now the want may have changed.
func (tx *Tx) parked(in Parked) {
	if _, i := tx.instance(in.Service, in.Instance); i != nil {
		return // told again: to let it go now would end an instance
	}
	v := tx.State.Services[in.Service]
	if v == nil || !Startable(tx.State, v, tx.Now) || v.Digest != in.SpecDigest {
		tx.act(Drop{in.Instance})
		if v != nil {
			tx.Touched[v.Name] = true // the duty may still stand, with another stub
		}
		return
	}
	reason, cause := tx.startReason(v)
	tx.emit(v.Name, cause, event.InstanceStartingData{
		Instance: in.Instance, Run: v.Run + 1, PID: in.PID, StartTime: in.StartTime,
		Cgroup: in.Cgroup, SpecDigest: in.SpecDigest, Reason: reason,
	})
}

// startReason says why a service starts now: a scheduled restart, a person, a
// configuration, or its want from of old.
func (tx *Tx) startReason(v *projector.Service) (reason, cause string) {
	if v.NextStart != nil {
		return event.ReasonRestart, v.NextStart.Record
	}
	for _, id := range slices.Backward(v.Pending) {
		if c := tx.State.Commands[id]; !c.Configures() { // which does what the configuration says
			return event.ReasonCommand, c.Record
		}
	}
	if x := v.LastExit; x != nil && (x.Stop == event.ReasonConfig || x.Stop == event.ReasonRestart) {
		reason = event.ReasonConfig
		if x.Stop == event.ReasonRestart {
			reason = event.ReasonCommand
		}
		return reason, x.Record
	}
	if v.WantReason == event.ReasonCommand || v.WantReason == event.ReasonDependency {
		return v.WantReason, v.WantRecord
	}
	return event.ReasonAutostart, v.WantRecord
}

// parkFailed is a start that failed before there was an instance.
func (tx *Tx) parkFailed(in ParkFailed) {
	v := tx.State.Services[in.Service]
	if v == nil || !Startable(tx.State, v, tx.Now) {
		if v != nil {
			tx.Touched[v.Name] = true // what keeps it from starting now may be the limiter: then it waits for that
		}
		return
	}
	_, cause := tx.startReason(v)
	r := tx.emit(v.Name, cause, event.InstanceExecFailedData{
		Instance: in.Instance, Step: in.Step, Errno: in.Errno, Error: in.Error, Path: in.Path,
	})
	if scarce(*v.Failure) {
		tx.postpone(v, r.ID)
		return
	}
	tx.reschedule(v, r.ID, event.Exit{}, v.Failure, false)
}

func (tx *Tx) executed(in Executed) {
	v, i := tx.instance(in.Service, in.Instance)
	if i == nil || i.Running != nil {
		return
	}
	tx.emit(v.Name, i.Record, event.InstanceRunningData{
		Instance: i.ID, Took: event.Duration(tx.Now.Mono - i.Started.Mono),
	})
}

// execFailed only notes why: what follows is decided at the exit of the stub,
// which is the proof that nothing of it lives (R4).
func (tx *Tx) execFailed(in ExecFailed) {
	v, i := tx.instance(in.Service, in.Instance)
	if i == nil || i.ExecFailed != nil || i.Running != nil {
		return
	}
	tx.emit(v.Name, i.Record, event.InstanceExecFailedData{
		Instance: i.ID, Step: in.Step, Errno: in.Errno, Error: in.Error, Path: in.Path,
	})
}

// StuckAfter is how long a killed instance may take to die before it is
// called stuck. A process in uninterruptible sleep may take for ever; five
// seconds is beyond what exit of a large process takes.
const StuckAfter = 5 * time.Second

// UnansweredAfter is how long KILL may be due without the keeper telling what
// came of it, before the instance is called stuck too: an order to end must not
// wait for ever for somebody's word. It is longer than StuckAfter, since the
// keeper's workers may be busy with the trees of others, 10 s each.
const UnansweredAfter = 30 * time.Second

func (tx *Tx) tick(in Tick) {
	v := tx.State.Services[in.Service]
	if v == nil {
		return
	}
	tx.Touched[v.Name] = true
	tx.startOverdue(v)
	tx.hookOverdue(v)
	if i, at := v.Instance, stuckAt(v, tx.Now); at != 0 && tx.Now.Mono >= at {
		d := event.InstanceStuckData{Instance: i.ID, PID: i.PID, State: "SIGKILL is due, and nobody tells that it was sent", Since: i.Stop.Deadline.Wall}
		if killed := i.Stop.Killed; killed != nil {
			d.State, d.Since = "killed and not dead", killed.Wall
		}
		tx.emit(v.Name, i.Stop.Record, d)
	}
}

// stuckAt is the moment of the boot clock at which the live instance is stuck
// if nothing is heard of it until then; 0 if it is not to die, or is stuck.
func stuckAt(v *projector.Service, now Now) int64 {
	i := v.Instance
	switch {
	case i == nil || i.Stuck || i.Stop == nil || i.Boot != now.Boot:
		return 0
	case i.Stop.Killed != nil:
		return i.Stop.Killed.Mono + int64(StuckAfter)
	}
	return i.Stop.Deadline.Mono + int64(UnansweredAfter)
}

// endResolved ends the commands whose targets all have a result (P2).
func (tx *Tx) endResolved() {
	for _, id := range slices.Clone(tx.State.Resolved()) {
		tx.endCommand(tx.State.Commands[id], event.Result{})
	}
}

// endCommand writes the end of a command; missing stands for the targets that
// have no result, and for a command without targets.
func (tx *Tx) endCommand(c *projector.Command, missing event.Result) {
	results := make([]event.Result, 0, len(c.Targets))
	for _, name := range c.Targets {
		res, ok := c.Results[name]
		if !ok {
			res = missing
			res.Service = name
		}
		results = append(results, res)
	}
	outcome := overall(results)
	if len(results) == 0 && missing.Outcome != "" {
		outcome = missing.Outcome
	}
	tx.end(c, outcome, results)
}

func (tx *Tx) end(c *projector.Command, outcome event.Outcome, results []event.Result) {
	took := tx.since(c)
	r := tx.emit("", c.Record, event.CommandEndedData{Command: c.ID, Outcome: outcome, Results: results, Duration: took})
	tx.act(Reply{Command: c.ID, Reply: EndedReply(tx.State.EndedCommand(c.ID), r.Seq), Everyone: true})
}

// since is how long ago a command was accepted.
func (tx *Tx) since(c *projector.Command) event.Duration {
	took := event.Duration(tx.Now.Mono - c.Accepted.Mono)
	if c.Boot != tx.Now.Boot {
		took = event.Duration(max(0, tx.Now.Wall.Sub(c.Accepted.Wall)))
	}
	return took
}

// EndedReply is the answer that tells how a command ended.
func EndedReply(e *projector.Ended, seq event.Seq) event.CommandReply {
	return event.CommandReply{
		Status: event.ReplyEnded, Command: e.ID, Seq: seq, Outcome: e.Outcome, Results: e.Results, Duration: e.Duration,
	}
}

// overall is the outcome of a command from those of its targets: the worst
// decides, and a command that changed something is done.
func overall(results []event.Result) event.Outcome {
	order := []event.Outcome{
		event.Failed, event.InDoubt, event.Refused, event.Superseded, event.Expired, event.Done, event.Unchanged,
	}
	for _, o := range order {
		if slices.ContainsFunc(results, func(r event.Result) bool { return r.Outcome == o }) {
			return o
		}
	}
	return event.Done // a command without targets
}

// clip bounds a text from outside, on a character's border.
func clip(s string) string {
	if len(s) <= event.MaxDetail {
		return s
	}
	cut := event.MaxDetail
	for cut > 0 && s[cut]&0xC0 == 0x80 {
		cut--
	}
	return s[:cut]
}
