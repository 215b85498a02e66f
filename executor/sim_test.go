package executor

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"supd/executor/policy"
	"supd/executor/policy/policytest"
	"supd/journal/event"
)

var (
	simSeed  = flag.Uint64("sim.seed", 0, "replay this one seed")
	simSeeds = flag.Uint64("sim.seeds", 150, "how many seeds to run")
	simFirst = flag.Uint64("sim.first", 1, "the first of them")
)

// TestSimulation runs a whole supd on a model world from one seed: commands,
// crashes of services, of engines at any of their calls, of keepers and of the
// machine, disks that hang, configurations that change. A failure names its
// seed; -sim.seed replays it.
func TestSimulation(t *testing.T) {
	first, count := *simFirst, *simSeeds
	if *simSeed != 0 {
		first, count = *simSeed, 1
	}
	for seed := first; seed < first+count; seed++ {
		simulate(t, seed)
	}
}

type simulation struct {
	*rig
	chance *rand.Rand
	specs  map[string]event.Spec
}

func simulate(t *testing.T, seed uint64) {
	chance := rand.New(rand.NewPCG(seed, seed))
	s := &simulation{chance: chance, specs: map[string]event.Spec{}}
	s.rig = newRig(t, fmt.Sprintf("seed %d", seed), -1)
	s.rands = chance.Float64
	s.w.Behave = s.behaviour
	s.w.MayLeave = func(string) bool { return false }
	for i := range 1 + chance.IntN(4) {
		s.specs[fmt.Sprintf("s%d", i)] = s.spec(i)
	}
	s.configure()
	for range 20 + chance.IntN(80) {
		s.step()
	}
	s.hang, s.untilCrash, s.mute = false, -1, false
	s.w.Behave = nil
	s.w.Release()
	s.calm(5 * time.Minute)
	s.configure() // an engine may have died on the last one
	s.calm(5 * time.Minute)
	s.finish()
	for name, v := range s.core.State().Services {
		if running := s.w.Running(name); v.Want == event.Up && (v.Phase != event.PhaseRunning || len(running) != 1) ||
			v.Want == event.Down && (!v.Settled() || len(running) > 0) {
			s.fatalf("%s is wanted %s and %s; %v run", name, v.Want, v.Phase, running)
		}
	}
}

func (s *simulation) one(in int) bool { return s.chance.IntN(in) == 0 }

func (s *simulation) spec(i int) event.Spec {
	spec := rigSpec(fmt.Sprintf("s%d", i))
	spec.Autostart, spec.Nice = s.one(2), s.chance.IntN(2)
	spec.Restart = []string{"always", "always", "on-failure", "never"}[s.chance.IntN(4)]
	spec.MaxRetries = []int{-1, -1, 0, 3}[s.chance.IntN(4)]
	spec.Stop.Mode = []string{"tree", "group"}[s.chance.IntN(2)]
	spec.Stop.Timeout = event.Duration([]time.Duration{0, time.Second, 10 * time.Second}[s.chance.IntN(3)])
	if s.one(3) {
		spec.Ready = &event.Ready{Notify: true, Timeout: event.Duration(20 * time.Second)}
	}
	for _, hook := range []*[]string{&spec.Hooks.PreStart, &spec.Hooks.PostStart, &spec.Hooks.PreStop, &spec.Hooks.PostStop} {
		if s.one(5) {
			*hook = []string{"/bin/true"}
		}
	}
	return spec
}

func (s *simulation) behaviour(string) policytest.Behaviour {
	b := policytest.Behaviour{Stubborn: s.one(4), Unkillable: s.one(25), Leaves: s.one(3), HookSilent: s.one(10)}
	if s.one(8) {
		b.HookCode = 1
	}
	if s.one(8) {
		b.ExecErrno = []int{2, 11}[s.chance.IntN(2)]
	}
	if s.one(12) {
		b.ParkErrno = 11
	}
	if s.one(6) {
		b.SweepsInVain = 2
	}
	return b
}

func (s *simulation) configure() {
	var specs []event.Spec
	for i := range 4 {
		if spec, ok := s.specs[fmt.Sprintf("s%d", i)]; ok {
			specs = append(specs, spec)
		}
	}
	if s.file = configure(specs...); s.one(2) {
		s.input(s.file)
		return
	}
	s.serial++
	s.file.Digest = fmt.Sprintf("d%d", s.serial)
	s.send(event.VerbApply, nil)
}

