package timeline

import (
	"math"
	"slices"
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
	at := func(name string) (started, when int64, ready bool) {
		v := s.Services[name]
		started = math.MaxInt64
		if t := startedAt(v); t != nil {
			started = t.UnixNano()
		}
		if t := readyAt(v); t != nil {
			return started, t.UnixNano(), true
		}
		return started, 0, false
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

// Around is the part of a graph that has the named services and everything
// they need, directly or not, in the same order.
func Around(nodes []GraphNode, names []string) []GraphNode {
	wanted := map[string]bool{}
	for _, name := range names {
		wanted[name] = true
	}
	part := []GraphNode{}
	for _, n := range slices.Backward(nodes) { // each comes before what it needs
		if !wanted[n.Service] {
			continue
		}
		for _, e := range n.Needs {
			wanted[e.Service] = true
		}
		part = append(part, n)
	}
	slices.Reverse(part)
	return part
}

// took is how long a service's own start took; ok is false if it is not over.
func (n GraphNode) took() (d time.Duration, ok bool) {
	if n.StartedAt == nil || n.ReadyAt == nil {
		return 0, false
	}
	return max(0, n.ReadyAt.Sub(*n.StartedAt)), true
}

// Critical is the critical path that matters most: of all, the one whose own
// starts took longest together.
func Critical(nodes []GraphNode) (path []string, took time.Duration) {
	own := map[string]time.Duration{}
	for _, n := range nodes { // each behind what it needs
		own[n.Service], _ = n.took()
		sum := time.Duration(0)
		for _, name := range n.CriticalPath {
			sum += own[name]
		}
		if _, over := n.took(); over && (sum > took || path == nil) {
			path, took = n.CriticalPath, sum
		}
	}
	return path, took
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
	switch x := v.LastExit; {
	case v.Instance != nil:
		return &v.Instance.Started.Wall
	case v.Completed && x != nil:
		t := x.At.Wall.Add(-time.Duration(x.Uptime))
		return &t
	}
	return nil
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
