package keeper

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// evil writes scripts of services that do not want to die. Each puts a line into
// the file "started" when it is up, and then its main process waits.
func evil(t *testing.T, dir string) map[string]string {
	t.Helper()
	started := filepath.Join(dir, "started")
	runner := filepath.Join(dir, "runner")
	must(t, os.WriteFile(runner, []byte("#!/bin/sh\ntrap '' TERM INT HUP\nsleep 0.005\n[ -e "+started+" ] || : > "+started+"\n"+runner+" &\nexit 0\n"), 0o755))
	stay := "trap '' TERM INT HUP; : > " + started + "; while :; do sleep 1000; done"
	return map[string]string{
		"ignores TERM":     "(" + stay + ") & exec sleep 1000",
		"daemons":          fmt.Sprintf("for n in 1 2 3 4; do (setsid sh -c \"%s\" &) ; done; exec sleep 1000", stay),
		"fork runner":      "trap '' TERM; " + runner + " & exec sleep 1000",
		"two fork runners": "trap '' TERM; " + runner + " & " + runner + " & exec sleep 1000",
	}
}

func TestSweep(t *testing.T) {
	roots(t, func(t *testing.T, s *stage) {
		for name, script := range evil(t, s.dir) {
			t.Run(name, func(t *testing.T) {
				os.Remove(filepath.Join(s.dir, "started"))
				i, slot := s.run(script)
				waitFile(t, filepath.Join(s.dir, "started"))
				must(t, s.client.Sweep(i, "early", ""))
				if r := await[Swept](s, i).Operation; r.Errno != unix.EBUSY {
					t.Fatalf("swept a live instance: %+v", r)
				}
				must(t, s.client.Signal(i, "end", unix.SIGKILL, wire.ScopeMain))
				e := await[Exited](s, i).Slot
				if !e.Leftovers {
					t.Error("the leftovers were not seen")
				}
				must(t, s.client.Sweep(i, "sweep", ""))
				r := await[Swept](s, i).Operation
				if r.Survived != 0 || r.Count == 0 || r.Method == wire.MethodNone {
					t.Errorf("%+v", r)
				}
				snap := takeSnapshot()
				if left := snap.tree(rootOf(slot), snap.tags(), newChildren()); len(left) != 0 {
					t.Errorf("%d processes are left", len(left))
				}
				if slot.Cgroup != "" && !isGone(slot.Cgroup) {
					t.Error("the cgroup is left")
				}
				must(t, s.client.Sweep(i, "sweep", "")) // stored
				if again := await[Swept](s, i).Operation; again.Took != r.Took {
					t.Error("swept again under the same operation")
				}
				must(t, s.client.Forget(i))
			})
		}
	})
}

// TestKillLadder ends the same trees with each rung of the ladder alone, as if the
// kernel lacked those above it.
func TestKillLadder(t *testing.T) {
	s := newStage(t, "")
	if s.table.Info.Cgroup == "" {
		t.Skip("NOT RUN: needs cgroup2")
	}
	all := s.table.Info.Features
	for _, rung := range []struct {
		name     string
		features uint32
		method   wire.Method
		cgroup   bool
	}{
		{"cgroup.kill", all, wire.MethodCgroupKill, true},
		{"freeze", all &^ wire.FeatureCgroupKill, wire.MethodFreezeKill, true},
		{"one by one", all &^ wire.FeatureCgroupKill &^ wire.FeatureCgroupFreeze, wire.MethodCgroupEach, true},
		{"search", all, wire.MethodScan, false},
	} {
		for name, script := range evil(t, s.dir) {
			t.Run(rung.name+"/"+name, func(t *testing.T) {
				if all&rung.features != rung.features {
					t.Skip("NOT RUN: needs " + rung.name)
				}
				os.Remove(filepath.Join(s.dir, "started"))
				i, slot := s.run(script)
				waitFile(t, filepath.Join(s.dir, "started"))
				// As the keeper has it: no search is as fast as who forks for ever, and
				// the kernel ends the group by the pidfd of the dead leader.
				main, err := unix.PidfdOpen(slot.PID, 0)
				must(t, err)
				t.Cleanup(func() { _ = unix.Close(main) })
				must(t, s.client.Signal(i, "end", unix.SIGKILL, wire.ScopeMain))
				await[Exited](s, i)
				g := cgroup{slot.Cgroup, rung.features}
				if !rung.cgroup {
					g.path = ""
				}
				method, rep, survived := sweep(g, rootOf(slot), main, newChildren())
				if method != rung.method || survived != 0 || rep.errno != 0 {
					t.Errorf("%s, %+v, %d survived", method, rep, survived)
				}
				if left := (cgroup{path: slot.Cgroup}).pids(); len(left) != 0 {
					t.Errorf("%v are left", left)
				}
				must(t, s.client.Forget(i))
			})
		}
	}
}

