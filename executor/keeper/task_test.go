package keeper

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// task parks a hook or a probe that runs a shell script for an owner.
func (s *stage) task(kind Task, owner, script string, limit time.Duration) string {
	s.t.Helper()
	i := s.instance()
	l := shell(owner, script)
	l.Env = append(l.Env, taskMark+i)
	must(s.t, s.client.Park(Park{
		Service: "svc", Instance: i, Cgroup: s.root != "none", Capture: true, Launch: l,
		Task: kind, Owner: owner, Deadline: int64(bootTime()) + int64(limit),
	}))
	return i
}

func TestTasks(t *testing.T) {
	roots(t, func(t *testing.T, s *stage) {
		owner, main := s.run("exec sleep 60")
		ran := func(i string) Slot { t.Helper(); return await[Ran](s, i).Slot }

		if r := ran(s.task(wire.TaskProbe, owner, "echo well; exit 7", time.Minute)); r.Exit.Status.ExitStatus() != 7 ||
			string(r.Tail) != "well\n" || r.TimedOut || r.Owner != owner {
			t.Errorf("probe: %+v", r)
		}
		if r := ran(s.task(wire.TaskProbe, owner, "yes | head -c 1000000; echo the end", time.Minute)); r.Exit.Status != 0 ||
			len(r.Tail) != wire.MaxTail || !strings.HasSuffix(string(r.Tail), "y\nthe end\n") {
			t.Errorf("a probe that writes much: %+v", r)
		}
		i := s.instance()
		must(t, s.client.Park(Park{Service: "svc", Instance: i, Launch: program(i, "/nowhere"), Task: wire.TaskProbe, Owner: owner}))
		if r := ran(i); r.Failure.Step != wire.StepExec || r.Failure.Errno != unix.ENOENT {
			t.Errorf("a program that is not there: %+v", r)
		}

		// At its deadline all of it ends, also what has left its session.
		file := filepath.Join(s.dir, "pids")
		script := fmt.Sprintf("trap '' TERM; setsid sh -c 'echo $$ >> %s; sleep 61' & echo $$ >> %s; sleep 61", file, file)
		for limit, begun := 300*time.Millisecond, 0; begun < 2; limit *= 2 { // until there is time for both to begin
			_ = os.Remove(file)
			if r := ran(s.task(wire.TaskHook, owner, script, limit)); !r.TimedOut || r.Exit.Status.Signal() != unix.SIGKILL {
				t.Fatalf("a hook whose time was up: %+v", r)
			}
			b, _ := os.ReadFile(file)
			begun = len(strings.Fields(string(b)))
		}
		noneLives(t, file)

		// What a hook leaves behind ends with it, and the instance is not touched.
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		script = fmt.Sprintf("setsid sh -c 'echo $$ >> %s; sleep 62' & while [ ! -s %s ]; do sleep 0.01; done", file, file)
		if r := ran(s.task(wire.TaskHook, owner, script, time.Minute)); r.TimedOut || r.Exit.Status != 0 {
			t.Errorf("a hook that leaves something: %+v", r)
		}
		noneLives(t, file)
		if syscall.Kill(main.PID, 0) != nil {
			t.Error("the instance ended")
		}

		// A probe that nobody wants any more is not told; it ends with its instance too.
		dropped := s.task(wire.TaskProbe, owner, "sleep 63", time.Minute)
		must(t, s.client.Drop(dropped))
		last := s.task(wire.TaskProbe, owner, "sleep 64", time.Minute)
		must(t, s.client.Signal(owner, "k", unix.SIGKILL, wire.ScopeTree))
		await[Exited](s, owner)
		told, ok := lookFor[Ran](s, last)
		r := told.Slot
		if !ok {
			r = ran(last)
		}
		if r.Exit.Status.Signal() != unix.SIGKILL && r.State != wire.StateDropped {
			t.Errorf("a probe whose instance ended: %+v", r)
		}
		for _, e := range s.log {
			if x, ok := e.(Ran); ok && x.Slot.Instance == dropped {
				t.Errorf("told of a task that was dropped: %+v", x.Slot)
			}
		}
		if exited, ok := lookFor[Exited](s, owner); !ok || exited.Slot.Leftovers {
			t.Error("a probe counted as a leftover of its instance")
		}
	})
}

func lookFor[E Event](s *stage, instance string) (E, bool) {
	for _, e := range s.log {
		if x, ok := e.(E); ok && about(e) == instance {
			return x, true
		}
	}
	var none E
	return none, false
}

