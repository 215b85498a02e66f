package keeper

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// upgrade asks for another program and returns the answer; empty if the keeper
// executed it.
func (s *stage) upgrade(path, id string) string {
	s.t.Helper()
	f, err := os.Open(path)
	must(s.t, err)
	defer f.Close()
	must(s.t, s.client.Upgrade(id, int(f.Fd())))
	for {
		select {
		case e, ok := <-s.client.Events():
			if failed, is := e.(UpgradeFailed); is {
				return failed.Error
			}
			if !ok {
				return ""
			}
		case <-s.dead:
			s.t.Fatal("the keeper is dead")
		}
	}
}

// TestUpgradeInPlace: the next program finds every slot as it was, in each state
// that a slot can be in, and children stay children.
func TestUpgradeInPlace(t *testing.T) {
	roots(t, func(t *testing.T, s *stage) {
		running, slot := s.run("sleep 1000 & while ! [ -e " + s.dir + "/end ]; do sleep 0.01; done; exit 9")
		must(t, s.client.Signal(running, "marked", unix.SIGCONT, wire.ScopeMain))
		await[Signaled](s, running)
		parked := s.park(func(i string) Launch { return shell(i, "exit 5") })
		await[Parked](s, parked)
		left, _ := s.run("sleep 1000 & exit 3")
		if e := await[Exited](s, left).Slot; !e.Leftovers {
			t.Fatalf("%+v", e)
		}
		plain := s.dir + "/plain"
		must(t, os.WriteFile(plain, []byte("no program"), 0o700))
		if err := s.upgrade(plain, "no"); !strings.Contains(err, "exec format error") {
			t.Errorf("%q", err)
		}
		must(t, unix.Kill(s.keeper.Process.Pid, unix.SIGHUP)) // heard again after the failure
		await[HostSignal](s, "")
		if err := s.upgrade("/proc/self/exe", "yes"); err != "" {
			t.Fatal(err)
		}
		s.meetEngine()
		s.meetLogger()
		info := s.table.Info
		if info.PID != s.keeper.Process.Pid || info.Upgrade != "yes" || info.Came != wire.CameUpgraded {
			t.Errorf("%+v", info)
		}
		if len(s.table.Slots) != 3 || len(s.table.Operations) != 1 || !s.table.Operations[0].Done || len(s.table.HostSignals) != 1 {
			t.Errorf("%+v", s.table)
		}
		// What was parked opens; what runs ends with its code; what was left is swept.
		must(t, s.client.Open(parked))
		if e := await[Exited](s, parked).Slot; e.Exit.Status.ExitStatus() != 5 || !e.Execed || e.Adoption != 0 {
			t.Errorf("%+v", e)
		}
		must(t, os.WriteFile(s.dir+"/end", nil, 0o600))
		if e := await[Exited](s, running).Slot; e.Exit.Status.ExitStatus() != 9 || e.PID != slot.PID || !e.Leftovers || e.Exit.CPU == 0 {
			t.Errorf("%+v", e)
		}
		for _, i := range []string{left, running} {
			must(t, s.client.Sweep(i, "sweep", ""))
			if o := await[Swept](s, i).Operation; o.Survived != 0 || o.Errno != 0 {
				t.Errorf("%+v", o)
			}
		}
		if err := s.upgrade("/proc/self/exe", "again"); err != "" {
			t.Fatal(err)
		}
		s.meetEngine()
		s.meetLogger()
	})
}
