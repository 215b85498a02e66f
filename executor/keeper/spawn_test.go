package keeper

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// roots are the ways to run the tests that concern trees: with cgroups, if this
// machine has them, and without.
func roots(t *testing.T, f func(t *testing.T, s *stage)) {
	t.Run("cgroup", func(t *testing.T) {
		s := newStage(t, "")
		if s.table.Info.Cgroup == "" {
			t.Skip("NOT RUN: needs a writable cgroup2 file system: " + s.table.Info.CgroupReason)
		}
		f(t, s)
	})
	t.Run("none", func(t *testing.T) { f(t, newStage(t, "none")) })
}

func TestExit(t *testing.T) {
	roots(t, func(t *testing.T, s *stage) {
		for _, c := range []struct {
			script string
			want   func(syscall.WaitStatus) bool
		}{
			{"exit 0", func(w syscall.WaitStatus) bool { return w.Exited() && w.ExitStatus() == 0 }},
			{"exit 42", func(w syscall.WaitStatus) bool { return w.Exited() && w.ExitStatus() == 42 }},
			{"kill -TERM $$", func(w syscall.WaitStatus) bool { return w.Signaled() && w.Signal() == unix.SIGTERM }},
			{"kill -KILL $$", func(w syscall.WaitStatus) bool { return w.Signaled() && w.Signal() == unix.SIGKILL }},
		} {
			i, _ := s.run(c.script)
			e := await[Exited](s, i)
			if !e.Slot.Exit.Known || !c.want(e.Slot.Exit.Status) || !e.Slot.Execed || e.Slot.Leftovers {
				t.Errorf("%q: %+v", c.script, e.Slot)
			}
			if e.Slot.ExitedAt < e.Slot.OpenedAt || e.Slot.OpenedAt < e.Slot.ParkedAt || e.Slot.ParkedAt == 0 {
				t.Errorf("%q: times %d %d %d", c.script, e.Slot.ParkedAt, e.Slot.OpenedAt, e.Slot.ExitedAt)
			}
			must(t, s.client.Forget(i))
			must(t, s.client.Forget(i))
			if u := await[Unknown](s, i); u.Instance != i {
				t.Error("a forgotten slot is known")
			}
		}
	})
}

func TestCoreDump(t *testing.T) {
	s := newStage(t, "none")
	i := s.park(func(i string) Launch {
		l := shell(i, "kill -SEGV $$")
		l.Limits = []Limit{{unix.RLIMIT_CORE, 1 << 20, 1 << 20}}
		l.Dir = s.dir
		return l
	})
	await[Parked](s, i)
	must(t, s.client.Open(i))
	e := await[Exited](s, i)
	if w := e.Slot.Exit.Status; !w.Signaled() || w.Signal() != unix.SIGSEGV {
		t.Fatalf("status %#x", w)
	}
	if pattern, _ := os.ReadFile("/proc/sys/kernel/core_pattern"); !strings.HasPrefix(string(pattern), "|") && !e.Slot.Exit.Status.CoreDump() {
		t.Error("the dump is not told")
	}
}

func TestFailures(t *testing.T) {
	s := newStage(t, "")
	plain := filepath.Join(s.dir, "plain")
	must(t, os.WriteFile(plain, []byte("no program"), 0o644))
	garbage := filepath.Join(s.dir, "garbage")
	must(t, os.WriteFile(garbage, []byte("no program"), 0o755))
	for _, c := range []struct {
		name   string
		change func(*Launch)
		step   wire.Step
		errno  syscall.Errno
		index  int
		root   bool
	}{
		{name: "missing", change: func(l *Launch) { l.Paths = []string{"/nowhere/a", "/nowhere/b"} }, step: wire.StepExec, errno: unix.ENOENT, index: 1},
		{name: "forbidden", change: func(l *Launch) { l.Paths = []string{"/nowhere/a", plain, "/nowhere/b"} }, step: wire.StepExec, errno: unix.EACCES, index: 1},
		{name: "garbage", change: func(l *Launch) { l.Paths = []string{garbage, "/bin/true"} }, step: wire.StepExec, errno: unix.ENOEXEC},
		{name: "directory", change: func(l *Launch) { l.Dir = "/nowhere" }, step: wire.StepChdir, errno: unix.ENOENT},
		{name: "limit", change: func(l *Launch) { l.Limits = []Limit{{unix.RLIMIT_CORE, 1, 1}, {63, 1, 1}} }, step: wire.StepLimits, errno: unix.EINVAL, index: 1},
		{name: "user's directory", root: true, change: func(l *Launch) {
			l.SetUser, l.UID, l.GID, l.Dir = true, 54321, 54321, s.dir
		}, step: wire.StepChdir, errno: unix.EACCES},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.root && os.Geteuid() != 0 {
				t.Skip("NOT RUN: needs root")
			}
			i := s.park(func(i string) Launch { l := shell(i, "exit 0"); c.change(&l); return l })
			var got Slot
			if c.step == wire.StepExec {
				await[Parked](s, i)
				must(t, s.client.Open(i))
				got = await[ExecFailed](s, i).Slot
				e := await[Exited](s, i).Slot
				if e.Execed || e.Exit.Status.ExitStatus() != 127 {
					t.Errorf("exit %+v", e)
				}
			} else {
				got = await[ParkFailed](s, i).Slot
			}
			if got.Failure.Step != c.step || got.Failure.Errno != c.errno || got.Failure.Index != c.index {
				t.Errorf("failure %+v", got.Failure)
			}
			must(t, s.client.Forget(i))
		})
	}
}

