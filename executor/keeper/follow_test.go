package keeper

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// stayers are two processes that stay, one of them in a session of its own.
const stayers = `(echo $$ > $D/none; exec sleep 1000) & echo $! > $D/child
setsid sh -c 'echo $$ > $D/apart; exec sleep 1000' &
`

// handover runs a script that leaves the pids of its processes in files, and
// returns a reader of them.
func (s *stage) handover(script string) (instance string, slot Slot, pid func(name string) int) {
	s.t.Helper()
	dir, err := os.MkdirTemp(s.dir, "pids")
	must(s.t, err)
	must(s.t, os.Chmod(dir, 0o777))
	instance, slot = s.run("D=" + dir + "; export D\n" + script)
	return instance, slot, func(name string) (pid int) {
		waitFor(s.t, "pid of "+name, func() bool {
			b, _ := os.ReadFile(filepath.Join(dir, name))
			pid, _ = strconv.Atoi(strings.TrimSpace(string(b)))
			return pid > 0 && strings.HasSuffix(string(b), "\n")
		})
		return pid
	}
}

// follow asks and returns the slot that answers.
func (s *stage) follow(instance string, pid int, sender, user uint32) Slot {
	s.t.Helper()
	must(s.t, s.client.Follow(Follow{Instance: instance, PID: pid, Sender: sender, User: user}))
	for {
		switch e := s.next().(type) {
		case Followed:
			if e.Slot.Instance == instance {
				return e.Slot
			}
		case Unchanged:
			if e.Slot.Instance == instance && e.Slot.Named == pid {
				return e.Slot
			}
		}
	}
}

// The main process hands over and ends: that is nobody's exit. The end of the one
// it named is, with its status, whoever its parent is.
func TestFollow(t *testing.T) {
	roots(t, func(t *testing.T, s *stage) {
		for _, named := range []string{"child", "apart"} {
			t.Run(named, func(t *testing.T) {
				i, before, pid := s.handover(stayers + "sleep 1000")
				to, all := pid(named), []int{pid("child"), pid("apart"), before.PID}
				now := s.follow(i, to, 0, 0)
				if now.PID != to || now.StartTime == before.StartTime && now.PID == before.PID || now.Refused != 0 || now.State != wire.StateOpen {
					t.Fatalf("followed to %d: %+v", to, now)
				}
				if again := s.follow(i, to, 0, 0); again.PID != to || again.Refused != 0 {
					t.Errorf("the same again: %+v", again)
				}
				kill(t, before.PID)
				waitFor(t, "the old one reaped", func() bool { return !alive(before.PID) })
				must(t, s.client.Signal(i, "probe", 0, wire.ScopeMain))
				if r := await[Signaled](s, i).Operation; r.Errno != 0 || len(r.Processes) != 1 || r.Processes[0].PID != to {
					t.Fatalf("a signal to the main process: %+v", r)
				}
				must(t, s.client.Signal(i, "end", unix.SIGUSR1, wire.ScopeGroup))
				x := await[Exited](s, i).Slot
				if x.PID != to || !x.Exit.Known || x.Exit.Status.Signal() != unix.SIGUSR1 {
					t.Errorf("it ended as %+v", x)
				}
				must(t, s.client.Sweep(i, "sweep", ""))
				if r := await[Swept](s, i).Operation; r.Survived != 0 {
					t.Errorf("swept: %+v", r)
				}
				for _, p := range all {
					if alive(p) {
						t.Errorf("process %d of the tree is left", p)
					}
				}
				must(t, s.client.Forget(i))
			})
		}
	})
}

