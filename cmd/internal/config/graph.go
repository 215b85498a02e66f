package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"supd/cmd/internal/spelling"
	"supd/journal/event"
)

// named is a name in a list, with where it is.
type named struct {
	name, condition string
	at              position
}

// member is a service as it is written, replicas not expanded: they depend on
// the same.
type member struct {
	name  string
	spec  event.Spec
	count *int
	named map[string][]named // by key
}

// ordering are the keys that make a service wait for another.
var ordering = []string{"requires", "wants", "after"}

// readDependencies reads a list of names or {name, condition}.
func (s *settings) readDependencies(to *[]event.Dependency) reader {
	return func(c *cell) {
		if !c.is(aList, `a list such as ["db", { name = "cache", condition = "started" }]`) {
			return
		}
		list, found := []event.Dependency{}, []named{}
		c.elements(func(c *cell) {
			var d event.Dependency
			switch c.v.kind {
			case aString:
				d.Name, _ = c.text("")
			case aTable:
				has := map[string]position{}
				c.l.decode(c.v, c.key, "", []key{
					{"name", parsed(&d.Name, func(s string) (string, error) { return s, nil }, "a name in quotes")},
					{"condition", oneOf(&d.Condition, event.ConditionStarted, event.ConditionReady, event.ConditionCompleted)},
				}, has)
				if _, ok := has["name"]; !ok {
					c.wrong("", "needs a name")
					return
				}
			default:
				c.wrong("", "must hold names or tables with name and condition, not %s", c.v.kind)
				return
			}
			if d.Name == "" {
				return // said already, or nothing to say
			}
			if slices.ContainsFunc(list, func(o event.Dependency) bool { return o.Name == d.Name }) {
				c.wrong("", "names %s twice", d.Name)
				return
			}
			list, found = append(list, d), append(found, named{d.Name, d.Condition, c.v.at})
		})
		*to, s.named[c.key] = list, found
	}
}

// readNames reads a list of names.
func (s *settings) readNames(to *[]string) reader {
	return func(c *cell) {
		if !c.is(aList, `a list such as ["one", "other"]`) {
			return
		}
		list, found := []string{}, []named{}
		c.elements(func(c *cell) {
			name, ok := c.text("a name in quotes")
			switch {
			case !ok:
			case slices.Contains(list, name):
				c.wrong("", "names %s twice", name)
			default:
				list, found = append(list, name), append(found, named{name: name, at: c.v.at})
			}
		})
		*to, s.named[c.key] = list, found
	}
}

// notice remembers a service for checkGraph.
func (l *loader) notice(p pending, s *settings) {
	l.nodes = append(l.nodes, &member{p.name, s.spec, s.count, s.named})
}

// graph finds services by the names that may stand for them.
type graph struct {
	l      *loader
	byName map[string]*member // a replica's name too
	names  []string           // all of them
	groups map[string]bool
}

// checkGraph looks at what the services say of each other, when all are known.
func (l *loader) checkGraph() {
	slices.SortFunc(l.nodes, func(a, b *member) int { return cmp.Compare(a.name, b.name) })
	g := &graph{l: l, byName: map[string]*member{}, groups: map[string]bool{}}
	for _, n := range l.nodes {
		g.add(n.name, n)
		if n.count != nil {
			for i := range *n.count {
				g.add(fmt.Sprintf("%s-%d", n.name, i), n)
			}
		}
	}
	conflicts := false
	for _, n := range l.nodes {
		for _, group := range n.named["groups_of"] {
			g.group(n, group)
		}
		conflicts = conflicts || len(n.named["conflicts"]) > 0
	}
	for _, n := range l.nodes {
		for _, key := range append([]string{"conflicts"}, ordering...) {
			for _, d := range n.named[key] {
				g.one(n, key, d)
			}
		}
	}
	g.cycles()
	if conflicts {
		g.conflicts()
	}
}

func (g *graph) add(name string, n *member) {
	if g.byName[name] == nil {
		g.byName[name] = n
		g.names = append(g.names, name)
	}
}

