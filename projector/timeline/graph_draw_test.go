package timeline

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"supd/journal/event"
)

func drawn() []GraphNode {
	at := func(ms int) *time.Time {
		t := time.Date(2026, 1, 1, 12, 0, 0, ms*1e6, time.UTC)
		return &t
	}
	why := "waits for \"<db>\" & co"
	return []GraphNode{
		{Service: "net", State: event.PhaseRunning, StartedAt: at(0), ReadyAt: at(100), CriticalPath: []string{"net"}},
		{
			Service: "db", State: event.PhaseRunning, StartedAt: at(100), ReadyAt: at(900), CriticalPath: []string{"net", "db"},
			Needs: []GraphEdge{{"net", "started", "after"}},
		},
		{
			Service: "api", State: event.PhaseRunning, StartedAt: at(900), ReadyAt: at(950), CriticalPath: []string{"net", "db", "api"},
			Needs: []GraphEdge{{"db", "ready", "requires"}, {"net", "started", "wants"}},
		},
		{
			Service: "web", State: event.PhaseWaiting, Reason: &why, CriticalPath: []string{"net", "db", "web"},
			Needs: []GraphEdge{{"db", "ready", "requires"}},
		},
	}
}

func TestGraphText(t *testing.T) {
	table := Table{Now: time.Date(2026, 1, 1, 13, 0, 0, 0, time.UTC)}
	var got []string
	for _, line := range table.Graph(drawn()) {
		got = append(got, strings.TrimRight(strings.Join(strings.Fields(line), " "), " "))
	}
	clock := func(ms int) string {
		return time.Date(2026, 1, 1, 12, 0, 0, ms*1e6, time.UTC).Local().Format("15:04:05.000")
	}
	want := []string{
		"NAME STATE STARTED TOOK NEEDED REASON",
		"api * running " + clock(900) + " 50ms -",
		"├─ db * running " + clock(100) + " 800ms requires ready",
		"│ └─ net * running " + clock(0) + " 100ms after started",
		"└─ net * running " + clock(0) + " 100ms wants started",
		"web waiting - - - waits for \"<db>\" & co",
		"└─ db * (above) running " + clock(100) + " 800ms requires ready",
		"* critical path: net 100ms → db 800ms → api 50ms; together 950ms",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, line := range (Table{Now: table.Now, Width: 60}).Graph(drawn())[:7] {
		if n := len([]rune(line)); n > 60 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if empty := table.Graph(nil); len(empty) != 1 {
		t.Error(empty)
	}
}

// TestDrawings: a drawing is XML whatever services say, its critical edges are
// red, and arrows lead from what is needed.
func TestDrawings(t *testing.T) {
	svg := SVG(drawn())
	d := xml.NewDecoder(strings.NewReader(svg))
	paths, red := 0, 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, svg)
		}
		e, ok := token.(xml.StartElement)
		if !ok || e.Name.Local != "path" {
			continue
		}
		paths++
		for _, a := range e.Attr {
			if a.Value == "#c00" {
				red++
			}
		}
	}
	if paths != 4 || red != 2 {
		t.Errorf("%d edges, %d red\n%s", paths, red, svg)
	}
	dot := Dot(drawn())
	for _, want := range []string{`"net" -> "db" [label="started", style=dotted, color=red`, `"net" -> "api" [label="started", style=dashed]`, `"web" [label="web\nwaiting"]`} {
		if !strings.Contains(dot, want) {
			t.Errorf("no %s in\n%s", want, dot)
		}
	}
	if SVG(nil) == "" || Dot(nil) == "" {
		t.Error("nothing is drawn of nothing")
	}
}

func TestAround(t *testing.T) {
	names := func(nodes []GraphNode) (out string) {
		for _, n := range nodes {
			out += n.Service + " "
		}
		return out
	}
	if got := names(Around(drawn(), []string{"web"})); got != "net db web " {
		t.Error(got)
	}
	if got := names(Around(drawn(), []string{"nobody"})); got != "" {
		t.Error(got)
	}
}