// A program that goes into the background ends before the engine has heard whom
// it named: its exit is taken back. Nothing is, once the engine has decided.
func TestFollowAfterExit(t *testing.T) {
	roots(t, func(t *testing.T, s *stage) {
		i, before, pid := s.handover("setsid sh -c 'trap \"exit 7\" TERM; echo $$ > $D/daemon; while :; do sleep 0.01; done' & exit 0")
		to := pid("daemon")
		x := await[Exited](s, i).Slot
		if x.PID != before.PID || !x.Leftovers {
			t.Fatalf("%+v", x)
		}
		now := s.follow(i, to, 0, 0)
		if now.PID != to || now.State != wire.StateOpen || now.ExitedAt != 0 || now.Exit != (Exit{}) || now.Leftovers {
			t.Fatalf("followed to %d: %+v", to, now)
		}
		must(t, s.client.Signal(i, "end", unix.SIGTERM, wire.ScopeMain))
		if x = await[Exited](s, i).Slot; x.PID != to || !x.Exit.Known || x.Exit.Status.ExitStatus() != 7 {
			t.Errorf("it ended as %+v", x)
		}
		// While the daemon's last sleep is there, something of it could be followed yet.
		if r := s.follow(i, os.Getpid(), 0, 0); r.Refused != wire.RefusalEnded && r.Refused != wire.RefusalStranger || r.State != wire.StateExited {
			t.Errorf("an ended instance follows: %+v", r)
		}
	})
}

// Two hand-overs in a row, then all that is left is ended.
func TestFollowTwice(t *testing.T) {
	roots(t, func(t *testing.T, s *stage) {
		i, before, pid := s.handover(stayers + "sleep 1000")
		for _, name := range []string{"child", "apart"} {
			if now := s.follow(i, pid(name), 0, 0); now.PID != pid(name) {
				t.Fatalf("%s: %+v", name, now)
			}
		}
		// Back to the first one, which is no child of the slot any more.
		if now := s.follow(i, before.PID, 0, 0); now.PID != before.PID || now.Refused != 0 {
			t.Fatalf("back: %+v", now)
		}
		kill(t, pid("apart"))
		kill(t, before.PID)
		x := await[Exited](s, i).Slot
		if x.PID != before.PID || !x.Exit.Known || x.Exit.Status.Signal() != unix.SIGKILL || !x.Leftovers {
			t.Errorf("it ended as %+v", x)
		}
		must(t, s.client.Sweep(i, "sweep", ""))
		if r := await[Swept](s, i).Operation; r.Survived != 0 || alive(pid("child")) {
			t.Errorf("swept: %+v", r)
		}
	})
}

func TestFollowRefused(t *testing.T) {
	roots(t, func(t *testing.T, s *stage) {
		if os.Geteuid() != 0 {
			t.Skip("NOT RUN: needs root, for processes of two users")
		}
		other, _ := s.run("sleep 1000")
		theirs := await0(s, other)
		i, before, pid := s.handover(stayers + `
(sleep 0 & echo $! > $D/gone; wait)
setpriv --reuid 65534 --clear-groups sleep 1000 & echo $! > $D/nobody
sleep 1000`)
		waitFor(t, "a process of nobody", func() bool { u, _ := userOf(pid("nobody")); return u == 65534 })
		for _, tt := range []struct {
			name         string
			pid          int
			sender, user uint32
			want         wire.Refusal
		}{
			{"init", 1, 0, 0, wire.RefusalMain},
			{"the keeper", s.table.Info.PID, 0, 0, wire.RefusalMain},
			{"the engine", s.enginePID, 0, 0, wire.RefusalMain},
			{"the logger", s.loggerPID, 0, 0, wire.RefusalMain},
			{"another service's main process", theirs, 0, 0, wire.RefusalMain},
			{"a process of nobody", os.Getpid(), 0, 0, wire.RefusalStranger},
			{"one that has ended", pid("gone"), 0, 0, wire.RefusalGone},
			{"a pid that cannot be", 1<<31 - 1, 0, 0, wire.RefusalGone},
			{"root's, named by another", pid("child"), 65534, 65534, wire.RefusalUser},
			{"nobody's own, who has no say", pid("nobody"), 65534, 0, wire.RefusalRank},
			{"a user's, named by root", pid("nobody"), 0, 0, wire.RefusalNone},
			{"its own, named by the user of the main process", pid("nobody"), 65534, 0, wire.RefusalNone},
			{"root's, named by root", pid("child"), 0, 65534, wire.RefusalNone},
		} {
			got := s.follow(i, tt.pid, tt.sender, tt.user)
			if got.Refused != tt.want || (got.PID == tt.pid) != (tt.want == 0) || got.State != wire.StateOpen {
				t.Errorf("%s: %v, main process %d of %d", tt.name, got.Refused, got.PID, tt.pid)
			}
			if tt.want != 0 && got.PID != before.PID {
				t.Fatalf("%s: main process %d", tt.name, got.PID)
			}
		}
		must(t, s.client.Follow(Follow{Instance: s.instance(), PID: 5}))
		if _, ok := s.next().(Unknown); !ok {
			t.Error("an instance that is not known was followed")
		}
	})
}