func (s *simulation) service() string { return fmt.Sprintf("s%d", s.chance.IntN(4)) }

func (s *simulation) note(format string, args ...any) {
	s.actions = append(s.actions, fmt.Sprintf("%d: ", len(s.records))+fmt.Sprintf(format, args...))
}

func (s *simulation) step() {
	if s.untilCrash < 0 && s.one(4) {
		s.untilCrash = s.chance.IntN(30)
	}
	switch n := s.chance.IntN(100); {
	case n < 30:
		verbs := []event.Verb{event.VerbStart, event.VerbStop, event.VerbRestart, event.VerbSignal}
		verb := verbs[s.chance.IntN(len(verbs))]
		var args map[string]string
		if verb == event.VerbSignal {
			args = map[string]string{event.ArgSignal: "USR1"}
		}
		target := s.service()
		if s.one(3) {
			target = "all"
		}
		s.send(verb, args, target)
	case n < 55:
		for range 1 + s.chance.IntN(4) {
			s.turn()
		}
	case n < 75:
		d := time.Duration(s.chance.IntN(3000)) * time.Millisecond
		s.note("calm %s", d)
		s.calm(d)
	case n < 79:
		s.speak()
	case n < 80:
		s.mute = !s.mute
		s.note("nobody gets ready: %v", s.mute)
	case n < 85:
		name := s.service()
		s.note("exit %s", name)
		s.w.Exit(name, s.chance.IntN(2))
	case n < 88:
		s.hang = !s.hang
		s.note("disk hangs %v", s.hang)
	case n < 92:
		i := s.chance.IntN(4)
		name := fmt.Sprintf("s%d", i)
		s.note("configure %s", name)
		if delete(s.specs, name); !s.one(3) {
			s.specs[name] = s.spec(i)
		}
		s.configure()
	case n < 94:
		s.note("all are lost")
		s.w.NewKeeper()
		s.boot()
	case n < 95:
		s.note("reboot")
		s.records = s.records[:s.keptAfterReboot()]
		s.w.Reboot()
		s.forget()
		s.boot()
	case n < 97:
		s.shutdown()
	default:
		s.note("the engine is killed")
		s.boot()
	}
}

// keptAfterReboot is what a reboot leaves: what is durable. The run log is
// erased with every process (R1).
func (s *simulation) keptAfterReboot() int { return int(s.durable) }

// forget drops the clients, who have gone with the machine.
func (s *simulation) forget() {
	s.commands, s.outcomes = map[string]event.CommandRequest{}, map[string]event.Outcome{}
}

// speak has a service say something, of an instance that may be gone by now.
func (s *simulation) speak() {
	name := s.service()
	v := s.core.State().Services[name]
	if v == nil || v.Instance == nil {
		return
	}
	id := v.Instance.ID
	in := []policy.Input{
		policy.Ready{Service: name, Instance: id, By: "notify"},
		policy.Reloading{Service: name, Instance: id},
		policy.Extended{Service: name, Instance: id, For: 5 * time.Second},
		policy.WatchdogMissed{Service: name, Instance: id},
		policy.Health{Service: name, Instance: id, Probe: "tcp", From: event.Healthy, To: event.Unhealthy, Failures: 3, Error: "x"},
		policy.Health{Service: name, Instance: id, Probe: "tcp", From: event.Unhealthy, To: event.Healthy},
	}[s.chance.IntN(6)]
	s.note("%+v", in)
	s.input(in)
}

func (s *simulation) shutdown() {
	s.note("shutdown")
	in := policy.Shutdown{Reason: "signal", KeepServices: s.one(2), Forced: s.one(2)}
	for !s.do(func() error { return s.core.Step(in) }) { // the keeper tells the next engine again
	}
	if !in.Forced {
		s.w.Release()
	}
	s.hang = false
	s.calm(2 * time.Minute) // a hook may take its time
	if !s.quit || !s.core.State().Supd.Stopped {
		s.fatalf("an orderly end does not come")
	}
	s.quit = false
	s.w.NewKeeper()
	s.forget()
	s.boot()
}
