package executor

import (
	"fmt"
	"time"

	"supd/executor/policy/policytest"
	"supd/journal/event"
)

// define changes a service of the configuration, or takes it away.
func (s *simulation) define(i int) {
	name := fmt.Sprintf("s%d", i)
	if delete(s.specs, name); len(s.records) < 10 || !s.one(3) {
		s.specs[name] = s.spec(i)
		s.left[name] = s.left[name] || s.specs[name].Stop.Mode == event.StopMain
	}
	s.note("define %s", name)
}

// configure has the configuration applied, by supd itself or by a command.
func (s *simulation) configure() {
	var specs []event.Spec
	for i := range simServices {
		if spec, ok := s.specs[fmt.Sprintf("s%d", i)]; ok {
			specs = append(specs, spec)
		}
	}
	s.file = configure(specs...)
	if s.file.Start = s.limit; s.one(2) {
		s.input(s.file)
		return
	}
	s.serial++
	s.file.Digest = fmt.Sprintf("d%d", s.serial)
	s.send(event.VerbApply, nil)
}

func (s *simulation) spec(i int) event.Spec {
	spec := rigSpec(fmt.Sprintf("s%d", i))
	spec.Autostart, spec.Nice = s.one(2), s.chance.IntN(2)
	spec.Restart = []string{"always", "always", "on-failure", "never"}[s.chance.IntN(4)]
	spec.MaxRetries = []int{-1, -1, 0, 3}[s.chance.IntN(4)]
	spec.Stop.Mode = []string{"tree", "tree", "group", "main"}[s.chance.IntN(4)]
	spec.Stop.Timeout = event.Duration([]time.Duration{0, time.Second, 10 * time.Second}[s.chance.IntN(3)])
	spec.ReloadSignal = []string{"SIGHUP", ""}[s.chance.IntN(2)]
	spec.Priority = s.chance.IntN(2)
	if s.one(5) {
		spec.Type, spec.Remain = event.TypeOneshot, s.one(2)
	} else if s.one(3) {
		spec.Ready = &event.Ready{Notify: true, Timeout: event.Duration(20 * time.Second)}
	}
	if s.one(4) {
		spec.Health = &event.Health{Failures: 1, Action: []string{"restart", "none"}[s.chance.IntN(2)]}
	}
	if s.one(4) {
		spec.Watchdog = event.Duration(time.Minute)
	}
	for _, hook := range []*[]string{&spec.Hooks.PreStart, &spec.Hooks.PostStart, &spec.Hooks.PreStop, &spec.Hooks.PostStop} {
		if s.one(6) {
			*hook = []string{"/bin/true"}
		}
	}
	s.depend(&spec, i)
	return spec
}

// depend gives a service its place in the graph. Dependencies point to lower
// numbers: a configuration with a circle is refused before.
func (s *simulation) depend(spec *event.Spec, i int) {
	for j := range i {
		d := event.Dependency{Name: fmt.Sprintf("s%d", j)}
		switch s.chance.IntN(8) {
		case 0, 1:
			spec.Requires = append(spec.Requires, d)
		case 2:
			spec.Wants = append(spec.Wants, d)
		case 3:
			spec.After = append(spec.After, d)
		case 4:
			spec.Conflicts = append(spec.Conflicts, d.Name)
		}
	}
}

// behaviour is what the next instance of a service will be like.
func (s *simulation) behaviour(string) policytest.Behaviour {
	b := policytest.Behaviour{Stubborn: s.one(4), Unkillable: s.one(25), Leaves: s.one(3), HookSilent: s.one(10), Hidden: s.one(4), ToldLate: s.one(4), Daemons: max(0, s.chance.IntN(12)-9)}
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
	if s.one(4) {
		b.DiesIn = time.Duration(s.chance.IntN(8000)) * time.Millisecond
	}
	if s.one(4) {
		b.LivesFor, b.ExitCode = time.Duration(1+s.chance.IntN(900))*time.Millisecond, s.chance.IntN(2)
	}
	return b
}
