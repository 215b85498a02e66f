package executor

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supd/executor/keeper"
	"supd/executor/keeper/wire"
	"supd/executor/probe"
	"supd/journal/event"
	"supd/projector"
)

// recorder is a prober that finds nothing out.
type recorder struct {
	targets map[string]*probe.Target
	ran     map[string]probe.Result
}

func (r *recorder) Watch(service string, t *probe.Target) { r.targets[service] = t }
func (r *recorder) Ran(id string, result probe.Result)    { r.ran[id] = result }
func has(list []string, want string) bool                 { return slices.Contains(list, want) }
func newRecorder() *recorder                              { return &recorder{map[string]*probe.Target{}, map[string]probe.Result{}} }

func hookSlot(p keeper.Park, change func(*keeper.Slot)) keeper.Ran {
	s := keeper.Slot{
		Service: p.Service, Instance: p.Instance, Task: p.Task, Owner: p.Owner, State: wire.StateExited, Execed: true,
		Exit: keeper.Exit{Known: true},
	}
	if change != nil {
		change(&s)
	}
	return keeper.Ran{Slot: s}
}

// watchedSpec needs all that an engine can find out.
func watchedSpec() event.Spec {
	four := 4
	memory, quota, pids := int64(1<<20), 1.5, int64(10)
	spec := rigSpec("web")
	spec.Ready = &event.Ready{FD: &four, Timeout: event.Duration(time.Minute)}
	spec.Health = &event.Health{
		Probe: event.Probe{Exec: []string{"check"}}, Interval: event.Duration(time.Second), Timeout: event.Duration(time.Second),
		Failures: 1, Successes: 1, Action: event.HealthRestart,
	}
	spec.Watchdog = event.Duration(5 * time.Second)
	spec.Hooks.PreStart = []string{"prepare"}
	spec.Cgroup = event.CgroupLimits{Memory: &memory, CPUQuota: &quota, PIDs: &pids}
	return spec
}

// TestWatched follows a service from its hook through its readiness to its health.
func TestWatched(t *testing.T) {
	seen := newRecorder()
	inLoop(t, func(_ *loopRig, c *LoopConfig) {
		c.Core.Prober, c.Core.NotifySocket = seen, "/run/supd/notify.sock"
		c.Ready = func(c *Core) error { return c.Step(configure(watchedSpec())) }
	}, func(t *testing.T, r *loopRig) {
		r.table(keeper.Table{})
		started := r.command(event.VerbStart, "web")
		r.pass(time.Second)
		h := r.host
		if len(h.parked) != 1 || len(h.tasks) != 1 || h.of("web").Execed {
			t.Fatalf("%d parked, %d tasks, before pre_start has ended\n%s", len(h.parked), len(h.tasks), r.journal)
		}
		park, hook := h.parked[0], h.tasks[0]
		if !slices.Equal(h.granted, []uint32{1000}) || park.Launch.ReadyFD != 4 ||
			!has(park.Launch.Env, "NOTIFY_SOCKET=/run/supd/notify.sock") || !has(park.Launch.Env, "WATCHDOG_USEC=5000000") ||
			park.Limits != (keeper.Limits{Memory: 1 << 20, CPU: 150000, PIDs: 10}) {
			t.Errorf("granted %v, parked %+v", h.granted, park)
		}
		if hook.Task != wire.TaskHook || hook.Owner != park.Instance || hook.Deadline == 0 ||
			hook.Launch.Paths[0] != "/bin/prepare" || hook.Launch.Dir != "/srv" || !hook.Launch.SetUser ||
			!has(hook.Launch.Env, "SUPD_HOOK=pre_start") || !has(hook.Launch.Env, "A=1") ||
			!has(hook.Launch.Env, "SUPD_TASK="+hook.Instance) || !has(hook.Launch.Env, "SUPD_INSTANCE="+park.Instance) ||
			strings.Contains(strings.Join(hook.Launch.Env, " "), "NOTIFY_SOCKET") {
			t.Errorf("hook %+v", hook)
		}
		r.tell(hookSlot(hook, nil))
		r.pass(time.Second)
		if !h.of("web").Execed || !has(h.forgotten, hook.Instance) {
			t.Fatalf("pre_start has ended, forgotten %v\n%s", h.forgotten, r.journal)
		}
		if w := seen.targets["web"]; w == nil || !w.Running || w.Ready || w.Launch == nil || w.PID != h.of("web").PID ||
			w.Watchdog != 5*time.Second {
			t.Errorf("watched %+v", w)
		}
		slot := *h.of("web")
		slot.Ready = true
		r.tell(keeper.Ready{Slot: slot}, keeper.Ready{Slot: slot})
		r.pass(time.Second)
		if ready := r.journal.of(event.InstanceReady); len(ready) != 1 || ready[0].Data.(event.InstanceReadyData).By != "fd" {
			t.Errorf("ready %+v", ready)
		}
		if w := seen.targets["web"]; w == nil || !w.Ready {
			t.Errorf("watched %+v", w)
		}
		if n := len(started.replies); n == 0 || started.replies[n-1].Outcome != event.Done {
			t.Errorf("answers %+v", started.replies)
		}
		r.tell(hookSlot(keeper.Park{Service: "web", Instance: "probe", Task: wire.TaskProbe}, func(s *keeper.Slot) {
			s.Exit.Status, s.Tail = 3<<8, []byte("no")
		}))
		if got := seen.ran["probe"]; got.Code != 3 || string(got.Tail) != "no" || !has(h.forgotten, "probe") {
			t.Errorf("ran %+v, forgotten %v", seen.ran, h.forgotten)
		}
		r.command(event.VerbStop, "web")
		r.pass(10 * time.Second)
		if w := seen.targets["web"]; w != nil {
			t.Errorf("stopped and watched: %+v", w)
		}
	})
}

