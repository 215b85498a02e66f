package executor

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"supd/executor/keeper"
	"supd/executor/keeper/wire"
	"supd/executor/policy"
	"supd/journal/event"
)

// operation is one on the instance that runs, whose id is the test's.
func operation(instance string, change func(*keeper.Operation)) keeper.Operation {
	o := keeper.Operation{Instance: instance, ID: "op", Signal: 15, Scope: wire.ScopeTree, Done: true}
	change(&o)
	return o
}

// TestInputOfEachEvent is what the core is told for each event of the keeper.
func TestInputOfEachEvent(t *testing.T) {
	inLoop(t, nil, func(t *testing.T, r *loopRig) {
		r.table(keeper.Table{})
		r.command(event.VerbStart, "web")
		synctest.Wait()
		web := *r.host.of("web")
		id := web.Instance
		slot := func(change func(*keeper.Slot)) keeper.Slot { s := web; change(&s); return s }
		failed := func(step wire.Step, errno syscall.Errno, index int) keeper.Slot {
			return slot(func(s *keeper.Slot) {
				s.Failure.Step, s.Failure.Errno = step, errno
				s.Failure.Index = index
			})
		}
		fail := func(step, path string, errno syscall.Errno) policy.ExecFailed {
			return policy.ExecFailed{Service: "web", Instance: id, Step: step, Path: path, Errno: int(errno), Error: errno.Error()}
		}
		tests := []struct {
			name string
			in   keeper.Event
			want policy.Input
		}{
			{"parked", keeper.Parked{Slot: slot(func(s *keeper.Slot) { s.Cgroup = "/c" })}, policy.Parked{Service: "web", Instance: id, PID: web.PID, StartTime: 5, Cgroup: "/c"}},
			{"park failed", keeper.ParkFailed{Slot: failed(wire.StepFork, syscall.EAGAIN, 0)}, policy.ParkFailed(fail("fork", "", syscall.EAGAIN))},
			{"no directory", keeper.ParkFailed{Slot: failed(wire.StepChdir, syscall.ENOENT, 0)}, policy.ParkFailed(fail("chdir", "/srv", syscall.ENOENT))},
			{"dropped", keeper.Dropped{Slot: web}, policy.ParkEnded{Service: "web", Instance: id}},
			{"ready", keeper.Ready{Slot: web}, policy.Ready{Service: "web", Instance: id, By: "fd"}},
			{"execed", keeper.Execed{Slot: web}, policy.Executed{Service: "web", Instance: id}},
			{"nowhere in PATH", keeper.ExecFailed{Slot: failed(wire.StepExec, syscall.ENOENT, 1)}, fail("exec", "web", syscall.ENOENT)},
			{"not executable", keeper.ExecFailed{Slot: failed(wire.StepExec, syscall.EACCES, 1)}, fail("exec", "/bin/web", syscall.EACCES)},
			{"no such candidate", keeper.ExecFailed{Slot: failed(wire.StepExec, syscall.EACCES, 9)}, fail("exec", "", syscall.EACCES)},
			{"exited", keeper.Exited{Slot: slot(func(s *keeper.Slot) { s.Exit = keeper.Exit{Known: true, Status: 3 << 8} })}, policy.Exited{Service: "web", Instance: id, Code: 3}},
			{"followed", keeper.Followed{Slot: web}, policy.Followed{Service: "web", Instance: id, PID: web.PID, StartTime: 5}},
			{"signaled", keeper.Signaled{Operation: operation(id, func(*keeper.Operation) {})}, policy.Signaled{
				Service: "web", Instance: id, Operation: "op", Signal: "SIGTERM", Scope: "tree", Result: policy.ResultSent,
			}},
			{"signaled, of nobody", keeper.Signaled{Operation: operation("x", func(*keeper.Operation) {})}, policy.Signaled{
				Instance: "x", Operation: "op", Signal: "SIGTERM", Scope: "tree", Result: policy.ResultSent,
			}},
			{"swept", keeper.Swept{Operation: operation(id, func(o *keeper.Operation) { o.Method = wire.MethodCgroupKill })}, policy.Swept{
				Service: "web", Instance: id, Operation: "op", Method: "cgroup.kill",
			}},
			{"tree empty", keeper.TreeEmpty{Slot: web}, policy.TreeEmpty{Service: "web", Instance: id}},
			{"adopted", keeper.Adopted{Slot: slot(func(s *keeper.Slot) { s.Adoption = wire.AdoptionOK })}, policy.Adopted{
				Service: "web", Instance: id, By: "keeper", Output: "attached", PID: web.PID, StartTime: 5,
			}},
			{"adopted, output lost", keeper.Adopted{Slot: slot(func(s *keeper.Slot) { s.Adoption, s.OutputLost = wire.AdoptionOK, true })}, policy.Adopted{
				Service: "web", Instance: id, By: "keeper", Output: "lost", PID: web.PID, StartTime: 5,
			}},
			{"adoption finds nobody", keeper.Adopted{Slot: slot(func(s *keeper.Slot) { s.Adoption, s.Leftovers = wire.AdoptionGone, true })}, policy.Lost{
				Service: "web", Instance: id, Leftovers: true,
			}},
			{"adoption finds another", keeper.Adopted{Slot: slot(func(s *keeper.Slot) { s.Adoption = wire.AdoptionReused })}, policy.Lost{Service: "web", Instance: id}},
			{"unknown", keeper.Unknown{Instance: id}, policy.Forgotten{Service: "web", Instance: id}},
			{"unchanged", keeper.Unchanged{Slot: web}, nil},
			{"upgrade failed", keeper.UpgradeFailed{UpgradeFailed: wire.UpgradeFailed{ID: "c", Error: "no"}}, policy.Upgraded{Command: "c", Error: "no"}},
		}
		seen := "Table LoggerStarted LoggerEvent HostSignal Drained Ran" // keeperEvent's own; see loop_test.go and watch_test.go
		for _, tt := range tests {
			if diff := cmp.Diff(tt.want, r.loop.input(tt.in)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.name, diff)
			}
			seen += fmt.Sprintf(" %T", tt.in)
		}
		src, err := os.ReadFile("keeper/event.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`func \((\w+)\) +event\(\)`).FindAllStringSubmatch(string(src), -1) {
			if !strings.Contains(seen, m[1]) {
				t.Errorf("event %s has no row", m[1])
			}
		}
	})
}

