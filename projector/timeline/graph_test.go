package timeline

import (
	"slices"
	"testing"
	"time"

	"supd/journal/event"
	"supd/projector"
)

func TestGraph(t *testing.T) {
	at := func(s int) *event.Moment {
		return &event.Moment{Wall: time.Date(2026, 1, 1, 0, 0, s, 0, time.UTC), Mono: int64(s)}
	}
	requires := func(names ...string) (s event.Spec) {
		for _, n := range names {
			s.Requires = append(s.Requires, event.Dependency{Name: n})
		}
		return s
	}
	s := projector.New()
	web := requires("db", "setup")
	web.After, web.Wants = []event.Dependency{{Name: "net"}}, []event.Dependency{{Name: "log"}}
	db := requires()
	db.Ready, db.Conflicts = &event.Ready{Notify: true}, []string{"old"}
	for name, spec := range map[string]event.Spec{"web": web, "db": db, "setup": {Type: event.TypeOneshot}, "log": {}, "net": {}, "old": {}} {
		s.Services[name] = &projector.Service{Name: name, Spec: spec, Phase: event.PhaseStopped}
	}
	s.Services["gone"] = &projector.Service{Name: "gone", Removed: true}
	s.Services["log"].Instance = &projector.Instance{Started: *at(1), Running: at(2)}
	s.Services["db"].Instance = &projector.Instance{Started: *at(1), Running: at(2), Awaits: true, Ready: at(9)}
	s.Services["setup"].Completed, s.Services["setup"].LastExit = true, &projector.LastExit{At: *at(5)}
	s.Services["net"].Instance = &projector.Instance{Started: *at(1), Running: at(3), Awaits: true}
	s.Services["web"].Phase, s.Services["web"].Waiting = event.PhaseWaiting, &projector.Waiting{For: []event.WaitFor{{Service: "net", Condition: "started"}}}

	nodes := map[string]GraphNode{}
	var order []string
	for _, n := range Graph(s) {
		nodes[n.Service] = n
		order = append(order, n.Service)
	}
	if want := []string{"db", "log", "net", "old", "setup", "web"}; !slices.Equal(order, want) {
		t.Errorf("%v, want %v", order, want)
	}
	want := []GraphEdge{{"db", "ready", "requires"}, {"log", "started", "wants"}, {"net", "started", "after"}, {"setup", "completed", "requires"}}
	if got := nodes["web"]; !slices.Equal(got.Needs, want) || !slices.Equal(got.CriticalPath, []string{"db", "web"}) || got.ReadyAt != nil ||
		got.Reason == nil || *got.Reason != "waits for net started" {
		t.Errorf("%+v", got)
	}
	for name, seconds := range map[string]int{"db": 9, "log": 2, "setup": 5} {
		if got := nodes[name].ReadyAt; got == nil || got.Second() != seconds {
			t.Errorf("%s was ready at %v", name, got)
		}
	}
	if nodes["net"].ReadyAt != nil || !slices.Equal(nodes["old"].Conflicts, []string{"db"}) {
		t.Errorf("%+v %+v", nodes["net"], nodes["old"])
	}
}
