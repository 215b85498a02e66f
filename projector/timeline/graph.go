package timeline

import (
	"time"

	"supd/journal/event"
	"supd/projector"
)

// GraphNode is one service among those it depends on, with the times of its
// newest instance. What is absent is nil, never 0.
type GraphNode struct {
	Service   string      `json:"service"`
	Want      event.Want  `json:"want"`
	State     event.Phase `json:"state"`
	Type      string      `json:"type"` // simple, oneshot
	Needs     []GraphEdge `json:"needs"`
	Conflicts []string    `json:"conflicts"`
	StartedAt *time.Time  `json:"started_at"` // its gate opened
	ReadyAt   *time.Time  `json:"ready_at"`   // it met what others wait for: running, ready or completed
	Reason    *string     `json:"reason"`     // what it waits for, or why it is where it is
	// CriticalPath is the chain of needs that made it ready as late as it was,
	// itself at the end.
	CriticalPath []string `json:"critical_path"`
}

// GraphEdge is one need of a service.
type GraphEdge struct {
	Service   string `json:"service"`
	Condition string `json:"condition"` // started, ready, completed
	Kind      string `json:"kind"`      // requires, wants, after
}

// Graph lists all services, each behind what it needs.
func Graph(s *projector.State) []GraphNode {
	g := s.Graph()
	nodes := make([]GraphNode, 0, len(s.Services))
	at := func(name string) (int64, bool) {
		t := readyAt(s.Services[name])
		if t == nil {
			return 0, false
		}
		return t.UnixNano(), true
	}
	for _, name := range g.Order() {
		v := s.Services[name]
		if v.Removed {
			continue
		}
		n := GraphNode{
			Service: name, Want: v.Want, State: v.Phase, Type: v.Spec.Type, Needs: []GraphEdge{}, Conflicts: g.Conflicts(name),
			StartedAt: startedAt(v), ReadyAt: readyAt(v), Reason: reason(v), CriticalPath: g.CriticalPath(name, at),
		}
		if n.Type == "" {
			n.Type = event.TypeSimple
		}
		if n.Conflicts == nil {
			n.Conflicts = []string{}
		}
		for _, e := range g.Needs(name) {
			n.Needs = append(n.Needs, GraphEdge{Service: e.Service, Condition: e.Condition, Kind: edgeKind(e)})
		}
		nodes = append(nodes, n)
	}
	return nodes
}

func edgeKind(e event.Edge) string {
	switch {
	case e.Requires:
		return "requires"
	case e.Pulls:
		return "wants"
	}
	return "after"
}

func startedAt(v *projector.Service) *time.Time {
	if v.Instance == nil {
		return nil
	}
	return &v.Instance.Started.Wall
}

// readyAt is when a service met what others wait for, if it still does.
func readyAt(v *projector.Service) *time.Time {
	switch i := v.Instance; {
	case v.Completed:
		return &v.LastExit.At.Wall
	case i == nil || i.Stop != nil || !i.IsReady() || v.Spec.Oneshot():
		return nil
	case i.Awaits:
		return &i.Ready.Wall
	default:
		return &i.Running.Wall
	}
}
