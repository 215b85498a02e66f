package policy

import (
	"fmt"
	"maps"
	"slices"

	"supd/journal/event"
	"supd/projector"
)

// The recovery table. An engine that starts compares what the journal says
// with what the keeper holds; each item in doubt is settled by one row, and
// the row is recorded. What is not in the table needs nothing: its duty is in
// the state and is simply found again.
//
//	row  recorded                      found                        done
//	1    starting, gate not known open gate closed                  duty opens it
//	2    live, not seen to run         executed                     instance.running
//	3    live                          ended, status kept           instance.exited
//	4    live, this boot               keeper does not know it      adopt it; row 5 or 6
//	5    live                          adopted                      instance.adopted, same run
//	6    live                          gone                         instance.exited, as the kernel kept it or
//	                                                                unknown; its tree is swept
//	7    live or tree, another boot    cannot exist                 instance.exited, unknown; swept
//	8    nothing                       stub at its gate             gate closed: it never was an instance
//	9    nothing                       process, or a tree's rest    ended: no record authorised it
//	10   a signal perhaps sent         the keeper that knew is gone instance.signaled unknown; the deadline escalates
//	11   command accepted, not ended   —                            goes on by its wants
//	12   tree being ended              ended, status kept           duty sweeps it
//	13   a hook perhaps begun          the keeper that knew is gone hook.ended, in doubt; never run again
//	14   live                          another main process         instance.adopted: the service had named it
const (
	rowGateClosed   = 1
	rowExecuted     = 2
	rowExited       = 3
	rowAdopt        = 4
	rowAdopted      = 5
	rowGone         = 6
	rowReboot       = 7
	rowParkedStub   = 8
	rowStranger     = 9
	rowSignal       = 10
	rowCommand      = 11
	rowTree         = 12
	rowHook         = 13
	rowFollowed     = 14
	foundNothing    = "the keeper does not know it"
	foundOtherBoot  = "another boot or node"
	foundUnrecorded = "not recorded"
)

// Found is one instance that the keeper holds.
type Found struct {
	Service, Instance string
	PID               int    // of the main process, with StartTime; 0: it does not matter
	StartTime         uint64 // clock ticks since boot
	GateClosed        bool   // a stub at its gate
	Executed          bool   // seen, or adopted
	Adopted           *Adopted
	ExecFailed        *ExecFailed
	Exited            *Exited
	TreeEmpty         bool // and nothing is left of it
}

// Adopt asks the keeper to hold an instance that it did not start.
type Adopt struct {
	Service, Instance, Cgroup string
	PID                       int
	StartTime                 uint64
}

// Stranger asks the keeper to end a process that no record authorised.
type Stranger struct{ Service, Instance string }

func (Adopt) effect()    {}
func (Stranger) effect() {}

// started opens an engine's life, or finds that supd had already ended and
// only its keeper does not know yet.
func (tx *Tx) started(in Started) {
	k := tx.State.Supd.Keeper
	same := k != nil && k.PID == in.Keeper.PID && k.StartTime == in.Keeper.StartTime && tx.State.Supd.Boot == tx.Now.Boot
	if same && tx.State.Supd.Stopped {
		tx.act(Quit{KeepServices: tx.anyLive()})
		return
	}
	rebooted := tx.State.Supd.Boot != tx.Now.Boot
	orderly := tx.State.Supd.Stopped
	r := tx.emit("", "", in.Engine)
	if !same {
		tx.emit("", r.ID, in.Keeper)
	}
	if !same {
		for _, c := range tx.openCommands() {
			if c.Verb == event.VerbShutdown { // it was cut short, and this supd goes on
				tx.endCommand(c, event.Result{Outcome: event.InDoubt})
			}
		}
	}
	if in.Logger != nil {
		tx.emit("", r.ID, *in.Logger)
	}
	tx.settleUpgrades(in.Upgrade)
	if in.Engine.Mode == event.ModeAllLost && !orderly {
		tx.cutOutputs(in.Heard)
	}
	if rebooted {
		tx.repeatOneshots(r.ID)
	}
}

// repeatOneshots wants up again what has done its work in another boot: what
// it set up is gone.
func (tx *Tx) repeatOneshots(cause string) {
	for _, name := range slices.Sorted(maps.Keys(tx.State.Services)) {
		v := tx.State.Services[name]
		if v.Spec.Oneshot() && v.Spec.Autostart && !v.Removed && v.Want == event.Down && v.WantReason == event.ReasonCompleted {
			tx.emit(name, cause, event.ServiceWantedData{Want: event.Up, Reason: event.ReasonAutostart})
		}
	}
}

