package keeper

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

func TestAdopt(t *testing.T) {
	roots(t, func(t *testing.T, s *stage) {
		pinned := s.table.Info.Features&wire.FeaturePidfdPinned != 0
		live, slot := s.run("exec sleep 1000")
		soon, dead := s.run("sleep 1000 & : > " + s.dir + "/started; exec sleep 1000")
		waitFile(t, s.dir+"/started")
		if pinned {
			s.untilPinned(live, soon)
		}
		s.killKeeper()
		kill(t, dead.PID)
		waitFor(t, "end of the process", func() bool {
			fd, err := unix.PidfdOpen(dead.PID, 0)
			if err == nil {
				defer unix.Close(fd)
			}
			return err != nil || pidfdExited(fd)
		})
		s.startKeeper()
		adopt := func(of Slot) Slot {
			must(t, s.client.Adopt(Adopt{
				Service: "svc", Instance: of.Instance, PID: of.PID, StartTime: of.StartTime, Cgroup: of.Cgroup,
			}))
			return await[Adopted](s, of.Instance).Slot
		}
		a := adopt(dead)
		if a.Adoption != wire.AdoptionGone || a.Leftovers != (dead.Cgroup != "") || a.Exit.Known != pinned || pinned && a.Exit.Status.Signal() != unix.SIGKILL {
			t.Errorf("%+v", a)
		}
		must(t, s.client.Open(soon))
		await[Unknown](s, soon)
		if a := adopt(slot); a.Adoption != wire.AdoptionOK || a.State != wire.StateOpen {
			t.Errorf("%+v", a)
		}
		must(t, s.client.Signal(live, "term", unix.SIGTERM, wire.ScopeGroup))
		var e Slot
		for result := false; !result || e.Instance == ""; { // before Linux 6.9 in either order
			switch x := s.next().(type) {
			case Signaled:
				if result = true; x.Operation.Errno != 0 {
					t.Errorf("%+v", x)
				}
			case Exited:
				e = x.Slot
			}
		}
		if e.Exit.Known && e.Exit.Status.Signal() != unix.SIGTERM {
			t.Errorf("%+v", e)
		}
		if s.table.Info.Features&wire.FeaturePidfdExit != 0 && !e.Exit.Known {
			t.Error("the kernel could tell the status")
		}
	})
}

// TestHoldProcess: a number that is another's now is not the process.
func TestHoldProcess(t *testing.T) {
	st, err := readStat(os.Getpid())
	must(t, err)
	for start, want := range map[uint64]wire.Adoption{st.start: wire.AdoptionOK, st.start - 1: wire.AdoptionReused} {
		fd, got := holdProcess(st.pid, start)
		if got != want || (fd >= 0) != (want == wire.AdoptionOK) {
			t.Errorf("%d: %d, %v, want %v", start, fd, got, want)
		}
		closeAll(&fd)
	}
	if _, got := holdProcess(1<<30, 1); got != wire.AdoptionGone {
		t.Error(got)
	}
}
