package keeper

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// limited parks and opens a shell script with limits, where the kernel has the
// controller; scripts/limits is a machine that has them all.
func limited(t *testing.T, feature uint32, l Limits, script string) (*stage, Slot) {
	t.Helper()
	s := newStage(t, "")
	if s.table.Info.Features&feature == 0 {
		t.Skip("NOT RUN: needs a cgroup2 with this controller: scripts/limits")
	}
	i := s.instance()
	must(t, s.client.Park(Park{Service: "svc", Instance: i, Cgroup: true, Launch: shell(i, script), Limits: l}))
	await[Parked](s, i)
	must(t, s.client.Open(i))
	return s, await[Execed](s, i).Slot
}

// hog wants more and more.
const hog = "x=x; while :; do x=$x$x; done"

func TestLimitOfMemory(t *testing.T) {
	s, slot := limited(t, wire.FeatureMemory, Limits{Memory: 32 << 20}, hog)
	if e := await[Exited](s, slot.Instance).Slot; !e.OOM || e.Exit.Status.Signal() != unix.SIGKILL {
		t.Errorf("%+v", e)
	}
}

// TestLimitOfMemoryKnownLater: the keeper that adopts an instance, or finds it
// dead, says as well that memory ran out.
func TestLimitOfMemoryKnownLater(t *testing.T) {
	begin := filepath.Join(t.TempDir(), "go")
	s, slot := limited(t, wire.FeatureMemory, Limits{Memory: 32 << 20}, "while ! [ -e "+begin+" ]; do sleep 0.01; done; "+hog)
	s.killKeeper()
	s.startKeeper()
	must(t, s.client.Adopt(Adopt{Service: "svc", Instance: slot.Instance, PID: slot.PID, StartTime: slot.StartTime, Cgroup: slot.Cgroup}))
	if a := await[Adopted](s, slot.Instance).Slot; a.Adoption != wire.AdoptionOK {
		t.Fatalf("%+v", a)
	}
	must(t, os.WriteFile(begin, nil, 0o600))
	if e := await[Exited](s, slot.Instance).Slot; !e.OOM {
		t.Errorf("%+v", e)
	}
}

func TestLimitOfProcesses(t *testing.T) {
	s, slot := limited(t, wire.FeaturePIDs, Limits{PIDs: 3}, "sleep 1000 & sleep 1000 & sleep 1000 & exit 7")
	if e := await[Exited](s, slot.Instance).Slot; e.Exit.Status.ExitStatus() == 7 || !e.Leftovers {
		t.Errorf("four processes within a limit of three: %+v", e)
	}
	if b, err := os.ReadFile(filepath.Join(slot.Cgroup, "pids.events")); err != nil || strings.HasPrefix(string(b), "max 0") {
		t.Errorf("%q %v", b, err)
	}
}

func TestLimitOfCPU(t *testing.T) {
	_, slot := limited(t, wire.FeatureCPU, Limits{CPU: CPUPeriod / 10}, "while :; do :; done")
	waitFor(t, "the quota to hold", func() bool {
		b, err := os.ReadFile(filepath.Join(slot.Cgroup, "cpu.stat"))
		must(t, err)
		_, n, _ := strings.Cut(string(b), "nr_throttled ")
		return n != "" && n[0] != '0'
	})
}