// TestUserFailsWithoutPrivilege runs a keeper that is not root, where setuid must fail.
func TestUserFailsWithoutPrivilege(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("NOT RUN: needs not to be root")
	}
	s := newStage(t, "none")
	i := s.park(func(i string) Launch { l := shell(i, "exit 0"); l.SetUser = true; return l })
	if f := await[ParkFailed](s, i).Slot.Failure; f.Step != wire.StepUser || f.Errno != unix.EPERM {
		t.Errorf("failure %+v", f)
	}
}

// TestSetup looks at the process from inside.
func TestSetup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: needs root")
	}
	s := newStage(t, "")
	must(t, os.Chmod(s.dir, 0o777))
	out := filepath.Join(s.dir, "out")
	i := s.park(func(i string) Launch {
		l := shell(i, `ls /proc/$$/fd > fds & wait; exec > out; sort -n fds; id -u; id -g; id -G; umask; pwd; ulimit -n; nice; cat /proc/self/oom_score_adj
			grep -E '^Sig(Ign|Blk)' /proc/self/status; ps -o sid= -p $$ | tr -d ' '; echo $$`)
		l.SetUser, l.UID, l.GID, l.Groups = true, 54321, 54322, []uint32{54323, 54324}
		l.Umask, l.Dir, l.Nice, l.OOMScoreAdj = 0o27, s.dir, 5, 321
		l.Limits = []Limit{{unix.RLIMIT_NOFILE, 77, 88}}
		return l
	})
	await[Parked](s, i)
	must(t, s.client.Open(i))
	e := await[Exited](s, i)
	b, err := os.ReadFile(out)
	must(t, err)
	pid := fmt.Sprint(e.Slot.PID)
	want := strings.Join([]string{
		"0", "1", "2", "54321", "54322", "54322 54323 54324", "0027", s.dir, "77", "5", "321",
		"SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000", pid, pid,
	}, "\n") + "\n"
	if string(b) != want {
		t.Errorf("got\n%s\nwant\n%s", b, want)
	}
}