// settle carries out the recovery table.
func (tx *Tx) settle(in Settle) {
	for _, s := range in.Signaled {
		tx.signaled(s) // before an exit could say that there was nothing to signal
	}
	for _, h := range in.Hooks {
		tx.hookEnded(h)
	}
	tx.resumeDefinitions()
	tx.resumeTrees()
	found := map[string]Found{}
	for _, f := range in.Found {
		found[f.Instance] = f
	}
	for _, id := range slices.Sorted(maps.Keys(found)) {
		tx.settleFound(found[id])
	}
	for _, name := range slices.Sorted(maps.Keys(tx.State.Services)) {
		v := tx.State.Services[name]
		tx.Touched[name] = true
		if h := v.Hook; h != nil && (h.Doubt || h.Boot != tx.Now.Boot) {
			tx.settled(rowHook, name, h.Instance, h.Name+" perhaps begun", "not run again")
			tx.hookEnded(HookEnded{Service: name, Instance: h.Instance, Operation: h.Operation, Unknown: true})
		}
		_, held := found[liveID(v)]
		switch {
		case liveID(v) == "" || held:
		case liveBoot(v) != tx.Now.Boot:
			tx.settleReboot(v)
		case v.Instance != nil:
			tx.settled(rowAdopt, name, v.Instance.ID, foundNothing, "adopt")
			tx.act(Adopt{
				Service: name, Instance: v.Instance.ID, Cgroup: v.Instance.Cgroup,
				PID: v.Instance.PID, StartTime: v.Instance.StartTime,
			})
		}
		tx.killAnew(v)
	}
	for _, name := range slices.Sorted(maps.Keys(tx.State.Services)) {
		tx.resumeService(tx.State.Services[name])
	}
	tx.endResolved()
	for _, c := range tx.openCommands() {
		tx.settled(rowCommand, "", "", "command "+c.ID+" not ended", "goes on")
		tx.resume(c)
	}
}

// killAnew begins the time anew in which KILL must be answered (UnansweredAfter):
// it is this engine that asks for it, however long ago it was due.
func (tx *Tx) killAnew(v *projector.Service) {
	i := v.Instance
	if i == nil || i.Stuck || i.Stop == nil || i.Stop.Killed != nil || i.Boot != tx.Now.Boot || tx.Now.Mono < i.Stop.Deadline.Mono {
		return
	}
	tx.emit(v.Name, i.Stop.Record, event.InstanceStoppingData{
		Instance: i.ID, Signal: event.Kill, Deadline: tx.Now.Moment(), Reason: i.Stop.Reason,
	})
}

func liveID(v *projector.Service) string {
	switch {
	case v.Instance != nil:
		return v.Instance.ID
	case v.Tree != nil:
		return v.Tree.Instance
	}
	return ""
}

func liveBoot(v *projector.Service) string {
	if v.Instance != nil {
		return v.Instance.Boot
	}
	return v.Tree.Boot
}

func (tx *Tx) settled(row int, service, instance, found, done string) {
	tx.emit("", "", event.RecoverySettledData{Row: row, Service: service, Instance: instance, Found: found, Done: done})
}

// settleFound settles one instance that the keeper holds.
func (tx *Tx) settleFound(f Found) {
	v, i := tx.instance(f.Service, f.Instance)
	switch {
	case i == nil:
		tx.settleUnrecorded(f)
		return
	case f.GateClosed:
		tx.settled(rowGateClosed, v.Name, i.ID, "gate closed", "open it")
		return
	}
	if f.Adopted != nil && !i.Adopted {
		tx.adopted(*f.Adopted) // the engine that asked died before it heard
	}
	if f.PID != 0 && (f.PID != i.PID || f.StartTime != i.StartTime) {
		tx.settled(rowFollowed, v.Name, i.ID, fmt.Sprintf("main process is pid %d", f.PID), "record it")
		tx.followed(Followed{v.Name, i.ID, f.PID, f.StartTime})
	}
	if f.Executed && i.Running == nil {
		tx.settled(rowExecuted, v.Name, i.ID, "executed", "record it")
		tx.executed(Executed{v.Name, i.ID})
	}
	if f.ExecFailed != nil {
		tx.execFailed(*f.ExecFailed)
	}
	if f.Exited != nil {
		tx.settled(rowExited, v.Name, i.ID, "ended", "record it")
		tx.exited(*f.Exited)
	}
}

func (tx *Tx) settleUnrecorded(f Found) {
	v := tx.State.Services[f.Service]
	switch {
	case v != nil && v.Tree != nil && v.Tree.Instance == f.Instance:
		tx.settled(rowTree, f.Service, f.Instance, "tree being ended", "go on")
		if f.TreeEmpty {
			tx.treeEmpty(TreeEmpty{f.Service, f.Instance})
		}
	case f.GateClosed:
		tx.settled(rowParkedStub, f.Service, f.Instance, foundUnrecorded, "close its gate")
		tx.act(Drop{f.Instance})
	case f.Exited != nil && !(f.Exited.Leftovers && !f.TreeEmpty && unheardOf(v, f.Instance)):
		tx.act(Forget{f.Instance}) // its exit is recorded
	default:
		tx.settled(rowStranger, f.Service, f.Instance, foundUnrecorded, "end it")
		tx.act(Stranger{f.Service, f.Instance})
	}
}

// unheardOf tells an instance that is newer than all the state knows of its
// service: ids grow with time. The records of its life are lost, its leftovers
// are nobody's. What an older one left behind was left on purpose.
func unheardOf(v *projector.Service, instance string) bool {
	return v == nil || (v.Instance == nil || v.Instance.ID < instance) && (v.LastExit == nil || v.LastExit.Instance < instance)
}