// noneLives waits until the processes whose pids are in a file are dead. Their
// end may be told before the last of them is reaped.
func noneLives(t *testing.T, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil || len(b) == 0 {
		t.Fatalf("no pids: %v", err)
	}
	for _, pid := range strings.Fields(string(b)) {
		waitFor(t, "end of "+pid, func() bool {
			st, err := os.ReadFile("/proc/" + pid + "/stat")
			return err != nil || strings.Contains(string(st), ") Z ")
		})
	}
}

// TestHookOutlivesEngine: the result of a hook waits for the next engine; probes
// end with theirs.
func TestHookOutlivesEngine(t *testing.T) {
	s := newStage(t, "")
	owner, _ := s.run("sleep 60")
	file := filepath.Join(s.dir, "go")
	hook := s.task(wire.TaskHook, owner, fmt.Sprintf("while [ ! -e %s ]; do sleep 0.01; done; exit 5", file), time.Minute)
	pids := filepath.Join(s.dir, "pids")
	probe := s.task(wire.TaskProbe, owner, fmt.Sprintf("echo $$ > %s.new; mv %s.new %s; sleep 65", pids, pids, pids), time.Minute)
	waitFile(t, pids)
	kill(t, s.enginePID)
	s.meetEngine()
	noneLives(t, pids)
	found := slices.IndexFunc(s.table.Slots, func(x Slot) bool { return x.Instance == hook })
	if found < 0 || TaskOver(s.table.Slots[found]) || s.table.Slots[found].Owner != owner {
		t.Fatalf("the hook is not in the table: %+v", s.table.Slots)
	}
	if slices.ContainsFunc(s.table.Slots, func(x Slot) bool { return x.Instance == probe }) {
		t.Error("a probe of the dead engine is told to the next one")
	}
	must(t, os.WriteFile(file, nil, 0o600))
	if r := await[Ran](s, hook).Slot; r.Exit.Status.ExitStatus() != 5 {
		t.Errorf("%+v", r)
	}
	kill(t, s.enginePID)
	s.meetEngine()
	found = slices.IndexFunc(s.table.Slots, func(x Slot) bool { return x.Instance == hook })
	if found < 0 || !TaskOver(s.table.Slots[found]) {
		t.Fatalf("the result does not wait for the next engine: %+v", s.table.Slots)
	}
}

// TestHookOutput: what a hook writes is handed to the logger as stderr.
func TestHookOutput(t *testing.T) {
	s := newStage(t, "")
	owner, _ := s.run("sleep 60")
	hook := s.task(wire.TaskHook, owner, "echo to stdout; echo to stderr >&2", time.Minute)
	for {
		m, fd, err := s.logger.Recv()
		must(t, err)
		a, ok := m.(*wire.Attach)
		if !ok || a.Instance != hook {
			if fd >= 0 {
				unix.Close(fd)
			}
			continue
		}
		if a.Stream != wire.Stderr || a.Service != "svc" {
			t.Errorf("%+v", a)
		}
		await[Ran](s, hook)
		var b [64]byte
		n, err := unix.Read(fd, b[:])
		if err != nil || string(b[:n]) != "to stdout\nto stderr\n" {
			t.Errorf("%q, %v", b[:max(n, 0)], err)
		}
		unix.Close(fd)
		must(t, s.logger.Drained(hook, wire.Stderr))
		return
	}
}

// TestReadyFD: the descriptor is where the program wants it, whatever the stub
// has there itself, and the newline is heard once.
func TestReadyFD(t *testing.T) {
	s := newStage(t, "")
	for _, fd := range []int{3, 4, 5, 6, 7, 16, 200} {
		i := s.park(func(i string) Launch {
			l := program(i, "/bin/bash", "-c", fmt.Sprintf("sleep 0.05; echo almost >&%d; echo >&%d; exec sleep 60", fd, fd))
			l.ReadyFD = fd
			return l
		})
		await[Parked](s, i)
		must(t, s.client.Open(i))
		slot := await[Ready](s, i).Slot
		if !slot.Ready {
			t.Errorf("descriptor %d: %+v", fd, slot)
		}
		waitFor(t, "the program", func() bool {
			b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", slot.PID))
			return string(b) == "sleep\n"
		})
		want := []string{"0", "1", "2", fmt.Sprint(fd)}
		slices.Sort(want)
		// Its loader opens libraries, on the first number that is free, and closes them.
		waitFor(t, fmt.Sprintf("the program to have no other descriptor than %v", want), func() bool {
			links, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", slot.PID))
			var have []string
			for _, l := range links {
				have = append(have, l.Name())
			}
			slices.Sort(have)
			return slices.Equal(have, want)
		})
	}
	i := s.park(func(i string) Launch {
		l := shell(i, "exit 0")
		l.ReadyFD, l.Limits = 200, []Limit{{unix.RLIMIT_NOFILE, 100, 100}}
		return l
	})
	if f := await[ParkFailed](s, i).Slot.Failure; f.Step != wire.StepLaunch {
		t.Errorf("a descriptor beyond the limit: %+v", f)
	}
}

