package executor

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"supd/executor/keeper"
	"supd/executor/keeper/wire"
	"supd/executor/policy"
	"supd/journal/event"
)

// keeperEvent has decided what follows from what the keeper tells.
func (l *Loop) keeperEvent(e keeper.Event) error {
	if err := l.told(e); err != nil {
		return err
	}
	return l.answer(e)
}

// told turns what the keeper tells into inputs.
func (l *Loop) told(e keeper.Event) error {
	switch e := e.(type) {
	case keeper.Table:
		return l.table(e)
	case keeper.LoggerStarted:
		return l.loggerStarted(e.Logger)
	case keeper.LoggerEvent:
		return l.loggerEvent(e)
	case keeper.HostSignal:
		return l.hostSignal(e, l.core.State().Supd.Stopping != nil)
	case keeper.Drained:
		if !l.later(e.Slot) {
			l.drained(e.Slot)
		}
		return nil
	case keeper.TreeEmpty:
		if l.later(e.Slot) { // nobody is left who could be followed
			return l.decideEnd(e.Slot.Instance)
		}
	case keeper.Ran:
		return l.ran(e.Slot)
	case keeper.Exited:
		return l.exited(e.Slot)
	}
	var err error
	switch x := e.(type) {
	case keeper.Followed:
		delete(l.ends, x.Slot.Instance) // it was not the end
	case keeper.ParkFailed:
		err = l.refused(x.Slot)
	case keeper.Parked:
		err = l.relieved()
	}
	if err != nil {
		return err
	}
	if in := l.input(e); in != nil {
		return l.core.Step(in)
	}
	return nil
}

// input translates the events that concern one instance; nil for those that
// need nothing.
func (l *Loop) input(e keeper.Event) policy.Input {
	switch e := e.(type) {
	case keeper.Parked:
		return policy.Parked{
			Service: e.Slot.Service, Instance: e.Slot.Instance, PID: e.Slot.PID, StartTime: e.Slot.StartTime,
			Cgroup: e.Slot.Cgroup,
		}
	case keeper.ParkFailed:
		return policy.ParkFailed(l.failure(e.Slot))
	case keeper.Dropped:
		return policy.ParkEnded{Service: e.Slot.Service, Instance: e.Slot.Instance}
	case keeper.Ready:
		return readyByFD(e.Slot)
	case keeper.Execed:
		return policy.Executed{Service: e.Slot.Service, Instance: e.Slot.Instance}
	case keeper.ExecFailed:
		return l.failure(e.Slot)
	case keeper.Exited:
		return exitOf(e.Slot)
	case keeper.Followed:
		return policy.Followed{
			Service: e.Slot.Service, Instance: e.Slot.Instance, PID: e.Slot.PID, StartTime: e.Slot.StartTime,
		}
	case keeper.Signaled:
		return signaledOf(e.Operation, l.serviceOf(e.Operation.Instance))
	case keeper.Swept:
		return sweptOf(e.Operation, l.serviceOf(e.Operation.Instance))
	case keeper.TreeEmpty:
		return policy.TreeEmpty{Service: e.Slot.Service, Instance: e.Slot.Instance}
	case keeper.UpgradeFailed:
		return policy.Upgraded{Command: e.ID, Error: e.Error}
	case keeper.Adopted:
		return adoptedOf(e.Slot)
	case keeper.Unknown:
		return policy.Forgotten{Service: l.serviceOf(e.Instance), Instance: e.Instance}
	}
	return nil
}

// serviceOf finds whose instance it is, or was last.
func (l *Loop) serviceOf(instance string) string {
	for name, v := range l.core.State().Services {
		if v.Instance != nil && v.Instance.ID == instance || v.Tree != nil && v.Tree.Instance == instance ||
			v.LastExit != nil && v.LastExit.Instance == instance {
			return name
		}
	}
	return ""
}

func (l *Loop) failure(s keeper.Slot) policy.ExecFailed {
	f := policy.ExecFailed{
		Service: s.Service, Instance: s.Instance, Step: s.Failure.Step.String(),
		Errno: int(s.Failure.Errno), Error: s.Failure.Errno.Error(),
	}
	v := l.core.State().Services[s.Service]
	if v == nil {
		return f
	}
	launch, err := l.core.Launches.Launch(v.Name, v.Digest)
	if err != nil {
		return f
	}
	switch {
	case s.Failure.Step == wire.StepExec && s.Failure.Index < len(launch.Paths):
		f.Path = launch.Paths[s.Failure.Index]
		if len(launch.Paths) > 1 && s.Failure.Errno == syscall.ENOENT {
			f.Path = launch.Args[0] // found nowhere in PATH
		}
		if launch.Program != "" {
			f.Path = launch.Program // what ${NAME} stands for may be a secret (P10)
		}
	case s.Failure.Step == wire.StepChdir:
		f.Path = launch.Directory
	}
	return f
}

func exitOf(s keeper.Slot) policy.Exited {
	x := policy.Exited{
		Service: s.Service, Instance: s.Instance, Unknown: !s.Exit.Known, Leftovers: s.Leftovers && !s.TreeEmpty,
		OOM: s.OOM, CPU: time.Duration(s.Exit.CPU), MaxRSS: int64(s.Exit.MaxRSS) << 10,
	}
	if x.Leftovers {
		x.Left, x.LeftNames = processes(s.Cgroup)
	}
	switch w := s.Exit.Status; {
	case !s.Exit.Known:
	case w.Signaled():
		x.Signal, x.Core = event.SignalName(int(w.Signal())), w.CoreDump()
	default:
		x.Code = w.ExitStatus()
	}
	return x
}

