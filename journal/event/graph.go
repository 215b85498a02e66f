package event

import (
	"maps"
	"slices"
	"strings"
)

// Edge is one dependency between two services that exist.
type Edge struct {
	Service   string // the other one
	Condition string // started, ready, completed: never empty
	Requires  bool   // without it the service does not start
	Pulls     bool   // it is wanted with the service: requires or wants
}

// Missing is a name that no service has.
type Missing struct {
	Service string // that names it
	Key     string // after, requires, wants, conflicts
	Name    string
}

// Graph is how services depend on each other. It is a value computed from
// specifications once, for many questions; it must not be changed, and may be
// read by several goroutines.
//
// Dependencies that go round in a circle would never start anything. A reader
// of configurations refuses them with Cycle; a Graph leaves the edges within a
// circle out, so that even then no service waits for itself.
type Graph struct {
	needs, neededBy map[string][]Edge
	conflicts       map[string][]string
	missing         []Missing
	cycle           []string
	order           []string
}

// NewGraph computes the graph of services by name. Time and memory are linear
// in services and edges. A base name stands for all its replicas.
func NewGraph(specs map[string]Spec) *Graph {
	g := &Graph{needs: map[string][]Edge{}, neededBy: map[string][]Edge{}, conflicts: map[string][]string{}}
	names := slices.Sorted(maps.Keys(specs))
	replicas := map[string][]string{}
	for _, name := range names {
		if s := specs[name]; s.Replica != nil {
			replicas[s.Base] = append(replicas[s.Base], name)
		}
	}
	resolve := func(name string) []string {
		if _, is := specs[name]; is {
			return []string{name}
		}
		return replicas[name]
	}
	for _, name := range names {
		g.addNeeds(name, specs, resolve)
		g.addConflicts(name, specs[name], resolve)
	}
	for name := range g.conflicts {
		slices.Sort(g.conflicts[name])
		g.conflicts[name] = slices.Compact(g.conflicts[name])
	}
	g.sort(names)
	for _, name := range names {
		for _, e := range g.needs[name] {
			back := e
			back.Service = name
			g.neededBy[e.Service] = append(g.neededBy[e.Service], back)
		}
	}
	return g
}

func (g *Graph) addNeeds(name string, specs map[string]Spec, resolve func(string) []string) {
	spec := specs[name]
	in := func(list []Dependency, wanted string) bool {
		return slices.ContainsFunc(list, func(d Dependency) bool { return d.Name == wanted })
	}
	for _, d := range spec.DependsOn() {
		required, pulled := in(spec.Requires, d.Name), in(spec.Wants, d.Name)
		targets := resolve(d.Name)
		if len(targets) == 0 {
			key := "after"
			if required {
				key = "requires"
			} else if pulled {
				key = "wants"
			}
			g.missing = append(g.missing, Missing{Service: name, Key: key, Name: d.Name})
		}
		for _, target := range targets {
			e := Edge{Service: target, Condition: d.Condition, Requires: required, Pulls: required || pulled}
			if e.Condition == "" {
				e.Condition = specs[target].ownCondition()
			}
			at := slices.IndexFunc(g.needs[name], func(have Edge) bool { return have.Service == target })
			if at < 0 {
				g.needs[name] = append(g.needs[name], e)
				continue
			}
			have := &g.needs[name][at] // a replica that is named, and its base too
			have.Requires, have.Pulls = have.Requires || e.Requires, have.Pulls || e.Pulls
		}
	}
	slices.SortFunc(g.needs[name], func(a, b Edge) int { return strings.Compare(a.Service, b.Service) })
}

// ownCondition is what a dependency on this service means that names none.
func (s Spec) ownCondition() string {
	switch {
	case s.Oneshot():
		return ConditionCompleted
	case s.Ready != nil:
		return ConditionReady
	}
	return ConditionStarted
}

// addConflicts is symmetric: each of the two may not start beside the other.
func (g *Graph) addConflicts(name string, spec Spec, resolve func(string) []string) {
	for _, c := range spec.Conflicts {
		targets := resolve(c)
		if len(targets) == 0 {
			g.missing = append(g.missing, Missing{Service: name, Key: "conflicts", Name: c})
		}
		for _, target := range targets {
			if target != name {
				g.conflicts[name] = append(g.conflicts[name], target)
				g.conflicts[target] = append(g.conflicts[target], name)
			}
		}
	}
}

// sort orders the services so that each comes behind what it needs, finds the
// first circle, and takes the edges out that run within one.
func (g *Graph) sort(names []string) {
	const (
		unseen = iota
		open
		done
	)
	state, depth := map[string]int{}, map[string]int{}
	type frame struct {
		name string
		next int
	}
	for _, root := range names {
		if state[root] != unseen {
			continue
		}
		path := []frame{{name: root}} // no recursion: a chain may be as long as there are services
		state[root], depth[root] = open, 0
		for len(path) > 0 {
			top := &path[len(path)-1]
			if top.next == len(g.needs[top.name]) {
				state[top.name] = done
				g.order = append(g.order, top.name)
				path = path[:len(path)-1]
				continue
			}
			to := g.needs[top.name][top.next].Service
			switch state[to] {
			case unseen:
				top.next++
				state[to], depth[to] = open, len(path)
				path = append(path, frame{name: to})
			case open:
				if g.cycle == nil {
					for _, f := range path[depth[to]:] {
						g.cycle = append(g.cycle, f.name)
					}
					g.cycle = append(g.cycle, to)
				}
				g.needs[top.name] = slices.Delete(g.needs[top.name], top.next, top.next+1)
			default:
				top.next++
			}
		}
	}
}

// Needs lists what a service depends on, sorted by name.
func (g *Graph) Needs(service string) []Edge { return g.needs[service] }

// NeededBy lists what depends on a service, sorted by name.
func (g *Graph) NeededBy(service string) []Edge { return g.neededBy[service] }

// Conflicts lists what may not live beside a service, sorted.
func (g *Graph) Conflicts(service string) []string { return g.conflicts[service] }

// Missing lists the names that no service has, by the service that gives them.
func (g *Graph) Missing() []Missing { return g.missing }

// Cycle is a circle of dependencies, its first service again at the end; nil
// if there is none.
func (g *Graph) Cycle() []string { return g.cycle }

// CycleText spells a circle out: "a → b → a"; empty if there is none.
func (g *Graph) CycleText() string { return strings.Join(g.cycle, " → ") }

// Order lists all services, each behind what it needs.
func (g *Graph) Order() []string { return g.order }

// CriticalPath is the chain of needs that made a service start as late as it
// did, the first to start at the front: from the service back to what was ready
// last before it started, and so on. at gives when a service started and when
// it was ready, in any unit; ready is false for one that was not, which ends
// the chain, and one that has not started yet starts at the end of time.
func (g *Graph) CriticalPath(service string, at func(string) (started, when int64, ready bool)) []string {
	path := []string{service}
	for {
		start, _, _ := at(service)
		last, when := "", int64(0)
		for _, e := range g.needs[service] {
			// What was ready later only, restarted meanwhile, was not waited for.
			if _, t, ok := at(e.Service); ok && t <= start && (last == "" || t > when) {
				last, when = e.Service, t
			}
		}
		if last == "" {
			slices.Reverse(path)
			return path
		}
		path, service = append(path, last), last
	}
}
