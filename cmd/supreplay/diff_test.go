package main

import (
	"strings"
	"testing"

	"supd/projector/timeline"
)

// A difference for people is narrow: digests are cut, and what a removed
// service was is left out.
func TestDifferenceIsNarrow(t *testing.T) {
	was, is := strings.Repeat("ab", 32), strings.Repeat("cd", 32)
	long := strings.Repeat("long ", 20)
	d := difference{Difference: timeline.Difference{
		Supd: []timeline.Change{{Field: "configuration", From: was, To: is}},
		Services: []timeline.ServiceChange{
			{Service: "db", What: "removed", Fields: []timeline.Change{{Field: "specification", From: was}, {Field: "command", From: "/bin/db"}}},
			{Service: "web", What: "changed", Fields: []timeline.Change{{Field: "command", From: "web", To: long}, {Field: "specification", From: was, To: is}}},
		},
		Same: 2,
	}}
	var b strings.Builder
	if err := d.print(&b, false); err != nil {
		t.Fatal(err)
	}
	_, got, _ := strings.Cut(b.String(), "records)\n")
	want := "supd  configuration  abababababab  → cdcdcdcdcdcd\n" +
		"db    removed\n" +
		"web   command        (below)       → (below)\n" +
		"      specification  abababababab  → cdcdcdcdcdcd\n" +
		"web command\n  - web\n  + " + long + "\n" +
		"2 services are as they were\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	b.Reset()
	if err := d.print(&b, true); err != nil || !strings.Contains(b.String(), was) || !strings.Contains(b.String(), "/bin/db") {
		t.Errorf("JSON is not whole: %v, %s", err, b.String())
	}
}