func TestExitOf(t *testing.T) {
	dir := t.TempDir()
	self := event.Process{PID: os.Getpid()}
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	self.Comm = strings.TrimSpace(string(comm))
	// The other two have ended meanwhile: no pid is as high.
	procs := fmt.Sprintf("2147483646\n%d\n2147483647\n", self.PID)
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(procs), 0o600); err != nil {
		t.Fatal(err)
	}
	known := func(status syscall.WaitStatus) keeper.Exit { return keeper.Exit{Known: true, Status: status} }
	tests := map[string]struct {
		in   keeper.Slot
		want policy.Exited
	}{
		"success":                     {keeper.Slot{Exit: known(0)}, policy.Exited{}},
		"code":                        {keeper.Slot{Exit: known(255 << 8)}, policy.Exited{Code: 255}},
		"signal":                      {keeper.Slot{Exit: known(9)}, policy.Exited{Signal: "SIGKILL"}},
		"core":                        {keeper.Slot{Exit: known(11 | 0x80)}, policy.Exited{Signal: "SIGSEGV", Core: true}},
		"unknown":                     {keeper.Slot{Exit: keeper.Exit{Status: 9}}, policy.Exited{Unknown: true}},
		"usage":                       {keeper.Slot{Exit: keeper.Exit{Known: true, CPU: 5e9, MaxRSS: 3}}, policy.Exited{CPU: 5 * time.Second, MaxRSS: 3072}},
		"leftovers":                   {keeper.Slot{Exit: known(0), Leftovers: true, Cgroup: dir}, policy.Exited{Leftovers: true, Left: 3, LeftNames: []event.Process{self}}},
		"leftovers without cgroup":    {keeper.Slot{Exit: known(0), Leftovers: true}, policy.Exited{Leftovers: true}},
		"leftovers of a gone cgroup":  {keeper.Slot{Exit: known(0), Leftovers: true, Cgroup: dir + "/none"}, policy.Exited{Leftovers: true}},
		"leftovers that have emptied": {keeper.Slot{Exit: known(0), Leftovers: true, TreeEmpty: true, Cgroup: dir}, policy.Exited{}},
	}
	for name, tt := range tests {
		if diff := cmp.Diff(tt.want, exitOf(tt.in)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestResultOfSignal(t *testing.T) {
	for errno, want := range map[syscall.Errno]string{
		0: policy.ResultSent, syscall.ESRCH: policy.ResultGone, syscall.EPERM: policy.ResultFailed, syscall.EIO: policy.ResultFailed,
	} {
		got := signaledOf(operation("i", func(o *keeper.Operation) {
			o.Errno, o.Processes = errno, []wire.Process{{PID: 7}, {PID: 8}}
		}), "web")
		if got.Result != want || got.Errno != int(errno) || !cmp.Equal(got.PIDs, []int{7, 8}) {
			t.Errorf("errno %d: %+v", errno, got)
		}
	}
}

// A sweep that was refused proves nothing, whatever it counted (R4).
func TestSurvivorsOfSweep(t *testing.T) {
	tests := []struct {
		errno          syscall.Errno
		survived, want int
	}{
		{0, 0, 0},
		{0, 3, 3},
		{syscall.ESRCH, 0, 0},
		{syscall.EBUSY, 0, 1},
		{syscall.EINVAL, 0, 1},
		{syscall.EBUSY, 2, 2},
	}
	for _, tt := range tests {
		got := sweptOf(operation("i", func(o *keeper.Operation) {
			o.Sweep, o.Errno, o.Survived, o.Took = true, tt.errno, tt.survived, 5
			o.Processes = []wire.Process{{PID: 7, Comm: "a\xffb"}}
		}), "web")
		want := policy.Swept{
			Service: "web", Instance: "i", Operation: "op", Method: "none", Survived: tt.want, Took: 5,
			Killed: []event.Process{{PID: 7, Comm: "a?b"}},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", tt, diff)
		}
	}
}

func TestFoundOfEachState(t *testing.T) {
	inLoop(t, nil, func(t *testing.T, r *loopRig) {
		r.table(keeper.Table{})
		tests := map[wire.State]policy.Found{
			wire.StateParking:    {GateClosed: true},
			wire.StateParked:     {GateClosed: true},
			wire.StateOpening:    {},
			wire.StateOpen:       {Executed: true},
			wire.StateExecFailed: {ExecFailed: &policy.ExecFailed{}},
			wire.StateExited:     {Exited: &policy.Exited{}, Executed: true},
			wire.StateParkFailed: {Exited: &policy.Exited{}, ExecFailed: &policy.ExecFailed{}},
			wire.StateDropped:    {Exited: &policy.Exited{}},
			wire.StateGone:       {Exited: &policy.Exited{}},
		}
		for state := wire.StateParking; state < wire.StateUnknown; state++ {
			want, ok := tests[state]
			if !ok {
				t.Errorf("state %v has no row", state)
			}
			s := keeper.Slot{Service: "web", Instance: "i", State: state, Execed: want.Executed, TreeEmpty: true}
			if want.ExecFailed != nil {
				s.Failure.Step = wire.StepExec
			}
			got := r.loop.found(s)
			if got.GateClosed != want.GateClosed || got.Executed != want.Executed || !got.TreeEmpty || got.Adopted != nil ||
				(got.Exited != nil) != (want.Exited != nil) || (got.ExecFailed != nil) != (want.ExecFailed != nil) {
				t.Errorf("%v: %+v, want %+v", state, got, want)
			}
		}
		adopted := r.loop.found(keeper.Slot{Service: "web", Instance: "i", State: wire.StateOpen, Adoption: wire.AdoptionOK, PID: 7})
		if adopted.Adopted == nil || adopted.Adopted.PID != 7 {
			t.Errorf("an adopted slot is found as %+v", adopted)
		}
		for _, a := range []wire.Adoption{wire.AdoptionGone, wire.AdoptionReused} {
			if got := r.loop.found(keeper.Slot{State: wire.StateGone, Adoption: a}); got.Adopted != nil || got.Exited == nil || !got.Exited.Unknown {
				t.Errorf("adoption %v: %+v", a, got)
			}
		}
	})
}

func TestStartMode(t *testing.T) {
	tests := []struct {
		info                     keeper.Info
		first, stopped, sameBoot bool
		want                     string
	}{
		{info: keeper.Info{EngineStarts: 1}, first: true, want: event.ModeFirst},
		{info: keeper.Info{EngineStarts: 6, Safe: true}, sameBoot: true, want: event.ModeSafe},
		{info: keeper.Info{EngineStarts: 2}, sameBoot: true, want: event.ModeCrash},
		{info: keeper.Info{EngineStarts: 1}, stopped: true, sameBoot: true, want: event.ModeRestart},
		{info: keeper.Info{EngineStarts: 1}, stopped: true, want: event.ModeRestart},
		{info: keeper.Info{EngineStarts: 1}, want: event.ModeReboot},
		{info: keeper.Info{EngineStarts: 1}, sameBoot: true, want: event.ModeAllLost},
	}
	for _, tt := range tests {
		if got := startMode(tt.info, tt.first, tt.stopped, tt.sameBoot); got != tt.want {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}

// A successor hears in the table what came of the signals that its predecessor
// asked for, and does not send them again (R4).
func TestTableTellsOfSignals(t *testing.T) {
	inLoop(t, nil, func(t *testing.T, r *loopRig) {
		r.host.unkillable = true
		var table keeper.Table
		r.runningBefore(&table, nil)
		core := NewCore(Config{State: r.state, Journal: r.journal, Clock: &bubbleClock{start: time.Now(), serial: 1 << 21}, Source: "supd/test/0"})
		if err := core.Step(policy.Shutdown{Reason: event.ReasonSignal}); err != nil {
			t.Fatal(err)
		}
		id := table.Slots[0].Instance
		stop := operation(id, func(o *keeper.Operation) { o.ID = id + ":stop:SIGTERM" })
		table.Operations = []keeper.Operation{
			stop,
			operation(id, func(o *keeper.Operation) { o.ID, o.Done = "under way", false }),
			operation(id, func(o *keeper.Operation) { o.ID, o.Sweep = "sweep", true }),
		}
		r.table(table)
		if got := r.loop.results(table.Operations); len(got) != 1 || got[0].Operation != stop.ID {
			t.Errorf("results %+v", got)
		}
		if got := r.journal.of(event.InstanceSignaled); len(got) != 1 {
			t.Errorf("recorded %d times\n%s", len(got), r.journal)
		}
		if len(r.host.sent) != 0 {
			t.Errorf("R4: sent again: %v", r.host.sent)
		}
		if r.loop.Mode() != event.ModeCrash {
			t.Errorf("mode %s", r.loop.Mode())
		}
	})
}

// An ended slot of the table whose output is not on disk counts (R7).
func TestTableTellsOfOutput(t *testing.T) {
	inLoop(t, nil, func(t *testing.T, r *loopRig) {
		r.host.unkillable = true // the last one is in no record, and would be ended
		r.table(keeper.Table{Slots: []keeper.Slot{
			{Service: "web", Instance: "a", State: wire.StateExited, StdoutPiped: true},
			{Service: "web", Instance: "b", State: wire.StateExited, StderrPiped: true, StdoutPiped: true, StdoutDrained: true},
			{Service: "web", Instance: "c", State: wire.StateExited, StdoutPiped: true, StdoutDrained: true},
			{Service: "web", Instance: "d", State: wire.StateOpen, StdoutPiped: true},
		}})
		if got := r.loop.core.output.dead("web"); got != 2 {
			t.Errorf("%d undrained, want 2", got)
		}
	})
}
