package rig_test

import (
	"strings"
	"syscall"
	"testing"

	"supd/cmd/internal/rig"
	"supd/cmd/internal/rig/account"
	"supd/journal/event"
)

const keeperConfig = `
[supd]
node = "rig"

[defaults]
backoff = { initial = "20ms", max = "300ms" }

[service.stable]
count = 3
command = ["ACTOR", "-dir", "DIR"]

[service.talk]
command = ["ACTOR", "-dir", "DIR", "-stdout", "500", "-stderr", "100"]

[service.dies]
command = ["ACTOR", "-dir", "DIR", "-exits", "33"]

[service.down]
command = ["ACTOR", "-dir", "DIR"]
`

// TestKeeperKilled: services live on when the keeper dies, and the next supd
// finds them again (P1, P8).
func TestKeeperKilled(t *testing.T) { lost(t, (*rig.Rig).KillKeeper) }

// TestAllKilled: the same when all of supd dies at once.
func TestAllKilled(t *testing.T) { lost(t, (*rig.Rig).KillAll) }

func lost(t *testing.T, kill func(*rig.Rig)) {
	rig.ReapActors(t)
	r := rig.New(t, keeperConfig)
	r.Run()
	stop := r.Watch()
	live := []string{"stable-0", "stable-1", "stable-2", "talk"}
	before := map[string]event.ServiceStatus{}
	for _, name := range append([]string{"dies"}, live...) {
		before[name] = r.UntilPhase(name, event.PhaseRunning)
	}
	r.Supctl("stop", "down").OK()
	r.Until("talk has written", func() bool { return counted(t, r, *before["talk"].Instance)[0] > 100 })
	for round := range 2 {
		kill(r)
		for _, name := range live {
			if p, ok := rig.ReadProcess(*before[name].PID); !ok || !p.Live() {
				t.Fatalf("P8: %s ended with supd", name)
			}
		}
		spoken := counted(t, r, *before["talk"].Instance)[0]
		if round == 0 {
			// One that dies while nobody looks.
			dies, _ := rig.ReadProcess(*before["dies"].PID)
			if err := syscall.Kill(dies.PID, syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			r.Until("dies ends", func() bool { return !dies.Live() })
		}
		r.Run()
		for _, name := range live {
			s := r.UntilPhase(name, event.PhaseRunning)
			if *s.PID != *before[name].PID || *s.Instance != *before[name].Instance || s.Restarts != before[name].Restarts {
				t.Errorf("P8: %s was pid %d, instance %s and is pid %d, instance %s",
					name, *before[name].PID, *before[name].Instance, *s.PID, *s.Instance)
			}
		}
		if s := r.Status("down"); s.Want != event.Down || s.State != event.PhaseStopped {
			t.Errorf("P8: down was stopped and is %s, wanted %s", s.State, s.Want)
		}
		r.UntilPhase("dies", event.PhaseRunning)
		r.Until("output goes on", func() bool { return strings.Count(r.Output("talk", "stdout"), "\n") > int(spoken)+100 })
	}
	// What was adopted obeys.
	r.Supctl("restart", "stable-0").OK()
	r.Supctl("signal", "KILL", "stable-1").OK()
	r.Until("stable-1 is back", func() bool {
		s := r.Status("stable-1")
		return s.State == event.PhaseRunning && *s.PID != *before["stable-1"].PID
	})
	r.Shutdown()
	c := newCheck(t, r)
	adopted := map[string]int{}
	for _, d := range rig.Of[event.InstanceAdoptedData](c.history) {
		adopted[d.Instance]++
		if d.Output != "attached" {
			t.Errorf("P8: the output of %s %s is %s", c.starts[d.Instance], d.Instance, d.Output)
		}
	}
	for _, name := range live {
		if n := adopted[*before[name].Instance]; n != 2 {
			t.Errorf("P8: %s was adopted %d times, supd was lost twice", name, n)
		}
	}
	c.unknown = map[string]bool{*before["dies"].Instance: true}
	c.all(stop)
}

func counted(t *testing.T, r *rig.Rig, instance string) account.Lines {
	t.Helper()
	n, err := account.Counted(r.Dir, instance)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
