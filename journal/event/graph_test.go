package event

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func requires(names ...string) Spec {
	var s Spec
	for _, n := range names {
		s.Requires = append(s.Requires, Dependency{Name: n})
	}
	return s
}

func TestGraph(t *testing.T) {
	zero, one := 0, 1
	web := requires("db", "setup")
	web.After, web.Wants = []Dependency{{Name: "log", Condition: ConditionStarted}}, []Dependency{{Name: "db-1", Condition: ConditionStarted}, {Name: "nil"}}
	web.Conflicts = []string{"old", "none"}
	g := NewGraph(map[string]Spec{
		"web": web, "old": {}, "log": {Ready: &Ready{}}, "setup": {Type: TypeOneshot},
		"db-0": {Base: "db", Replica: &zero, Ready: &Ready{}}, "db-1": {Base: "db", Replica: &one, Ready: &Ready{}},
	})
	want := []Edge{
		{"db-0", ConditionReady, true, true},
		{"db-1", ConditionReady, true, true},
		{"log", ConditionStarted, false, false},
		{"setup", ConditionCompleted, true, true},
	}
	if diff := cmp.Diff(want, g.Needs("web")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Edge{{"web", ConditionReady, true, true}}, g.NeededBy("db-0")); diff != "" {
		t.Error(diff)
	}
	if !slices.Equal(g.Conflicts("old"), []string{"web"}) || !slices.Equal(g.Conflicts("web"), []string{"old"}) {
		t.Errorf("conflicts are not symmetric: %v %v", g.Conflicts("old"), g.Conflicts("web"))
	}
	if diff := cmp.Diff([]Missing{{"web", "wants", "nil"}, {"web", "conflicts", "none"}}, g.Missing()); diff != "" {
		t.Error(diff)
	}
	if g.Cycle() != nil {
		t.Error(g.CycleText())
	}
}

func TestCycle(t *testing.T) {
	g := NewGraph(map[string]Spec{"a": requires("b"), "b": requires("c"), "c": requires("b", "d"), "d": {}, "e": requires("e")})
	if got := g.CycleText(); got != "b → c → b" {
		t.Error(got)
	}
	if len(g.Order()) != 5 || len(g.Needs("c")) != 1 || len(g.Needs("e")) != 0 || len(g.Needs("a")) != 1 {
		t.Errorf("%v; c needs %v", g.Order(), g.Needs("c"))
	}
}

func TestCriticalPath(t *testing.T) {
	g := NewGraph(map[string]Spec{"web": requires("db", "log", "cache"), "db": requires("disk"), "log": {}, "disk": {}, "cache": {}})
	at := map[string][2]int64{"disk": {1, 5}, "db": {5, 9}, "log": {1, 2}, "cache": {20, 21}} // cache was restarted
	look := func(n string) (int64, int64, bool) {
		t, ok := at[n]
		if !ok {
			t[0] = 10
		}
		return t[0], t[1], ok
	}
	if got := g.CriticalPath("web", look); !slices.Equal(got, []string{"disk", "db", "web"}) {
		t.Error(got)
	}
}

// TestGraphOrder: whatever depends on whatever, every service comes behind
// what it still needs, and a circle that is named is one.
func TestGraphOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "services")
		specs := map[string]Spec{}
		for i := range n {
			var to []string
			for _, j := range rapid.SliceOfN(rapid.IntRange(0, n-1), 0, 3).Draw(t, "needs") {
				to = append(to, fmt.Sprint("s", j))
			}
			specs[fmt.Sprint("s", i)] = requires(to...)
		}
		g := NewGraph(specs)
		at := map[string]int{}
		for i, name := range g.Order() {
			at[name] = i
		}
		edges := 0
		for name := range specs {
			for _, e := range g.Needs(name) {
				edges++
				if at[e.Service] >= at[name] {
					t.Fatalf("%s needs %s and comes before it", name, e.Service)
				}
			}
		}
		if len(at) != n {
			t.Fatalf("%d of %d services are ordered", len(at), n)
		}
		c := g.Cycle()
		for i := 1; i < len(c); i++ {
			if !slices.ContainsFunc(specs[c[i-1]].Requires, func(d Dependency) bool { return d.Name == c[i] }) {
				t.Fatalf("no circle: %s", g.CycleText())
			}
		}
		if c != nil && c[0] != c[len(c)-1] {
			t.Fatalf("no circle: %s", g.CycleText())
		}
		if rest := NewGraph(withoutCycles(specs, g)); rest.Cycle() != nil {
			t.Fatalf("a circle is left: %s", rest.CycleText())
		}
	})
}

func withoutCycles(specs map[string]Spec, g *Graph) map[string]Spec {
	out := map[string]Spec{}
	for name := range specs {
		var to []string
		for _, e := range g.Needs(name) {
			to = append(to, e.Service)
		}
		out[name] = requires(to...)
	}
	return out
}