// strangerEnded records that row 9 was carried out.
func (tx *Tx) strangerEnded(in Ended) {
	service := ""
	if tx.State.Services[in.Service] != nil { // its environment may say anything
		service = in.Service
	}
	tx.settled(rowStranger, service, in.Instance, in.Found, "ended")
}

// settleReboot ends what another boot has taken with it.
func (tx *Tx) settleReboot(v *projector.Service) {
	id := liveID(v)
	tx.settled(rowReboot, v.Name, id, foundOtherBoot, "record its end")
	if v.Instance != nil {
		tx.doubtCommands(v, v.Instance)
		tx.cutOutput(v, id, v.Instance.Record, v.Instance.Started.Wall, cutReboot)
		tx.exited(Exited{Service: v.Name, Instance: id, Unknown: true})
		return
	}
	tx.swept(Swept{Service: v.Name, Instance: id, Method: "reboot"})
}

// forgotten asks for an instance that the state believes alive and the keeper
// does not know (row 4, found late).
func (tx *Tx) forgotten(in Forgotten) {
	v, i := tx.instance(in.Service, in.Instance)
	if i == nil {
		return
	}
	tx.act(Adopt{Service: v.Name, Instance: i.ID, Cgroup: i.Cgroup, PID: i.PID, StartTime: i.StartTime})
}

// adopted follows an Adopt that found the process. Signals whose fate only
// the lost keeper knew are not sent again (R4).
func (tx *Tx) adopted(in Adopted) {
	v, i := tx.instance(in.Service, in.Instance)
	if i == nil {
		return
	}
	tx.settled(rowAdopted, v.Name, i.ID, fmt.Sprintf("pid %d lives", in.PID), "adopted")
	tx.emit(v.Name, i.Record, event.InstanceAdoptedData{
		Instance: i.ID, PID: in.PID, StartTime: in.StartTime, By: in.By, Output: in.Output,
	})
	tx.executed(Executed{v.Name, i.ID})
	// Only what an earlier engine decided is in doubt: this one has sent nothing
	// to an instance that it was still adopting. KILL never is: a process that
	// lives has not had it, or will not notice a second one.
	if o := i.Stop; o != nil && o.Seq < tx.State.Supd.Since && !o.Signaled && o.Killed == nil && o.Signal != event.Kill {
		tx.doubtSignal(v, i, o.Record, projector.StopOperation(i.ID, o.Signal), o.Signal, stopScope(v.Spec.Stop.Mode))
	}
	tx.doubtCommands(v, i)
}

// followed records that an instance has another main process: the same instance,
// the same run.
func (tx *Tx) followed(in Followed) {
	v, i := tx.instance(in.Service, in.Instance)
	if i == nil || i.PID == in.PID && i.StartTime == in.StartTime {
		return
	}
	tx.emit(v.Name, i.Record, event.InstanceAdoptedData{
		Instance: i.ID, PID: in.PID, StartTime: in.StartTime, By: event.AdoptedByNotify, Output: event.OutputAttached,
	})
	tx.executed(Executed{v.Name, i.ID}) // or it could have said nothing
}

// doubtCommands ends the commands whose signal's fate is not known.
func (tx *Tx) doubtCommands(v *projector.Service, i *projector.Instance) {
	for _, id := range slices.Clone(v.Pending) {
		c := tx.State.Commands[id]
		if sig := commandSignal(v, c); sig != "" && c.Seq < tx.State.Supd.Since {
			tx.doubtSignal(v, i, c.Record, projector.SignalOperation(id), sig, event.ScopeMain)
		}
	}
}

// lost records the end of an instance that nobody saw. That its status was kept
// proves that the program ran.
func (tx *Tx) lost(in Lost) {
	v, i := tx.instance(in.Service, in.Instance)
	if i == nil {
		return
	}
	tx.doubtCommands(v, i)
	exit, done := Exited{Service: v.Name, Instance: i.ID, Unknown: true, Leftovers: in.Leftovers}, "record its end as unknown"
	if in.Exited != nil {
		exit, done = *in.Exited, "record its end, which the kernel kept"
	}
	tx.settled(rowGone, v.Name, i.ID, fmt.Sprintf("pid %d is gone", i.PID), done)
	if in.Exited != nil {
		tx.executed(Executed{v.Name, i.ID})
	}
	tx.cutOutput(v, i.ID, i.Record, i.Started.Wall, cutUnseen)
	tx.exited(exit)
}

func (tx *Tx) doubtSignal(v *projector.Service, i *projector.Instance, cause, operation, signal, scope string) {
	tx.settled(rowSignal, v.Name, i.ID, "signal "+operation+" perhaps sent", "not sent again")
	tx.emit(v.Name, cause, event.InstanceSignaledData{
		Instance: i.ID, Operation: operation, Signal: signal, Scope: scope, PIDs: []int{}, Result: ResultUnknown,
	})
}
