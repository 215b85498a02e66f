package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"supd/journal/event"
)

// replicaMark stands in a template where a replica has its number. It is longer
// than any number, so that what fits with it fits with all of them, and of
// characters that no text has.
const replicaMark = "\ue000replica\ue000"

// Replicas is a service with `count`, from which any number of replicas can be
// made: a command that scales it must not read files that nobody applied (R11).
type Replicas struct {
	Count    int     `json:"count"`    // as the configuration says
	Template Service `json:"template"` // a replica, with a mark in place of its number
	At       Place   `json:"at"`       // of count
}

// Place is where a key is in a file.
type Place struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
}

func (r Replicas) base() string { return r.Template.Spec.Base }

// replicaName is what the replica with this number is called.
func replicaName(base string, number int) string { return base + "-" + strconv.Itoa(number) }

// replica is the one with this number.
func (r Replicas) replica(number int) Service {
	text := func(s string) string { return strings.ReplaceAll(s, replicaMark, strconv.Itoa(number)) }
	list := func(old []string) []string {
		fresh := slices.Clone(old)
		for i := range fresh {
			fresh[i] = text(fresh[i])
		}
		return fresh
	}
	exec := func(x event.LaunchExec) event.LaunchExec {
		return event.LaunchExec{Paths: list(x.Paths), Args: list(x.Args)}
	}
	s := r.Template
	s.Name, s.Spec.Replica, s.ExplicitEnv = replicaName(r.base(), number), &number, list(s.ExplicitEnv)
	l := &s.Launch
	l.Paths, l.Args, l.Env, l.Hooks = list(l.Paths), list(l.Args), list(l.Env), maps.Clone(l.Hooks)
	for name, x := range l.Hooks {
		l.Hooks[name] = exec(x)
	}
	for _, p := range []**event.LaunchExec{&l.ReadyExec, &l.HealthExec} {
		if *p != nil {
			x := exec(**p)
			*p = &x
		}
	}
	return s
}

// Counts are the numbers of replicas by the base names of services that have
// `count`: those of commands where there are any, else those of the files.
func (s *Set) Counts() map[string]int {
	counts := map[string]int{}
	for _, r := range s.Replicas {
		counts[r.base()] = r.Count
	}
	maps.Copy(counts, s.Scale)
	return counts
}

// Scaled is the same configuration with the counts that commands have set.
// What the configuration has no `count` for, or the same, is left out: a file
// that says what a command said rules again. An error says why these counts
// cannot be.
func (s *Set) Scaled(counts map[string]int) (*Set, error) {
	next := *s
	next.Scale, next.Services = nil, nil
	template := map[string]bool{}
	for _, r := range s.Replicas {
		template[r.base()] = true
	}
	for _, old := range s.Services {
		if old.Spec.Replica == nil || !template[old.Spec.Base] {
			next.Services = append(next.Services, old)
		}
	}
	for _, r := range s.Replicas {
		n, set := counts[r.base()]
		if !set || n == r.Count {
			n = r.Count
		} else {
			if next.Scale == nil {
				next.Scale = map[string]int{}
			}
			next.Scale[r.base()] = n
		}
		if len(next.Services)+n > MaxServices {
			return nil, fmt.Errorf("that makes more than %d services, replicas counted", MaxServices)
		}
		for i := range n {
			next.Services = append(next.Services, r.replica(i))
		}
	}
	slices.SortFunc(next.Services, func(a, b Service) int { return strings.Compare(a.Name, b.Name) })
	return &next, next.check()
}

// check looks for what another number of replicas may break.
func (s *Set) check() error {
	specs, counts := map[string]event.Spec{}, s.Counts()
	for _, v := range s.Services {
		if _, twice := specs[v.Name]; twice {
			return fmt.Errorf("the name %s would be that of a replica and of another service", v.Name)
		}
		if len(v.Name) > event.MaxServiceName {
			return fmt.Errorf("the name %s would be longer than %d characters", v.Name, event.MaxServiceName)
		}
		specs[v.Name] = v.Spec
	}
	for _, m := range event.NewGraph(specs).Missing() {
		if n, base := counts[m.Name]; m.Key == "requires" && base && n == 0 {
			return fmt.Errorf("%s requires %s, of which there would be no replica", m.Service, m.Name)
		} else if m.Key == "requires" {
			return fmt.Errorf("%s requires %s, which would not be there", m.Service, m.Name)
		}
	}
	return nil
}

// Overridden are warnings about counts that commands have set: what the files
// say there does not count.
func (s *Set) Overridden() []Problem {
	var list []Problem
	for _, r := range s.Replicas {
		n, set := s.Scale[r.base()]
		if !set {
			continue
		}
		p := Problem{File: r.At.File, Line: r.At.Line, Column: r.At.Column, Warning: true}
		p.Hint = fmt.Sprintf("to have the file count again: supctl scale %s=%d", r.base(), r.Count)
		p.Message = fmt.Sprintf("`service.%s.count`: a command has set it to %d in place of %d", r.base(), n, r.Count)
		list = append(list, p)
	}
	return list
}
