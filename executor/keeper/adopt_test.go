package keeper

import (
	"testing"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

func TestAdopt(t *testing.T) {
	roots(t, func(t *testing.T, s *stage) {
		live, slot := s.run("exec sleep 1000")
		soon, dead := s.run("sleep 1000 & : > " + s.dir + "/started; exec sleep 1000")
		waitFile(t, s.dir+"/started")
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
		reused := slot
		reused.StartTime--
		if a := adopt(reused); a.Adoption != wire.AdoptionReused {
			t.Errorf("%+v", a)
		}
		if a := adopt(dead); a.Adoption != wire.AdoptionGone || a.Leftovers != (dead.Cgroup != "") {
			t.Errorf("%+v", a)
		}
		must(t, s.client.Open(soon))
		await[Unknown](s, soon)
		if a := adopt(slot); a.Adoption != wire.AdoptionOK || a.State != wire.StateOpen {
			t.Errorf("%+v", a)
		}
		must(t, s.client.Signal(live, "term", unix.SIGTERM, wire.ScopeGroup))
		if r := await[Signaled](s, live).Operation; r.Errno != 0 {
			t.Errorf("%+v", r)
		}
		e := await[Exited](s, live).Slot
		if e.Exit.Known && e.Exit.Status.Signal() != unix.SIGTERM {
			t.Errorf("%+v", e)
		}
		if s.table.Info.Features&wire.FeaturePidfdExit != 0 && !e.Exit.Known {
			t.Error("the kernel could tell the status")
		}
	})
}
