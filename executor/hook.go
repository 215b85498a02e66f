package executor

import (
	"crypto/sha256"
	"fmt"
	"syscall"
	"time"

	"github.com/google/uuid"

	"supd/executor/keeper"
	"supd/executor/keeper/wire"
	"supd/executor/policy"
	"supd/executor/probe"
	"supd/journal/event"
	"supd/projector"
)

// taskID is the id of the slot in which a hook's operation runs. It follows from
// the operation, so that an engine which asks again asks for the same slot: the
// keeper runs it once and remembers its end until it is told to forget (R4).
func taskID(operation string) string {
	sum := sha256.Sum256([]byte(operation))
	id, _ := uuid.FromBytes(sum[:16]) // 16 bytes always make one
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80
	return id.String()
}

// hook has the keeper run a hook. What cannot be run ends like one that failed.
func (c *Core) hook(d policy.Duty) {
	v := c.Config.State.Services[d.Service]
	if v == nil || v.Hook == nil || v.Hook.Operation != d.Operation {
		delete(c.inFlight, d.Key())
		return // it has ended meanwhile
	}
	err := c.hookPark(v, d)
	switch {
	case err == nil:
	case keeperGone(err):
		c.failed = fmt.Errorf("cannot ask the keeper for %s: %w", d.Key(), err)
	default:
		c.later = append(c.later, policy.HookEnded{
			Service: d.Service, Instance: d.Instance, Hook: d.Hook, Operation: d.Operation, Error: err.Error(),
		})
	}
}

func (c *Core) hookPark(v *projector.Service, d policy.Duty) error {
	l, err := c.Launches.Launch(v.Name, v.Digest)
	if err != nil {
		return err
	}
	x, ok := l.Hooks[d.Hook]
	if !ok {
		return fmt.Errorf("cannot run %s: the applied configuration has none any more", d.Hook)
	}
	p := taskPark(wire.TaskHook, taskID(d.Operation), l, x, "SUPD_HOOK="+d.Hook, d.Instance, v.Run)
	p.Service, p.Deadline = v.Name, d.Deadline
	p.Capture, p.MergeStderr, p.Settings = v.Spec.CaptureOutput, v.Spec.MergeStderr, OutputSettings(v.Spec)
	return c.Keeper.Park(p)
}

// hookEnded is what a hook's slot tells; ok is false if no such hook is under
// way, and then the slot is an earlier one's that was recorded already.
func hookEnded(s *projector.State, slot keeper.Slot) (policy.HookEnded, bool) {
	v := s.Services[slot.Service]
	if v == nil || v.Hook == nil || taskID(v.Hook.Operation) != slot.Instance {
		return policy.HookEnded{}, false
	}
	in := policy.HookEnded{
		Service: v.Name, Instance: v.Hook.Instance, Hook: v.Hook.Name, Operation: v.Hook.Operation,
	}
	if slot.ParkedAt != 0 { // else it did not get as far as its gate
		in.Took = time.Duration(slot.ExitedAt - min(slot.ParkedAt, slot.ExitedAt))
	}
	r := taskResult(slot)
	in.Executed = slot.Exit.Known && slot.Execed
	in.Unknown = !slot.Exit.Known && r.Error == ""
	in.Code, in.Error = r.Code, r.Error
	if r.Signal != 0 {
		in.Signal = event.SignalName(r.Signal)
	}
	return in, true
}

// taskResult reads how a hook or a probe ended.
func taskResult(s keeper.Slot) (r probe.Result) {
	r.Tail = s.Tail
	if w := s.Exit.Status; s.Exit.Known {
		if w.Signaled() {
			r.Signal = int(w.Signal())
		} else {
			r.Code = w.ExitStatus()
		}
	}
	switch {
	case s.TimedOut:
		r.Error = "its time was up"
	case s.Failure.Step == wire.StepExec:
		r.Error = "cannot execute it: " + s.Failure.Errno.Error()
	case s.Failure.Step != 0:
		r.Error = fmt.Sprintf("cannot start it: %s: %s", s.Failure.Step, syscall.Errno(s.Failure.Errno))
	case s.State != wire.StateExited:
		r.Error = "it was ended before it began"
	}
	return r
}

// ran takes the end of a hook or a probe. The slot is released when what follows
// is kept: until then another engine would find it.
func (l *Loop) ran(s keeper.Slot) error {
	if s.Task == wire.TaskProbe {
		if p := l.core.Prober; p != nil {
			p.Ran(s.Instance, taskResult(s))
		}
	} else if in, ok := hookEnded(l.core.State(), s); ok {
		if err := l.core.Step(in); err != nil {
			return err
		}
	}
	if s.State == wire.StateDropped || s.State == wire.StateUnknown {
		return nil // its slot is gone
	}
	return l.Host.Forget(s.Instance)
}

// tasksOf takes the hooks out of a table: those that have ended, and what they
// tell. The others will tell it.
func tasksOf(s *projector.State, slots []keeper.Slot) (instances, ended []keeper.Slot, told []policy.HookEnded) {
	for _, slot := range slots {
		if slot.Task == wire.TaskNone {
			instances = append(instances, slot)
			continue
		}
		if !keeper.TaskOver(slot) {
			continue
		}
		ended = append(ended, slot)
		if in, ok := hookEnded(s, slot); ok {
			told = append(told, in)
		}
	}
	return instances, ended, told
}
