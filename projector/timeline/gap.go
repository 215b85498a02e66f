package timeline

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"supd/journal/event"
)

// gap says what is missing: lives of crashing services by name, the rest in one
// number.
func gap(d event.JournalGapData) string {
	text := fmt.Sprintf("records %d to %d are missing", d.First, d.Last)
	if len(d.Kept) > 0 {
		text += fmt.Sprintf(" but for %s in it", count(len(d.Kept), "record"))
	}
	text += ": " + d.Why
	for _, l := range d.Loops {
		var how []string
		for _, exit := range slices.Sorted(maps.Keys(l.Exits)) {
			how = append(how, fmt.Sprintf("%s: %d", exit, l.Exits[exit]))
		}
		text += fmt.Sprintf("; %s was restarted and ended %s (%s)", l.Service, count(l.Cycles, "time"), strings.Join(how, ", "))
	}
	return text
}