// processes counts a cgroup's members and names the first of them; its files,
// and those of /proc, are the kernel's memory, not a disk.
func processes(cgroup string) (count int, named []event.Process) {
	if cgroup == "" {
		return 0, nil
	}
	b, err := os.ReadFile(cgroup + "/cgroup.procs")
	if err != nil {
		return 0, nil
	}
	for line := range strings.Lines(string(b)) {
		count++
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil || len(named) == event.MaxLeft {
			continue
		}
		comm, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
		if err != nil {
			continue // it has ended meanwhile
		}
		named = append(named, event.Process{PID: pid, Comm: strings.ToValidUTF8(strings.TrimSuffix(string(comm), "\n"), "?")})
	}
	return count, named
}

func signaledOf(o wire.Operation, service string) policy.Signaled {
	s := policy.Signaled{
		Service: service, Instance: o.Instance, Operation: o.ID, Signal: event.SignalName(o.Signal),
		Scope: o.Scope.String(), Errno: int(o.Errno), Result: policy.ResultSent,
	}
	for _, p := range o.Processes {
		s.PIDs = append(s.PIDs, p.PID)
	}
	switch {
	case o.Errno == syscall.ESRCH:
		s.Result = policy.ResultGone
	case o.Errno != 0:
		s.Result = policy.ResultFailed
	}
	return s
}

func sweptOf(o wire.Operation, service string) policy.Swept {
	s := policy.Swept{
		Service: service, Instance: o.Instance, Operation: o.ID, Method: o.Method.String(), Survived: o.Survived,
		Took: time.Duration(o.Took),
	}
	if s.Survived == 0 && (o.Errno == syscall.EBUSY || o.Errno == syscall.EINVAL) {
		s.Survived = 1 // it was not swept, so nothing is proven (R4)
	}
	for _, p := range o.Left[:min(len(o.Left), event.MaxLeft)] {
		s.Left = append(s.Left, event.Process{PID: p.PID, Comm: strings.ToValidUTF8(p.Comm, "?")})
	}
	for _, p := range o.Processes {
		s.Killed = append(s.Killed, event.Process{PID: p.PID, Comm: strings.ToValidUTF8(p.Comm, "?")})
	}
	return s
}

func adoptedOf(s keeper.Slot) policy.Input {
	if s.Adoption != wire.AdoptionOK {
		lost := policy.Lost{Service: s.Service, Instance: s.Instance, Leftovers: s.Leftovers}
		if s.Exit.Known {
			exit := exitOf(s)
			lost.Exited = &exit
		}
		return lost
	}
	a := policy.Adopted{
		Service: s.Service, Instance: s.Instance, By: "keeper", Output: "attached", PID: s.PID, StartTime: s.StartTime,
	}
	if s.OutputLost {
		a.Output = "lost"
	}
	return a
}

// drained follows whether an ended instance's output is on disk (R7).
func (l *Loop) drained(s keeper.Slot) {
	pending := s.State == wire.StateExited &&
		(s.StdoutPiped && !s.StdoutDrained || s.StderrPiped && !s.StderrDrained)
	l.core.OutputPending(s.Service, s.Instance, pending)
}

func loggerData(g wire.Logger, version string) *event.LoggerStartedData {
	if g.PID == 0 {
		return nil
	}
	return &event.LoggerStartedData{PID: g.PID, Previous: previousOf(g.Death), Version: version}
}

func previousOf(d wire.Death) *event.Previous {
	if d.PID == 0 {
		return nil
	}
	p := &event.Previous{PID: d.PID}
	if d.Signal != 0 {
		p.Signal = event.SignalName(d.Signal)
	} else {
		p.Code = &d.Code
	}
	return p
}

func (l *Loop) loggerStarted(g wire.Logger) error {
	info := *l.info.Load()
	info.Logger = g
	l.info.Store(&info)
	if l.LoggerStarted != nil {
		l.LoggerStarted()
	}
	if d := loggerData(g, l.Engine.Version); d != nil {
		return l.core.Step(policy.LoggerStarted{Logger: *d})
	}
	return nil
}

func (l *Loop) loggerEvent(e keeper.LoggerEvent) error {
	if e.Dropped > 0 {
		l.Log.Warn("the logger reported more than could be kept", "dropped", e.Dropped)
	}
	note, err := l.LoggerEvent(e.Data)
	if err != nil {
		l.Log.Warn(fmt.Sprintf("cannot read a report of the logger: %v", err))
		return nil
	}
	return l.core.Step(note)
}

func asksForEnd(e keeper.HostSignal) bool {
	return slices.Contains([]syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT}, syscall.Signal(e.Signal))
}

// hostSignal follows a signal that the keeper was sent. A second TERM or INT
// forces the end. One that is told again because an engine died in between is
// not a second one.
func (l *Loop) hostSignal(e keeper.HostSignal, second bool) error {
	var done bool
	var err error
	if l.Forward != nil {
		done, err = l.Forward(l.core, e.Number, syscall.Signal(e.Signal))
	}
	switch {
	case done || err != nil:
	case asksForEnd(e):
		if err = l.tellNotes(true); err != nil {
			return err
		}
		err = l.core.Step(policy.Shutdown{Reason: event.ReasonSignal, Forced: second})
	case syscall.Signal(e.Signal) == syscall.SIGHUP:
		if l.Reload != nil {
			l.Reload(func() { _ = l.Host.HostSignalDone(e.Number) }) // fails if the keeper is gone, and then its signals are
			return nil
		}
	}
	if err != nil {
		return err
	}
	return l.Host.HostSignalDone(e.Number)
}