// TestBeyond finds a group's member that belongs to another user.
func TestBeyond(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: needs root")
	}
	group := exec.Command("/bin/sleep", "60")
	group.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(t, group.Start())
	t.Cleanup(func() { _ = group.Process.Kill(); _ = group.Wait() })
	other := exec.Command("/bin/sleep", "60")
	other.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: group.Process.Pid}
	must(t, other.Start())
	t.Cleanup(func() { _ = other.Process.Kill(); _ = other.Wait() })
	if found := beyond(group.Process.Pid); len(found) != 0 {
		t.Errorf("root may signal all, and found %v", found)
	}
	done := make(chan []wire.Process)
	go func() { // a thread of its own, which ends with what it is
		runtime.LockOSThread()
		_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 12345, 12345, 0)
		if errno != 0 {
			t.Error(errno)
		}
		done <- beyond(group.Process.Pid)
	}()
	if found := <-done; len(found) != 2 || found[0].Comm != "sleep" {
		t.Errorf("found %v", found)
	}
}

func rootOf(s Slot) root { return root{instance: s.Instance, leader: leader{s.PID, s.StartTime}} }

func TestSweepUnknown(t *testing.T) {
	s := newStage(t, "")
	if s.table.Info.Cgroup == "" {
		t.Skip("NOT RUN: needs a writable cgroup2 file system: " + s.table.Info.CgroupReason)
	}
	i, slot := s.run("setsid sleep 1000 & exec sleep 1000")
	s.killKeeper()
	s.startKeeper()
	if len(s.table.Slots) != 0 {
		t.Fatal("a new keeper knows slots")
	}
	kill(t, slot.PID)
	must(t, s.client.Sweep(i, "foreign", filepath.Dir(slot.Cgroup)))
	if r := await[Swept](s, i).Operation; r.Errno != unix.EINVAL {
		t.Errorf("swept what is no instance's: %+v", r)
	}
	must(t, s.client.Sweep(i, "own", slot.Cgroup))
	if r := await[Swept](s, i).Operation; r.Survived != 0 || !isGone(slot.Cgroup) {
		t.Errorf("%+v", r)
	}
}

