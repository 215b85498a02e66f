package keeper

import "supd/executor/keeper/wire"

// The vocabulary shared with package wire, so that the engine needs one import.
type (
	// Slot is all the keeper knows about one instance.
	Slot = wire.Slot
	// Operation is a signal or a sweep and its result.
	Operation = wire.Operation
	// Info is how the keeper introduces itself.
	Info = wire.Info
	// Failure says why an instance could not be started.
	Failure = wire.Failure
	// Exit is how a main process ended.
	Exit = wire.Exit
	// Death is how an engine or logger ended.
	Death = wire.Death
	// Scope says which processes a signal reaches.
	Scope = wire.Scope
	// Task is a hook or a probe, or none of them.
	Task = wire.Task
	// Follow names another main process of an instance.
	Follow = wire.Follow
	// Stream is stdout or stderr.
	Stream = wire.Stream
)

// Event is what the engine learns from the keeper: one of the structs below, by
// value. Events of one instance come in the order given in the package comment.
type Event interface{ event() }

// Table is always the first event and comes once: all the keeper holds.
type Table struct {
	Info        Info
	Slots       []Slot      // by instance
	Operations  []Operation // those still remembered, by instance, then oldest first
	HostSignals []HostSignal
}

// Parked tells that the instance's stub waits at its gate.
type Parked struct{ Slot Slot }

// ParkFailed tells that there is no stub: Slot.Failure says why. Nothing of the
// user's ran and no Exited follows.
type ParkFailed struct{ Slot Slot }

// Execed tells that the program was exec'd.
type Execed struct{ Slot Slot }

// ExecFailed tells that the gate was opened and the program could not be exec'd;
// Exited follows.
type ExecFailed struct{ Slot Slot }

// Followed tells that another process is the instance's main one from now on
// (Follow): an Exited that came before it was not the instance's end.
type Followed struct{ Slot Slot }

// Exited tells that the main process is dead, by proof. Without an Execed before
// it, the stub died first and nothing of the user's ran.
type Exited struct{ Slot Slot }

// Ready tells that the instance wrote a newline on its descriptor for it.
type Ready struct{ Slot Slot }

// Ran tells that a hook or a probe has ended, and nothing of it is left, or that
// it could not be started: Slot.Failure, TimedOut and Exit say how. Forget
// releases it.
type Ran struct{ Slot Slot }

// Dropped tells that a parked stub is gone without exec; its slot is too.
type Dropped struct{ Slot Slot }

// Signaled answers Signal, also a repeated one (with the stored result). Errno
// is ESRCH if there was nothing to signal or the instance is not known.
type Signaled struct{ Operation Operation }

// Swept answers Sweep when it has ended. Survived above zero means the tree still lives.
type Swept struct{ Operation Operation }

// TreeEmpty tells that the leftovers of a dead instance are gone.
type TreeEmpty struct{ Slot Slot }

// Adopted answers Adopt: Slot.Adoption, Slot.OutputLost, and if the process is
// gone Slot.Leftovers. A slot that is gone or reused is forgotten already.
type Adopted struct{ Slot Slot }

// Drained tells that the logger has all output of a stream.
type Drained struct {
	Slot   Slot
	Stream Stream
}

// Unchanged answers a verb that changed nothing, such as a second Open, with the
// state as it is.
type Unchanged struct{ Slot Slot }

// Unknown answers a verb about an instance the keeper has no slot for.
type Unknown struct{ Instance string }

// LoggerStarted tells that the logger died and another one was started, or that
// it died (PID 0) and the next one waits for its backoff.
type LoggerStarted struct{ wire.Logger }

// LoggerEvent is opaque data from the logger.
type LoggerEvent struct{ wire.LoggerEvent }

// HostSignal tells that the keeper was sent a signal. Answer HostSignalDone, or
// the next engine is told again.
type HostSignal struct{ wire.HostSignal }

// UpgradeFailed answers Upgrade: everything goes on as before.
type UpgradeFailed struct{ wire.UpgradeFailed }

func (UpgradeFailed) event() {}
func (Table) event()         {}
func (Parked) event()        {}
func (ParkFailed) event()    {}
func (Execed) event()        {}
func (ExecFailed) event()    {}
func (Exited) event()        {}
func (Followed) event()      {}
func (Dropped) event()       {}
func (Ready) event()         {}
func (Ran) event()           {}
func (Signaled) event()      {}
func (Swept) event()         {}
func (TreeEmpty) event()     {}
func (Adopted) event()       {}
func (Drained) event()       {}
func (Unchanged) event()     {}
func (Unknown) event()       {}
func (LoggerStarted) event() {}
func (LoggerEvent) event()   {}
func (HostSignal) event()    {}

// changes lists what happened to an instance between two of its slots; old is
// the zero Slot if it was not known. A slot sent without a change is an answer.
func changes(old, now Slot) []Event {
	if now.State == wire.StateUnknown {
		return []Event{Unknown{now.Instance}}
	}
	if now.Task != wire.TaskNone {
		return taskChanges(old, now)
	}
	var out []Event
	add := func(happened bool, e Event) {
		if happened {
			out = append(out, e)
		}
	}
	add(now.Adoption != 0 && old.Adoption == 0, Adopted{now})
	add(now.State == wire.StateParkFailed && old.State != now.State, ParkFailed{now})
	add(now.State == wire.StateDropped && old.State != now.State, Dropped{now})
	add(now.ParkedAt != 0 && old.ParkedAt == 0, Parked{now})
	add(now.Execed && !old.Execed && now.Adoption == 0, Execed{now})
	add(now.Failure.Step == wire.StepExec && old.Failure.Step == 0, ExecFailed{now})
	add(now.Ready && !old.Ready, Ready{now})
	other := old.PID != 0 && (now.PID != old.PID || now.StartTime != old.StartTime)
	add(other, Followed{now})
	add(now.State == wire.StateExited && (old.State != now.State || other), Exited{now})
	add(now.TreeEmpty && !old.TreeEmpty, TreeEmpty{now})
	add(now.StdoutDrained && !old.StdoutDrained, Drained{now, wire.Stdout})
	add(now.StderrDrained && !old.StderrDrained, Drained{now, wire.Stderr})
	if len(out) == 0 && now.State != wire.StateParking && old.State == now.State {
		out = append(out, Unchanged{now})
	}
	return out
}

// taskChanges are those of a task: nothing but its end is of interest.
func taskChanges(old, now Slot) []Event {
	if over := TaskOver(now); over && !TaskOver(old) {
		return []Event{Ran{now}}
	}
	return nil
}

// TaskOver tells that a hook or a probe has ended, or could not be started.
func TaskOver(s Slot) bool {
	switch s.State {
	case wire.StateExited, wire.StateParkFailed, wire.StateDropped, wire.StateUnknown:
		return true
	}
	return false
}
