package timeline

import (
	"fmt"
	"strings"
	"time"

	"supd/journal/event"
)

// critical marks what is on the critical path.
const critical = "*"

// maxTree bounds the lines of a tree: a service that many need is drawn with
// what it needs once, but named below each of them.
const maxTree = 20_000

// Graph are the lines of a dependency graph as trees: each service that no
// other needs, and below it what it needs. What is on the critical path, which
// the last line spells out, has a star.
func (t Table) Graph(nodes []GraphNode) []string {
	g := &tree{byName: map[string]GraphNode{}, drawn: map[string]bool{}, critical: map[string]bool{}, table: t}
	needed := map[string]bool{}
	for _, n := range nodes {
		g.byName[n.Service] = n
		for _, e := range n.Needs {
			needed[e.Service] = true
		}
	}
	path, took := Critical(nodes)
	for _, name := range path {
		g.critical[name] = len(path) > 1 // one alone is no path
	}
	g.rows = [][]string{{"NAME", "STATE", "STARTED", "TOOK", "NEEDED", "REASON"}}
	for _, n := range nodes {
		if !needed[n.Service] {
			g.draw(n, GraphEdge{}, "", "")
		}
	}
	lines := Fit(g.rows, t.Width)
	if len(path) > 1 {
		steps := make([]string, len(path))
		for i, name := range path {
			steps[i] = clean(name)
			if d, ok := g.byName[name].took(); ok {
				steps[i] += " " + span(event.Duration(d))
			}
		}
		lines = append(lines, fmt.Sprintf("%s critical path: %s; together %s", critical, strings.Join(steps, " → "), span(event.Duration(took))))
	}
	return lines
}

type tree struct {
	byName   map[string]GraphNode
	drawn    map[string]bool
	critical map[string]bool
	table    Table
	rows     [][]string
}

func (g *tree) draw(n GraphNode, e GraphEdge, first, rest string) {
	if len(g.rows) >= maxTree {
		return
	}
	name := first + clean(n.Service)
	if g.critical[n.Service] {
		name += " " + critical
	}
	again := g.drawn[n.Service] && len(n.Needs) > 0
	if again {
		name += " (above)"
	}
	g.drawn[n.Service] = true
	row := []string{name, string(n.State), "-", "-", "-", ""}
	if n.StartedAt != nil {
		row[2] = moment(*n.StartedAt, g.table.Now)
	}
	if d, ok := n.took(); ok {
		row[3] = span(event.Duration(d))
	}
	if e.Kind != "" {
		row[4] = e.Kind + " " + e.Condition
	}
	if n.Reason != nil {
		row[5] = clean(*n.Reason)
	}
	g.rows = append(g.rows, row)
	if again {
		return
	}
	for i, e := range n.Needs {
		branch, below := "├─ ", "│  "
		if i == len(n.Needs)-1 {
			branch, below = "└─ ", "   "
		}
		if to, ok := g.byName[e.Service]; ok {
			g.draw(to, e, rest+branch, rest+below)
		}
	}
}

// moment is a time of today to the millisecond, or a day.
func moment(at, now time.Time) string {
	if at, now = at.Local(), now.Local(); now.Sub(at) < 24*time.Hour {
		return at.Format("15:04:05.000")
	}
	return at.Format("2006-01-02 15:04")
}

// Dot is a dependency graph in the language of graphviz: an arrow leads from
// what is needed to who needs it.
func Dot(nodes []GraphNode) string {
	var b strings.Builder
	b.WriteString("digraph supd {\n  rankdir=LR;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n")
	on := criticalEdges(nodes)
	for _, n := range nodes {
		label := clean(n.Service) + "\\n" + string(n.State)
		if d, ok := n.took(); ok {
			label += ", " + span(event.Duration(d))
		}
		fmt.Fprintf(&b, "  %q [label=\"%s\"];\n", clean(n.Service), label) // names have no quotes
	}
	for _, n := range nodes {
		for _, e := range n.Needs {
			style := map[string]string{"requires": "solid", "wants": "dashed", "after": "dotted"}[e.Kind]
			if on[[2]string{e.Service, n.Service}] {
				style += `, color=red, penwidth=2`
			}
			fmt.Fprintf(&b, "  %q -> %q [label=%q, style=%s];\n", clean(e.Service), clean(n.Service), e.Condition, style)
		}
	}
	b.WriteString("}\n")
	return b.String()
}

// criticalEdges are the steps of the critical path.
func criticalEdges(nodes []GraphNode) map[[2]string]bool {
	on := map[[2]string]bool{}
	path, _ := Critical(nodes)
	for i := 1; i < len(path); i++ {
		on[[2]string{path[i-1], path[i]}] = true
	}
	return on
}

// phaseFill is a service's colour in a drawing.
func phaseFill(p event.Phase) string {
	switch p {
	case event.PhaseRunning:
		return "#d9f2d9"
	case event.PhaseFatal, event.PhaseStuck:
		return "#f9d6d5"
	case event.PhaseStopped, event.PhaseExited:
		return "#eeeeee"
	}
	return "#fff3cd"
}
