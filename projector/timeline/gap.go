package timeline

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"supd/journal/event"
)

// loopsShown is how many crashing services a gap names; the rest are a number.
const loopsShown = 5

// gap says what is missing: lives of crashing services by name, the rest in one
// number.
func gap(d event.JournalGapData) string {
	text := fmt.Sprintf("records %d to %d are missing", d.First, d.Last)
	if len(d.Kept) > 0 {
		text += fmt.Sprintf(" but for %s in it", count(len(d.Kept), "record"))
	}
	text += ": " + d.Why
	loops := slices.SortedStableFunc(slices.Values(d.Loops), func(a, b event.CrashLoop) int { return cmp.Compare(b.Cycles, a.Cycles) })
	for _, l := range loops[:min(len(loops), loopsShown)] {
		var how []string
		for _, exit := range slices.Sorted(maps.Keys(l.Exits)) {
			how = append(how, fmt.Sprintf("%s: %d", exit, l.Exits[exit]))
		}
		text += fmt.Sprintf("; %s restarted and ended %s (%s)", cmp.Or(l.Service, "others"), count(l.Cycles, "time"), strings.Join(how, ", "))
	}
	if more := loops[min(len(loops), loopsShown):]; len(more) > 0 {
		n := 0
		for _, l := range more {
			n += l.Cycles
		}
		text += fmt.Sprintf("; %s more, %s", count(len(more), "service"), count(n, "time"))
	}
	return text
}