// group checks the name of a group: in commands it stands beside services.
func (g *graph) group(n *member, group named) {
	if err := event.CheckServiceName(group.name); err != nil {
		g.l.problem(group.at, "", "`groups_of`: %s", strings.Replace(err.Error(), "service name", "group name", 1))
		return
	}
	if other := g.byName[group.name]; other != nil {
		g.l.problem(group.at, "a command could mean either: choose another name", "`groups_of`: %s is the name of a service, too", group.name)
	}
	g.groups[group.name] = true
}

// one checks one name of one list.
func (g *graph) one(n *member, key string, d named) {
	other := g.byName[d.name]
	switch {
	case other == nil && g.l.cut:
		// The rest of a broken file may have it.
	case other == nil && g.groups[d.name]:
		g.l.problem(d.at, "groups stand for services in commands only: name the services", "`%s`: %s is a group", key, d.name)
	case other == nil:
		hint := ""
		if near := spelling.Nearest(d.name, g.names); near != "" {
			hint = "did you mean " + near + "?"
		}
		g.l.problem(d.at, hint, "`%s`: no service %q", key, d.name)
	case other == n && key == "conflicts":
		g.l.problem(d.at, "", "`conflicts`: service `%s` would be in conflict with itself", n.name)
	case other == n:
		g.l.problem(d.at, "", "`%s`: service `%s` would wait for itself", key, n.name)
	case key == "requires" && other.count != nil && *other.count == 0:
		g.l.problem(d.at, "", "`requires`: service `%s` could never start: there are no replicas of `%s`", n.name, d.name)
	case d.condition == event.ConditionCompleted && !other.spec.Oneshot():
		g.l.problem(d.at, "write the condition started or ready, or give it `type = \"oneshot\"`", "`%s`: service `%s` never completes: it is no oneshot", key, other.name)
	}
}

// edge is that a service names another.
type edge struct {
	to  *member
	key string
	at  position
}

func (g *graph) edges(n *member, keys ...string) (out []edge) {
	seen := map[*member]bool{n: true}
	for _, key := range keys {
		for _, d := range n.named[key] {
			if to := g.byName[d.name]; to != nil && !seen[to] {
				seen[to] = true
				out = append(out, edge{to, key, d.at})
			}
		}
	}
	return out
}

// cycles reports circles of services that would wait for each other, each
// where the search closes it.
func (g *graph) cycles() {
	const (
		fresh = iota
		open
		done
	)
	state := map[*member]int{}
	var path []*member
	var visit func(n *member)
	visit = func(n *member) {
		state[n] = open
		path = append(path, n)
		for _, e := range g.edges(n, ordering...) {
			switch state[e.to] {
			case fresh:
				visit(e.to)
			case open:
				var circle []string
				for _, on := range path[slices.Index(path, e.to):] {
					circle = append(circle, on.name)
				}
				g.l.problem(e.at, "remove one of these dependencies", "`%s`: services wait for each other: %s → %s", e.key, strings.Join(circle, " → "), e.to.name)
			}
		}
		path = path[:len(path)-1]
		state[n] = done
	}
	for _, n := range g.l.nodes {
		if state[n] == fresh {
			visit(n)
		}
	}
}

// conflicts reports services that could never start, because what they
// require, directly or not, is in conflict with them or with each other.
func (g *graph) conflicts() {
	told := map[*member]bool{}
	for _, n := range g.l.nodes {
		edges := g.edges(n, "requires")
		if len(edges) == 0 {
			continue
		}
		needed, seen := []*member{n}, map[*member]bool{n: true}
		for i := 0; i < len(needed); i++ {
			for _, e := range g.edges(needed[i], "requires") {
				if !seen[e.to] {
					seen[e.to], needed = true, append(needed, e.to)
				}
			}
		}
		for _, a := range needed {
			for _, e := range g.edges(a, "conflicts") {
				if seen[e.to] && !told[n] {
					told[n] = true
					g.l.problem(edges[0].at, "", "`requires`: service `%s` could never start: it needs `%s` and `%s`, which are in conflict at %s", n.name, a.name, e.to.name, e.at)
				}
			}
		}
	}
}
