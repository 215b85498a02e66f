package keeper

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// templates lists the stubs' templates of the keeper.
func (s *stage) templates() (pids []int) {
	for _, pid := range takeSnapshot().children[s.keeper.Process.Pid] {
		if line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); strings.HasPrefix(string(line), "supd-stub\x00template ") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestTemplateIsLost kills and halts templates: starts go on, with other ones.
func TestTemplateIsLost(t *testing.T) {
	s := newStage(t, "none")
	lives := func() {
		t.Helper()
		i, _ := s.run("exit 3")
		if e := await[Exited](s, i).Slot; e.Exit.Status.ExitStatus() != 3 {
			t.Errorf("it ended as %+v", e)
		}
		must(t, s.client.Forget(i))
	}
	lives()
	for _, sig := range []syscall.Signal{unix.SIGKILL, unix.SIGSTOP} {
		before := s.templates()
		if len(before) == 0 {
			t.Fatal("there is no template")
		}
		for _, pid := range before {
			must(t, unix.Kill(pid, sig))
		}
		if sig == unix.SIGKILL {
			waitFor(t, "reaping of the templates", func() bool { return len(s.templates()) == 0 })
		}
		for range before { // each halted one is found out by one fork, which is put off
			if sig == unix.SIGSTOP {
				i := s.park(func(i string) Launch { return shell(i, "exit 0") })
				if f := await[ParkFailed](s, i).Slot.Failure; f.Step != wire.StepFork || f.Errno != unix.EAGAIN {
					t.Errorf("failure %+v", f)
				}
				must(t, s.client.Forget(i))
			}
		}
		lives()
		for _, pid := range before {
			for _, now := range s.templates() {
				if pid == now {
					t.Errorf("template %d is still used after %s", pid, sig)
				}
			}
		}
	}
}

// TestTemplateEndsWithItsKeeper leaves none behind.
func TestTemplateEndsWithItsKeeper(t *testing.T) {
	s := newStage(t, "none")
	i, _ := s.run("exit 0")
	await[Exited](s, i)
	pids := s.templates()
	if len(pids) == 0 {
		t.Fatal("there is no template")
	}
	fd, err := unix.PidfdOpen(pids[0], 0)
	must(t, err)
	defer unix.Close(fd)
	s.killKeeper()
	waitFor(t, "end of the template", func() bool { return pidfdExited(fd) })
}

// TestTemplateShows has ps name the service while its stub waits.
func TestTemplateShows(t *testing.T) {
	s := newStage(t, "none")
	i := s.park(func(i string) Launch { return shell(i, "exit 0") })
	pid := await[Parked](s, i).Slot.PID
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	must(t, err)
	if got := strings.TrimRight(string(line), "\x00"); got != "supd-stub\x00svc" {
		t.Errorf("the stub shows as %q", got)
	}
	must(t, s.client.Drop(i))
	await[Dropped](s, i)
}

// TestTemplateWhileTheReaperWaits: who makes a template waits behind a reaper that
// waits for who has forked; that one must be able to give its template back.
func TestTemplateWhileTheReaperWaits(t *testing.T) {
	c := newChildren()
	s, err := newSpawner(c, &reserve{})
	must(t, err)
	c.forks.RLock() // somebody forks
	reaper := make(chan struct{})
	go func() {
		defer close(reaper)
		c.forks.Lock()
		defer c.forks.Unlock()
	}()
	waitFor(t, "the reaper stands in line", func() bool {
		if c.forks.TryRLock() {
			c.forks.RUnlock()
			return false
		}
		return true
	})
	made := make(chan *template, 1)
	go func() {
		n, err := s.template()
		if err != nil {
			t.Error(err)
		}
		made <- n
	}()
	waitFor(t, "somebody makes a template", func() bool {
		if !s.mu.TryLock() {
			return true // and holds the lock: what must not be
		}
		defer s.mu.Unlock()
		buf := make([]byte, 1<<20)
		return strings.Contains(string(buf[:runtime.Stack(buf, true)]), ".newTemplate(")
	})
	left := make(chan struct{})
	go func() { s.leave(&template{pidfd: -1, socket: -1, ended: make(chan struct{})}); close(left) }()
	select {
	case <-left:
	case <-time.After(10 * time.Second):
		t.Error("who has forked cannot give its template back, and the reaper waits for it")
	}
	c.forks.RUnlock()
	<-reaper
	n := <-made
	if n == nil {
		t.FailNow()
	}
	n.end()
	pid, err := unix.Wait4(n.pid, nil, 0, nil)
	if pid != n.pid {
		t.Errorf("template %d: %v", n.pid, err)
	}
}