func TestGate(t *testing.T) {
	s := newStage(t, "")
	made := func(i string) string { return filepath.Join(s.dir, i) }
	touch := func(i string) Launch { return shell(i, "echo $$ >> "+made(i)) }

	t.Run("twice is once", func(t *testing.T) {
		i := s.park(touch)
		await[Parked](s, i)
		for range 3 {
			must(t, s.client.Open(i))
		}
		await[Exited](s, i)
		if b, _ := os.ReadFile(made(i)); strings.Count(string(b), "\n") != 1 {
			t.Errorf("ran as %q", b)
		}
		must(t, s.client.Open(i))
		if u := await[Unchanged](s, i); u.Slot.State != wire.StateExited {
			t.Errorf("state %s", u.Slot.State)
		}
	})
	t.Run("park again", func(t *testing.T) {
		i := s.park(touch)
		p := await[Parked](s, i)
		must(t, s.client.Park(Park{Service: "svc", Instance: i, Launch: touch(i)}))
		if u := await[Unchanged](s, i); u.Slot.PID != p.Slot.PID {
			t.Error("forked twice")
		}
		must(t, s.client.Drop(i))
		await[Dropped](s, i)
	})
	t.Run("dropped", func(t *testing.T) {
		i := s.park(touch)
		must(t, s.client.Drop(i)) // perhaps before it is parked
		await[Dropped](s, i)
		must(t, s.client.Open(i))
		await[Unknown](s, i)
		if _, err := os.Stat(made(i)); err == nil {
			t.Error("a dropped stub ran the program")
		}
	})
	t.Run("stub killed", func(t *testing.T) {
		i := s.park(touch)
		p := await[Parked](s, i)
		kill(t, p.Slot.PID)
		if e := await[Exited](s, i); e.Slot.Execed || e.Slot.Exit.Status.Signal() != unix.SIGKILL {
			t.Errorf("%+v", e.Slot)
		}
		must(t, s.client.Open(i))
		await[Unchanged](s, i)
		if _, err := os.Stat(made(i)); err == nil {
			t.Error("a dead stub ran the program")
		}
	})
	t.Run("keeper killed", func(t *testing.T) {
		i := s.park(touch)
		p := await[Parked](s, i)
		fd, err := unix.PidfdOpen(p.Slot.PID, 0)
		must(t, err)
		defer unix.Close(fd)
		s.killKeeper()
		waitFor(t, "end of the stub", func() bool { return pidfdExited(fd) })
		if _, err := os.Stat(made(i)); err == nil {
			t.Error("the program ran without the keeper")
		}
	})
}

func TestThousand(t *testing.T) {
	s := newStage(t, "")
	keeperFDs := func() int {
		d, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.keeper.Process.Pid))
		must(t, err)
		return len(d)
	}
	first, _ := s.run("exit 0")
	await[Exited](s, first)
	must(t, s.client.Forget(first))
	must(t, s.client.Forget(first))
	await[Unknown](s, first)
	before := keeperFDs()
	const n = 1000
	order := map[string]string{}
	ids := make([]string, n)
	for i := range ids {
		ids[i] = s.park(func(i string) Launch { return program(i, "/bin/true") })
	}
	for ended := 0; ended < n; {
		switch e := s.next().(type) {
		case Parked:
			order[e.Slot.Instance] += "P"
			must(t, s.client.Open(e.Slot.Instance))
		case Execed:
			order[e.Slot.Instance] += "X"
		case Exited:
			order[e.Slot.Instance] += "E"
			ended++
			must(t, s.client.Forget(e.Slot.Instance))
		case ParkFailed:
			t.Fatalf("%+v", e.Slot)
		}
	}
	for _, i := range ids {
		if order[i] != "PXE" {
			t.Errorf("%s: events %q", i, order[i])
		}
	}
	snap, templates := takeSnapshot(), 0
	for _, pid := range snap.children[s.keeper.Process.Pid] {
		if line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); strings.HasPrefix(string(line), "supd-stub\x00template ") {
			templates++
		} else if pid != s.enginePID && pid != s.loggerPID {
			t.Errorf("%s (%d) is left", snap.procs[pid].comm, pid)
		}
	}
	if templates == 0 || templates > spawners {
		t.Errorf("%d templates, want 1 to %d", templates, spawners)
	}
	must(t, s.client.Open(ids[n-1]))
	await[Unknown](s, ids[n-1]) // all Forgets are done
	const perTemplate = 2       // descriptors; one template is there before
	waitFor(t, "closed descriptors", func() bool { return keeperFDs() <= before+(templates-1)*perTemplate })
	if dirs, _ := filepath.Glob(filepath.Join(s.table.Info.Cgroup, s.name+"-*")); s.table.Info.Cgroup != "" && len(dirs) > 1 {
		t.Errorf("%d cgroups are left", len(dirs))
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	f, err := Lock(dir)
	must(t, err)
	_, err = Lock(dir)
	want := fmt.Sprintf("cannot run: supd pid %d holds %s/lock", os.Getpid(), dir)
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if st, _ := readStat(os.Getpid()); err.(*LockedError).StartTime != st.start {
		t.Error("the start time is wrong")
	}
	f.Close()
	if f, err = Lock(dir); err != nil {
		t.Error(err)
	}
	f.Close()
}