// TestGrant: only the owner and the users of services may write to the notify
// socket.
func TestGrant(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: needs root")
	}
	s := newStage(t, "none")
	must(t, os.Chmod(s.dir, 0o711))
	path := NotifyPath(filepath.Join(s.dir, "supd.sock"))
	writes := func(uid uint32) bool {
		c := exec.Command("/usr/bin/test", "-w", path)
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		return c.Run() == nil
	}
	if writes(12345) {
		t.Fatal("anybody may write at first")
	}
	must(t, s.client.Grant(12346))
	must(t, s.client.Grant(12345))
	must(t, s.client.Forget("none"))
	await[Unknown](s, "none")
	if !writes(12345) || !writes(12346) {
		t.Errorf("a user of a service may not write\n%s", s.words())
	}
	if writes(12347) {
		t.Error("another user may write")
	}
}

// TestLimitsRefused: without its controller an instance with a limit is not
// started, since a limit that does not hold is worse than none.
func TestLimitsRefused(t *testing.T) {
	roots(t, func(t *testing.T, s *stage) {
		if s.table.Info.Features&wire.FeatureMemory != 0 {
			t.Skip("NOT RUN: needs a machine without the memory controller in cgroup2")
		}
		i := s.instance()
		must(t, s.client.Park(Park{
			Service: "svc", Instance: i, Cgroup: s.root != "none", Launch: shell(i, "exit 0"), Limits: Limits{Memory: 1 << 20},
		}))
		if f := await[ParkFailed](s, i).Slot.Failure; f.Step != wire.StepCgroup || f.Errno != unix.EOPNOTSUPP {
			t.Errorf("%+v", f)
		}
	})
}

// TestLimitFiles writes limits into plain files: what the kernel makes of them is
// seen only where there are controllers.
func TestLimitFiles(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, "supd-1")
	must(t, os.Mkdir(folder, 0o700))
	for _, d := range []string{dir, folder} {
		for _, f := range []string{"cgroup.controllers", "cgroup.subtree_control", "memory.max", "cpu.max", "memory.events"} {
			must(t, os.WriteFile(filepath.Join(d, f), nil, 0o600))
		}
	}
	must(t, os.WriteFile(filepath.Join(dir, "cgroup.controllers"), []byte("cpuset cpu io memory\n"), 0o600))
	if c, err := Controllers(dir); err != nil || !slices.Equal(c, []string{"cpu", "memory"}) {
		t.Errorf("%v, %v", c, err)
	}
	enableControllers(folder)
	if b, _ := os.ReadFile(filepath.Join(folder, "cgroup.subtree_control")); !strings.Contains(string(b), "+") {
		t.Errorf("nothing was passed on: %q", b)
	}
	must(t, os.WriteFile(filepath.Join(folder, "cgroup.subtree_control"), []byte("cpu memory\n"), 0o600))
	if f := enableControllers(folder); f&wire.FeaturePIDs != 0 {
		t.Errorf("features %b", f)
	}
	g := cgroup{path: folder}
	must(t, g.limit(Limits{Memory: 4096, CPU: 150000}))
	for file, want := range map[string]string{"memory.max": "4096", "cpu.max": "150000 100000"} {
		if b, _ := os.ReadFile(filepath.Join(folder, file)); string(b) != want {
			t.Errorf("%s: %q", file, b)
		}
	}
	if err := g.limit(Limits{PIDs: 1}); err != unix.EOPNOTSUPP {
		t.Errorf("without the controller: %v", err)
	}
	if g.oom() {
		t.Error("out of memory at first")
	}
	must(t, os.WriteFile(filepath.Join(folder, "memory.events"), []byte("low 0\noom 3\noom_kill 1\n"), 0o600))
	if !g.oom() {
		t.Error("not out of memory")
	}
	if _, err := Controllers(filepath.Join(dir, "none")); err == nil {
		t.Error("controllers of nothing")
	}
}
