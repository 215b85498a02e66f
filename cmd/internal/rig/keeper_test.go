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

// TestKeeperKilled: when the keeper alone dies, nothing is lost but the keeper:
// not a pid, not a line, not an exit code. Its engine starts another one, or
// somebody runs supd again, before that or after (P1, P8, R5).
func TestKeeperKilled(t *testing.T) {
	lost(t, false, 1,
		func(r *rig.Rig) func() { old := r.Keeper(); r.KillKeeper(); return func() { r.Reborn(old) } }, // nobody comes
		func(r *rig.Rig) func() { return func() { r.Run() } },                                          // from the reborn one
		func(r *rig.Rig) func() { r.KillKeeper(); return func() { r.Run() } },                          // from the orphaned engine
	)
}

// TestAskedWithoutKeeper: who asks and commands while the keeper is gone is
// answered by the next engine, and is not told that supd has stopped (P2).
func TestAskedWithoutKeeper(t *testing.T) {
	rig.ReapActors(t)
	r := rig.New(t, keeperConfig)
	r.Run()
	r.UntilPhase("stable-0", event.PhaseRunning)
	old := r.Keeper()
	r.KillKeeper()
	r.Supctl("status").OK()
	r.Reborn(old)
	old = r.Keeper()
	r.KillKeeper()
	r.Supctl("restart", "stable-0").OK()
	r.Reborn(old)
	r.Shutdown()
}

// TestKeeperAndEngineKilled: services live on when nobody is left to look
// after them, and the next supd finds them again (P1, P8).
func TestKeeperAndEngineKilled(t *testing.T) {
	lost(t, true, 0, killed((*rig.Rig).KillBoth), killed((*rig.Rig).KillBoth))
}

// TestAllKilled: the same when all of supd dies at once.
func TestAllKilled(t *testing.T) {
	lost(t, true, 0, killed((*rig.Rig).KillAll), killed((*rig.Rig).KillAll))
}

func killed(kill func(*rig.Rig)) func(*rig.Rig) func() {
	return func(r *rig.Rig) func() { kill(r); return func() { r.Run() } }
}

// lost loses supd in several ways, one after the other; each returns how it
// comes back. In each gap one service dies. unseen: nobody lived who could
// have seen how, but the kernel may know. The first reborn ways come back
// without supd run.
func lost(t *testing.T, unseen bool, reborn int, ways ...func(*rig.Rig) func()) {
	rig.ReapActors(t)
	r := rig.New(t, keeperConfig)
	r.Run()
	stop, pinned := r.Watch(), r.Pins()
	live := []string{"stable-0", "stable-1", "stable-2", "talk"}
	before := map[string]event.ServiceStatus{}
	for _, name := range live {
		before[name] = r.UntilPhase(name, event.PhaseRunning)
	}
	r.Supctl("stop", "down").OK()
	r.Until("talk has written", func() bool { return counted(t, r, *before["talk"].Instance)[0] > 100 })
	died := map[string]bool{}
	for round, way := range ways {
		dies := r.UntilPhase("dies", event.PhaseRunning)
		if pinned {
			r.Until("it is pinned", func() bool { return r.Pinned()[*dies.Instance] })
		}
		back := way(r)
		for _, name := range live {
			if p, ok := rig.ReadProcess(*before[name].PID); !ok || !p.Live() {
				t.Fatalf("P8: %s ended with supd", name)
			}
		}
		spoken := counted(t, r, *before["talk"].Instance)[0]
		died[*dies.Instance] = true
		p, _ := rig.ReadProcess(*dies.PID)
		if err := syscall.Kill(p.PID, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		r.Until("dies ends", func() bool { return !p.Live() })
		back()
		for _, name := range live {
			s := r.UntilPhase(name, event.PhaseRunning)
			if *s.PID != *before[name].PID || *s.Instance != *before[name].Instance || s.Restarts != before[name].Restarts {
				t.Errorf("P8: round %d: %s was pid %d, instance %s and is pid %d, instance %s",
					round, name, *before[name].PID, *before[name].Instance, *s.PID, *s.Instance)
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
	if n := len(rig.Of[event.ConfigAppliedData](c.history)); n != 1+len(ways)-reborn {
		t.Errorf("R11: %d times a configuration was applied, supd was run %d times", n, 1+len(ways)-reborn)
	}
	adopted := map[string]int{}
	for _, d := range rig.Of[event.InstanceAdoptedData](c.history) {
		adopted[d.Instance]++
		if d.Output != "attached" {
			t.Errorf("P8: the output of %s %s is %s", c.starts[d.Instance], d.Instance, d.Output)
		}
	}
	for _, name := range live {
		if n := adopted[*before[name].Instance]; n != len(ways) {
			t.Errorf("P8: %s was adopted %d times, supd was lost %d times", name, n, len(ways))
		}
	}
	if unseen {
		c.cut = map[string]bool{}
		if !pinned {
			c.unknown = died
		}
		for _, d := range rig.Of[event.OutputGapData](c.history) {
			c.cut[d.Instance+" "+d.Stream] = true
			if d.Lines != nil || d.Bytes != nil {
				t.Errorf("P4: somebody says to have counted what nobody saw: %+v", d)
			}
		}
		for instance := range died {
			if !c.cut[instance+" stdout"] || !c.cut[instance+" stderr"] {
				t.Errorf("P3: %s ended while nobody lived, and no gap in its output is recorded", instance)
			}
		}
		for _, name := range live {
			if c.cut[*before[name].Instance+" stdout"] {
				t.Errorf("P4: a gap in the output of %s is recorded, which lives", name)
			}
		}
	}
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

// TestAllKilledUnread: the logger hangs, a service ends twice, and all of supd is
// killed: of both instances somebody says that output is lost (P3, P4).
func TestAllKilledUnread(t *testing.T) {
	rig.ReapActors(t)
	r := rig.New(t, `
[supd]
node = "rig"
[defaults]
backoff = { initial = "1ms", max = "1ms", jitter = 0 }
[service.quick]
command = ["ACTOR", "-dir", "DIR", "-life", "60ms,61ms", "-exits", "3", "-stdout", "200"]
autostart = false
`)
	r.Run()
	stop := r.Watch()
	logger := r.Logger()
	if err := syscall.Kill(logger, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	r.Supctl("start", "quick", "--no-wait").OK()
	r.Until("it has ended twice, and waits for its output to be read", func() bool {
		s := r.Status("quick")
		return s.Run != nil && *s.Run >= 2 && s.LastExit != nil && s.State != event.PhaseRunning && s.State != event.PhaseStarting
	})
	r.KillAll()
	r.Run()
	r.Supctl("stop", "quick").OK()
	r.Shutdown()
	c := newCheck(t, r)
	c.forgive(true)
	// Stdout and stderr of each. Whoever ended before it wrote anything waits for no
	// logger: then there is one more.
	if len(c.cut) < 4 {
		t.Errorf("P4: output of two instances is lost, said to be lost: %v", c.cut)
	}
	c.all(stop)
}
