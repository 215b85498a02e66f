package keeper

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// scheduling reads policy and nice value of a thread (0 for the process's first).
func scheduling(t *testing.T, pid, thread int) (policy uint32, nice int32) {
	t.Helper()
	if thread == 0 {
		thread = pid
	}
	a, err := unix.SchedGetAttr(thread, 0)
	if err != nil {
		t.Fatal(err)
	}
	return a.Policy, a.Nice
}

func oomScore(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestPriority: the keeper's loop and reaper go before all others where that is
// permitted; engine, logger and services do not, and services are none of those
// whom the kernel spares when memory runs out. An upgrade changes nothing of it.
func TestPriority(t *testing.T) {
	roots(t, func(t *testing.T, s *stage) {
		_, slot := s.run("exec sleep 1000")
		f := s.table.Info.Features & (wire.FeatureRealTime | wire.FeatureNice)
		urgents := 0
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", s.table.Info.PID))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range threads {
			id, _ := strconv.Atoi(filepath.Base(path))
			switch policy, nice := scheduling(t, s.table.Info.PID, id); {
			case policy == unix.SCHED_FIFO && f == wire.FeatureRealTime, nice == urgentNice && f == wire.FeatureNice:
				urgents++
			case policy != unix.SCHED_NORMAL || nice != 0:
				t.Errorf("a thread of the keeper has policy %d, nice %d", policy, nice)
			}
		}
		if f != 0 && urgents != 2+spawners {
			t.Errorf("%d threads of the keeper are urgent, want the loop, the reaper and %d spawners", urgents, spawners)
		}
		for who, pid := range map[string]int{"service": slot.PID, "engine": s.enginePID, "logger": s.table.Info.Logger.PID} {
			if pid == 0 {
				continue
			}
			if policy, nice := scheduling(t, pid, 0); policy != unix.SCHED_NORMAL || nice != 0 {
				t.Errorf("%s: policy %d, nice %d", who, policy, nice)
			}
		}
		if n := oomScore(t, slot.PID); n != 0 {
			t.Errorf("the service's oom_score_adj is %d", n)
		}
		if k, e := oomScore(t, s.table.Info.PID), oomScore(t, s.enginePID); e != max(k, helperOOM) {
			t.Errorf("oom_score_adj of keeper %d, of engine %d", k, e)
		}
		if exec.Command("/bin/sh", "-c", fmt.Sprintf("echo %d >/proc/self/oom_score_adj", keeperOOM)).Run() != nil {
			t.Skip("NOT RUN: needs CAP_SYS_RESOURCE: whether the keeper is spared when memory runs out")
		}
		if k := oomScore(t, s.table.Info.PID); k != keeperOOM {
			t.Errorf("the keeper's oom_score_adj is %d", k)
		}
	})
}

// TestServiceNice: a service has the nice value of its configuration.
func TestServiceNice(t *testing.T) {
	s := newStage(t, "")
	i := s.park(func(i string) Launch {
		l := shell(i, "exec sleep 1000")
		l.Nice, l.OOMScoreAdj = 7, 300
		return l
	})
	await[Parked](s, i)
	must(t, s.client.Open(i))
	slot := await[Execed](s, i).Slot
	if policy, nice := scheduling(t, slot.PID, 0); policy != unix.SCHED_NORMAL || nice != 7 {
		t.Errorf("policy %d, nice %d", policy, nice)
	}
	if n := oomScore(t, slot.PID); n != 300 {
		t.Errorf("oom_score_adj %d", n)
	}
}

// TestPrefer: an engine goes before busy services; the keeper that it starts when
// its own was killed, and all that this one forks, do not.
func TestPrefer(t *testing.T) {
	if os.Getenv(envRole) != "preferred" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestPrefer$", "-test.v")
		cmd.Env = append(os.Environ(), envRole+"=preferred")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if strings.Contains(string(out), "NOT RUN") {
			t.Skipf("%s", out)
		}
		return
	}
	var before int32
	_, before = scheduling(t, os.Getpid(), 0)
	Prefer()
	if ownNice.Load() == nil {
		t.Skip("NOT RUN: needs CAP_SYS_NICE")
	}
	of := func() (nice int32) {
		out, err := exec.Command("/usr/bin/nice").Output()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscan(string(out), &nice); err != nil {
			t.Fatal(err)
		}
		return nice
	}
	if n := of(); n != urgentNice {
		t.Errorf("nice is %d", n)
	}
	plainly(func() {
		if n := of(); n != before {
			t.Errorf("what is started has nice %d, it was %d", n, before)
		}
	})
	if n := of(); n != urgentNice {
		t.Errorf("nice is %d afterwards", n)
	}
}