// TestHookInTable: what a hook told while no engine lived is heard from the table.
func TestHookInTable(t *testing.T) {
	s := projector.New()
	s.Services["web"] = &projector.Service{Name: "web", Hook: &projector.Hook{
		Name: event.HookPreStop, Instance: "i", Operation: projector.HookOperation("i", event.HookPreStop),
	}}
	id := taskID(projector.HookOperation("i", event.HookPreStop))
	slots := []keeper.Slot{
		{Service: "web", Instance: "i", State: wire.StateOpen},
		{Service: "web", Instance: "old", Task: wire.TaskHook, State: wire.StateExited},
		{
			Service: "web", Instance: id, Task: wire.TaskHook, State: wire.StateExited, Execed: true, ParkedAt: 5, ExitedAt: 9,
			Exit: keeper.Exit{Known: true, Status: syscall.WaitStatus(unix.SIGKILL)}, TimedOut: true,
		},
	}
	instances, ended, told := tasksOf(s, slots)
	if len(instances) != 1 || len(ended) != 2 || len(told) != 1 {
		t.Fatalf("%d instances, %d ended, told %+v", len(instances), len(ended), told)
	}
	in := told[0]
	if in.Instance != "i" || in.Hook != event.HookPreStop || !in.Executed || in.Signal != "SIGKILL" || in.Took != 4 ||
		in.Error != "its time was up" || in.Unknown {
		t.Errorf("told %+v", in)
	}
	slots[2].ParkedAt = 0 // its stub could not set itself up
	if _, _, told = tasksOf(s, slots); len(told) != 1 || told[0].Took != 0 {
		t.Errorf("one that was never parked: told %+v", told)
	}
	slots[2].State = wire.StateOpen
	if _, ended, told = tasksOf(s, slots); len(ended) != 1 || len(told) != 0 {
		t.Errorf("one that still runs: %d ended, told %+v", len(ended), told)
	}
}

func TestTaskResult(t *testing.T) {
	for _, c := range []struct {
		name string
		slot keeper.Slot
		want string
	}{
		{"well", keeper.Slot{State: wire.StateExited, Exit: keeper.Exit{Known: true}}, ""},
		{"late", keeper.Slot{State: wire.StateDropped, TimedOut: true}, "its time was up"},
		{"missing", keeper.Slot{State: wire.StateExited, Failure: keeper.Failure{Step: wire.StepExec, Errno: unix.ENOENT}}, "cannot execute it: no such file or directory"},
		{"no fork", keeper.Slot{State: wire.StateParkFailed, Failure: keeper.Failure{Step: wire.StepFork, Errno: unix.EAGAIN}}, "cannot start it: fork: resource temporarily unavailable"},
		{"dropped", keeper.Slot{State: wire.StateDropped}, "it was ended before it began"},
	} {
		if got := taskResult(c.slot).Error; got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