// await0 returns the main process of an instance.
func await0(s *stage, instance string) int {
	s.t.Helper()
	must(s.t, s.client.Open(instance))
	return await[Unchanged](s, instance).Slot.PID
}

// An engine that dies is told in the table; a keeper that dies leaves the pidfd of
// the new main process, and an upgrade in place loses nothing.
func TestFollowSurvives(t *testing.T) {
	roots(t, func(t *testing.T, s *stage) {
		i, before, pid := s.handover("setsid sh -c 'trap \"exit 9\" TERM; echo $$ > $D/daemon; while :; do sleep 0.01; done' &\n sleep 1000")
		to := pid("daemon")
		if now := s.follow(i, to, 0, 0); now.PID != to {
			t.Fatalf("%+v", now)
		}
		if s.table.Info.Features&wire.FeaturePidfdPinned != 0 {
			fd, err := unix.PidfdOpen(to, 0)
			must(t, err)
			waitFor(t, "the new one's pin", func() bool { return pinned(t, s.dir)[i] == identity(fd) })
			unix.Close(fd)
		}
		kill(t, s.enginePID)
		s.meetEngine()
		if len(s.table.Slots) != 1 || s.table.Slots[0].PID != to || s.table.Slots[0].State != wire.StateOpen {
			t.Fatalf("the next engine is told %+v", s.table.Slots)
		}
		kill(t, before.PID)
		waitFor(t, "the estate", func() bool {
			s.client.held.mu.Lock()
			defer s.client.held.mu.Unlock()
			x := s.client.held.byInstance[i]
			return x != nil && x.fds[0] >= 0
		})
		s.killKeeper()
		for range s.client.Events() {
		}
		e := s.client.Estate()
		defer e.Close()
		if len(e.Slots) != 1 || e.Slots[0].Slot.PID != to {
			t.Fatalf("left: %+v", e.Slots)
		}
		// Told of the descriptor and not yet of the slot.
		left := e.Slots[0]
		left.Slot.PID, left.Slot.StartTime = before.PID, before.StartTime
		heir := &slot{Slot: left.Slot, pidfd: left.PIDFD}
		heir.held()
		if heir.PID != to || heir.StartTime != e.Slots[0].Slot.StartTime {
			t.Errorf("inherited as %+v", heir.Slot)
		}
		// Its pin is the new one's, also when nobody of supd lives.
		if s.table.Info.Features&wire.FeaturePidfdPinned != 0 {
			start := e.Slots[0].Slot.StartTime
			kill(t, to)
			waitFor(t, "its end", func() bool { return !alive(to) })
			s.startKeeper()
			must(t, s.client.Adopt(Adopt{Service: "svc", Instance: i, PID: to, StartTime: start, Cgroup: before.Cgroup}))
			if a := await[Adopted](s, i).Slot; a.Adoption != wire.AdoptionGone || !a.Exit.Known || a.Exit.Status.Signal() != unix.SIGKILL {
				t.Errorf("found by its pin: %+v", a)
			}
		}
	})
}

func TestUserOf(t *testing.T) {
	if u, ok := userOf(os.Getpid()); !ok || int(u) != os.Getuid() {
		t.Errorf("%d, %v", u, ok)
	}
	if _, ok := userOf(1<<31 - 1); ok {
		t.Error("the user of nobody is known")
	}
}

func TestMarked(t *testing.T) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", os.Getpid()))
	first, _, _ := strings.Cut(string(b), "\x00")
	if first == "" {
		t.Skip("NOT RUN: needs an environment")
	}
	if !marked(os.Getpid(), first+"\x00") || marked(os.Getpid(), first+"x\x00") || marked(os.Getpid(), "no such variable=") {
		t.Errorf("%q is not found, or too much is", first)
	}
}