func TestControlSocketWaits(t *testing.T) {
	s := newStage(t, "none")
	st, err := os.Stat(filepath.Join(s.dir, "supd.sock"))
	must(t, err)
	if st.Mode().Perm() != 0o600 {
		t.Errorf("mode %o", st.Mode().Perm())
	}
	kill(t, s.enginePID)
	// No engine, or not yet: the backlog takes the client.
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	must(t, unix.Connect(fd, &unix.SockaddrUnix{Name: filepath.Join(s.dir, "supd.sock")}))
	s.meetEngine()
}

func TestQuit(t *testing.T) {
	s := newStage(t, "")
	i, _ := s.run("exec sleep 1000")
	must(t, s.client.Quit(7, false))
	if u := await[Unchanged](s, i); u.Slot.State != wire.StateOpen {
		t.Errorf("%+v", u)
	}
	must(t, s.client.Signal(i, "op", unix.SIGKILL, wire.ScopeMain))
	await[Exited](s, i)
	must(t, s.client.Quit(7, false))
	if m, _, err := s.logger.Recv(); err != nil || m.Kind() != wire.KindFinish {
		t.Fatalf("the logger got %v, %v", m, err)
	}
	must(t, s.logger.Event([]byte("last words")))
	kill(t, s.loggerPID)
	for {
		e, ok := <-s.client.Events()
		if !ok {
			t.Fatal("the last words of the logger were lost")
		}
		if e, ok := e.(LoggerEvent); ok && string(e.Data) == "last words" {
			break
		}
	}
	for range s.client.Events() { // the keeper closes our end
	}
	kill(t, s.enginePID)
	select {
	case <-s.dead:
	case <-time.After(time.Minute):
		t.Fatal("the keeper lives")
	}
	if code := s.keeper.ProcessState.ExitCode(); code != 7 {
		t.Errorf("code %d", code)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "supd.sock")); err == nil {
		t.Error("the socket is left")
	}
}

// TestOutputByName: a service that dropped its privileges may open its output
// by name, as web servers do with /dev/stderr.
func TestOutputByName(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: needs root")
	}
	s := newStage(t, "none")
	i := s.instance()
	l := program(i, "/bin/sh", "-c", "echo x >/dev/stdout && echo y >/dev/stderr")
	l.SetUser, l.UID, l.GID = true, 54321, 54321
	must(t, s.client.Park(Park{Service: "svc", Instance: i, Capture: true, Launch: l}))
	await[Parked](s, i)
	must(t, s.client.Open(i))
	if e := await[Exited](s, i); !e.Slot.Exit.Known || e.Slot.Exit.Status != 0 {
		t.Fatalf("opening /dev/stdout as its user: status %#x", e.Slot.Exit.Status)
	}
}

// TestKeeperGoneAtTheGate: a program whose gate is open runs, though nobody is
// left to hear of it: its stub does not end by the pipe that it speaks into, and
// the program's own signals are as they should be (R3, P8).
func TestKeeperGoneAtTheGate(t *testing.T) {
	s, err := newSpawner(newChildren(), &reserve{})
	must(t, err)
	out := filepath.Join(t.TempDir(), "out")
	for _, c := range []struct {
		launch Launch
		want   int
	}{
		{shell("i", "grep SigIgn: /proc/self/status > "+out+"; exit 33"), 33},
		{program("i", "/does/not/exist"), 127},
	} {
		block, err := EncodeLaunch(c.launch)
		must(t, err)
		memory, err := sealedMemory("launch", block, 0)
		must(t, err)
		var p process
		f := s.fork(order{
			name: "svc", launch: memory, out: [2]int{-1, -1},
			forked: func(born process) {
				p = born
				closeAll(&p.status) // the keeper is dead
			},
		})
		if f.Step != 0 {
			t.Fatal(f)
		}
		_, err = unix.Write(p.gate, []byte{1})
		must(t, err)
		var ws syscall.WaitStatus
		_, err = syscall.Wait4(p.pid, &ws, 0, nil)
		must(t, err)
		if ws.ExitStatus() != c.want {
			t.Errorf("%v: it ended with %x, want exit code %d", c.launch.Args, int(ws), c.want)
		}
		closeAll(&memory, &p.gate, &p.pidfd)
	}
	if b, err := os.ReadFile(out); err != nil || strings.TrimSpace(strings.TrimPrefix(string(b), "SigIgn:")) != "0000000000000000" {
		t.Errorf("the program runs with signals ignored: %q %v", b, err)
	}
}
