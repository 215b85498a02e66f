package executor

import (
	"math"
	"slices"
	"strconv"
	"time"

	"supd/executor/keeper"
	"supd/executor/keeper/wire"
	"supd/executor/policy"
	"supd/executor/probe"
	"supd/journal/event"
	"supd/projector"
)

// watch tells the prober what the state demands to be found out about a service.
// Like a duty it is derived anew whenever the state has moved, so an engine that
// starts finds it again.
func (c *Core) watch(name string) {
	if c.Prober != nil {
		c.Prober.Watch(name, c.target(c.Config.State.Services[name]))
	}
}

// target is nil where there is nothing to find out.
func (c *Core) target(v *projector.Service) *probe.Target {
	if v == nil || v.Instance == nil || v.Instance.Boot != c.now.Boot || c.adopting[v.Instance.ID] {
		return nil
	}
	i, spec := v.Instance, &v.Spec
	if spec.Ready == nil && spec.Health == nil && spec.Watchdog == 0 {
		return nil
	}
	t := &probe.Target{
		Service: v.Name, Instance: i.ID, PID: i.PID, StartTime: i.StartTime, Cgroup: i.Cgroup, Run: i.Run,
		Started: i.Started.Wall, Running: i.Running != nil, Stopping: i.Stop != nil,
		Ready: !i.Awaits || i.Ready != nil, ReadyBy: spec.Ready, Health: spec.Health, State: i.Health,
		Watchdog: time.Duration(spec.Watchdog),
	}
	if spec.Ready != nil && len(spec.Ready.Exec) > 0 || spec.Health != nil && len(spec.Health.Exec) > 0 {
		// Without it the probe fails and says why.
		if l, err := c.Launches.Launch(v.Name, v.Digest); err == nil {
			t.Launch = &l
		}
	}
	return t
}

// ProbePark is what the keeper is asked for to run a probe's command; now is
// CLOCK_BOOTTIME in nanoseconds. The keeper ends it if the engine does not.
func ProbePark(r probe.Run, now int64) keeper.Park {
	p := taskPark(wire.TaskProbe, r.ID, *r.Target.Launch, *r.Launch, "SUPD_PROBE=1", r.Target.Instance, r.Target.Run)
	p.Service, p.Deadline = r.Target.Service, now+int64(r.Deadline)
	return p
}

// taskPark is a command that runs beside an instance: as it is its user, in its
// directory, with its environment and limits, but neither in its cgroup nor with
// a say on its readiness.
func taskPark(kind keeper.Task, id string, l event.Launch, x event.LaunchExec, mark, instance string, run event.Run) keeper.Park {
	launch := launchOf(l, append(slices.Clone(l.Env), mark, "SUPD_INSTANCE="+instance,
		"SUPD_RUN="+strconv.FormatUint(uint64(run), 10), keeper.TaskVariable+id))
	launch.Paths, launch.Args = x.Paths, x.Args
	return keeper.Park{Instance: id, Cgroup: true, Launch: launch, Task: kind, Owner: instance}
}

// cgroupLimits are a specification's in the kernel's units.
func cgroupLimits(l event.CgroupLimits) (out keeper.Limits) {
	if l.Memory != nil {
		out.Memory = uint64(max(0, *l.Memory))
	}
	if l.CPUQuota != nil {
		out.CPU = max(minQuota, uint64(math.Round(*l.CPUQuota*keeper.CPUPeriod)))
	}
	if l.PIDs != nil {
		out.PIDs = uint64(max(0, *l.PIDs))
	}
	return out
}

// minQuota is the smallest that the kernel takes, in microseconds.
const minQuota = 1000

// notifies tells whether a service's processes are told of the notify socket.
func notifies(s *event.Spec) bool { return s.Watchdog > 0 || s.Ready != nil && s.Ready.Notify }

// spoken are the variables by which a service learns how to speak for itself.
// WATCHDOG_PID is left out: it has to name a process that does not exist yet, and
// without it the watchdog is everybody's in the service.
func (c *Core) spoken(s *event.Spec) (env []string) {
	if c.NotifySocket != "" && notifies(s) {
		env = append(env, "NOTIFY_SOCKET="+c.NotifySocket)
	}
	if s.Watchdog > 0 {
		env = append(env, "WATCHDOG_USEC="+strconv.FormatInt(time.Duration(s.Watchdog).Microseconds(), 10))
	}
	return env
}

// readyByFD tells of an instance that wrote its newline.
func readyByFD(s keeper.Slot) policy.Ready {
	return policy.Ready{Service: s.Service, Instance: s.Instance, By: "fd"}
}