func TestSignal(t *testing.T) {
	roots(t, func(t *testing.T, s *stage) {
		out := filepath.Join(s.dir, "out")
		script := "trap 'echo main >> " + out + "' USR1; (trap 'echo child >> " + out + "' USR1; : > " + out + ".1; while :; do sleep 0.01; done) & " +
			"setsid sh -c 'trap \"echo daemon >> " + out + "\" USR1; : > " + out + ".2; while :; do sleep 0.01; done' & while :; do sleep 0.01; done"
		i, slot := s.run(script)
		waitFile(t, out+".1")
		waitFile(t, out+".2")
		for _, c := range []struct {
			scope wire.Scope
			lines string
		}{
			{wire.ScopeMain, "main"},
			{wire.ScopeGroup, "child main"},
			{wire.ScopeTree, "child daemon main"},
		} {
			must(t, os.WriteFile(out, nil, 0o644))
			op := "op-" + c.scope.String()
			for range 3 {
				must(t, s.client.Signal(i, op, unix.SIGUSR1, c.scope))
			}
			first := await[Signaled](s, i).Operation
			if first.Errno != 0 || first.Count == 0 {
				t.Errorf("%s: %+v", c.scope, first)
			}
			lines := func() string {
				b, _ := os.ReadFile(out)
				f := strings.Fields(string(b))
				for n := range f { // sorted insertion: the order is chance
					for m := n; m > 0 && f[m] < f[m-1]; m-- {
						f[m], f[m-1] = f[m-1], f[m]
					}
				}
				return strings.Join(f, " ")
			}
			waitFor(t, "lines "+c.lines, func() bool { return lines() == c.lines })
		}
		// A barrier for all signals of main: what was sent twice would show by now.
		must(t, s.client.Signal(i, "kill", unix.SIGKILL, wire.ScopeMain))
		e := await[Exited](s, i).Slot
		if !e.Leftovers {
			t.Error("no leftovers")
		}
		must(t, s.client.Signal(i, "late", unix.SIGTERM, wire.ScopeMain))
		if r := await[Signaled](s, i).Operation; r.ID == "late" && r.Errno != unix.ESRCH {
			t.Errorf("a dead process was signalled: %+v", r)
		}
		must(t, s.client.Signal(i, "tree", unix.SIGKILL, wire.ScopeTree))
		await[TreeEmpty](s, i)
		must(t, s.client.Signal("nobody", "x", unix.SIGTERM, wire.ScopeTree))
		if r := await[Signaled](s, "nobody").Operation; r.Errno != unix.ESRCH {
			t.Errorf("%+v", r)
		}
		_ = slot
	})
}

// TestLeftoversLeave checks that leftovers are told to be gone however they go.
func TestLeftoversLeave(t *testing.T) {
	roots(t, func(t *testing.T, s *stage) {
		go1 := filepath.Join(s.dir, "go")
		i, _ := s.run("setsid sh -c 'while ! [ -e " + go1 + " ]; do sleep 0.01; done' & exit 0")
		if e := await[Exited](s, i).Slot; !e.Leftovers || e.TreeEmpty {
			t.Errorf("%+v", e)
		}
		// The engine has recorded the exit. What is left is still known: it can be
		// signalled, and its end is told. Then the slot is gone.
		must(t, s.client.Forget(i))
		must(t, s.client.Signal(i, "tree", unix.SIGCONT, wire.ScopeTree))
		if r := await[Signaled](s, i).Operation; r.Errno != 0 || r.Count == 0 {
			t.Errorf("%+v", r)
		}
		must(t, os.WriteFile(go1, nil, 0o644))
		await[TreeEmpty](s, i)
		must(t, s.client.Open(i))
		await[Unknown](s, i)
	})
}

func TestParseStat(t *testing.T) {
	st, err := parseStat([]byte("12 (a) b (c) S 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 77 22"))
	if err != nil || st != (stat{pid: 12, comm: "a) b (c", ppid: 3, group: 4, session: 5, start: 77}) {
		t.Errorf("%+v, %v", st, err)
	}
	for _, bad := range []string{"", "12", "12 (a", "12 (a) S 1", ") (", "x (a) S 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 77"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestParseCgroupSelf(t *testing.T) {
	for _, c := range []struct{ mounts, self, mount, own string }{
		{"30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/user.slice/a\n", "/sys/fs/cgroup", "user.slice/a"},
		{"29 1 0:25 / /sys/fs/cgroup rw - tmpfs t rw\n30 29 0:26 / /sys/fs/cgroup/unified rw shared:1 - cgroup2 c rw\n", "3:cpu:/x\n0::/\n", "/sys/fs/cgroup/unified", "."},
		{"30 1 0:26 /box /cg\\040roup rw - cgroup2 c rw\n", "0::/box/in\n", "/cg roup", "in"},
		{"30 1 0:26 /box /cg rw - cgroup2 c rw\n", "0::/elsewhere\n", "/cg", "."},
	} {
		mount, own, err := parseCgroupSelf(c.mounts, c.self)
		if err != nil || mount != c.mount || own != c.own {
			t.Errorf("%q: %q, %q, %v", c.mounts, mount, own, err)
		}
	}
	if _, _, err := parseCgroupSelf("30 1 0:26 / / rw - ext4 a rw\n", "0::/\n"); err == nil {
		t.Error("a machine without cgroup2 has one")
	}
}
