package executor

import (
	"fmt"
	"strings"

	"supd/executor/keeper"
	"supd/executor/keeper/wire"
	"supd/executor/policy"
	"supd/journal/event"
)

// table is the first event: who this engine serves and what is there.
func (l *Loop) table(t keeper.Table) error {
	info := t.Info
	l.info.Store(&info)
	s := l.core.State()
	engine := l.Engine
	engine.Mode = startMode(info, s.Seq() == 0, s.Supd.Stopped, s.Supd.Boot == l.core.Clock.Now().Boot)
	l.mode.Store(engine.Mode)
	started := policy.Started{
		Heard: l.Heard, Engine: engine,
		Keeper: event.KeeperStartedData{PID: info.PID, StartTime: info.StartTime, Version: info.Version},
		Logger: loggerData(info.Logger, engine.Version), Upgrade: info.Upgrade,
	}
	if err := l.core.Step(started); err != nil {
		return err
	}
	if err := l.strangers(t); err != nil {
		return err
	}
	var found []policy.Found
	slots, ended, hooks := tasksOf(s, t.Slots)
	var undecided []keeper.Slot
	for _, slot := range slots {
		f := l.found(slot)
		if l.undecided(slot, &f) {
			undecided = append(undecided, slot)
		} else {
			l.drained(slot)
		}
		found = append(found, f)
	}
	l.core.holdDuties()
	if err := l.core.Step(policy.Settle{Found: found, Signaled: l.results(t.Operations), Hooks: hooks}); err != nil {
		return err
	}
	if err := l.settled(slots, ended); err != nil {
		return err
	}
	for _, slot := range undecided {
		if err := l.exited(slot); err != nil {
			return err
		}
	}
	ends := 0 // signals that ask for the end
	for _, hs := range t.HostSignals {
		if err := l.hostSignal(hs, ends > 0); err != nil {
			return err
		}
		if asksForEnd(hs) {
			ends++
		}
	}
	if l.Ready != nil {
		if err := l.Ready(l.core); err != nil {
			return err
		}
	}
	return l.core.goOn()
}

// strangers ends who lives without a record, where records are missing.
func (l *Loop) strangers(t keeper.Table) error {
	if l.Strangers == nil {
		return nil
	}
	known := map[string]bool{}
	for _, v := range l.core.State().Services {
		if v.Instance != nil {
			known[v.Instance.ID] = true
		}
		if v.Tree != nil {
			known[v.Tree.Instance] = true
		}
		if v.LastExit != nil {
			known[v.LastExit.Instance] = true // what it left may stay (stop.mode main)
		}
	}
	for _, s := range t.Slots {
		if s.State == wire.StateParking || s.State == wire.StateParked {
			known[s.Instance] = true // it never was an instance: row 8
		}
	}
	ended, err := l.Strangers(t.Info.Cgroup, func(instance string) bool { return known[instance] })
	for _, s := range ended {
		names := make([]string, 0, len(s.Processes))
		for _, p := range s.Processes {
			names = append(names, fmt.Sprintf("%d (%s)", p.PID, strings.ToValidUTF8(p.Comm, "?")))
		}
		in := policy.Ended{Service: s.Service, Instance: s.Instance, Found: foundUnknown + strings.Join(names, ", ")}
		if err := l.core.Step(in); err != nil {
			return err
		}
	}
	return err
}

const foundUnknown = "no record knows it, and records are missing; processes "

// settled tells what slots hold beside their state, and releases what was heard.
func (l *Loop) settled(slots, ended []keeper.Slot) error {
	for _, slot := range slots {
		if slot.Ready && slot.State == wire.StateOpen {
			if err := l.core.Step(readyByFD(slot)); err != nil {
				return err
			}
		}
	}
	for _, slot := range ended {
		if err := l.Host.Forget(slot.Instance); err != nil {
			return err
		}
	}
	return nil
}

func startMode(info keeper.Info, first, stopped, sameBoot bool) string {
	switch {
	case info.Safe:
		return event.ModeSafe
	case first:
		return event.ModeFirst
	case info.Came == wire.CameUpgraded:
		return event.ModeUpgrade
	case info.Came == wire.CameInherited:
		return event.ModeKeeperLost
	case info.EngineStarts > 1:
		return event.ModeCrash
	case stopped:
		return event.ModeRestart
	case !sameBoot:
		return event.ModeReboot
	}
	return event.ModeAllLost
}

// results are the signals whose results came when no engine was there to hear
// them. Sweeps are found again as duties, and answered then.
func (l *Loop) results(operations []keeper.Operation) []policy.Signaled {
	var results []policy.Signaled
	for _, o := range operations {
		if o.Done && !o.Sweep {
			results = append(results, signaledOf(o, l.serviceOf(o.Instance)))
		}
	}
	return results
}

func (l *Loop) found(s keeper.Slot) policy.Found {
	f := policy.Found{
		Service: s.Service, Instance: s.Instance, PID: s.PID, StartTime: s.StartTime, Executed: s.Execed, TreeEmpty: s.TreeEmpty,
	}
	if a, ok := adoptedOf(s).(policy.Adopted); ok {
		f.Adopted = &a
	}
	switch s.State {
	case wire.StateParking, wire.StateParked:
		f.GateClosed = true
	case wire.StateExecFailed:
		failed := l.failure(s)
		f.ExecFailed = &failed
	case wire.StateExited, wire.StateParkFailed, wire.StateDropped, wire.StateGone:
		if s.Failure.Step != 0 {
			failed := l.failure(s)
			f.ExecFailed = &failed
		}
		exit := exitOf(s)
		f.Exited = &exit
	}
	return f
}
