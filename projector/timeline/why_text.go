package timeline

import (
	"fmt"
	"io"
	"strings"
	"time"

	"supd/journal/event"
)

// WriteWhy writes an explanation for people: the root first, then how it came
// from there to what is asked about. Times are in the zone.
func WriteWhy(w io.Writer, e Explanation, zone *time.Location) error {
	var b strings.Builder
	what := e.Service
	if e.Instance != "" {
		what += ", instance " + e.Instance
	}
	fmt.Fprintf(&b, "%s\nroot cause (%s): %s\n", clean(what), e.Root, e.Summary)
	for i := len(e.Chain) - 1; i >= 0; i-- {
		l := e.Chain[i]
		service := l.Service
		if service == "" {
			service = "-"
		}
		fmt.Fprintf(&b, "  %s %6d %-16s %s\n", l.Time.In(zone).Format(TimeFormat), l.Seq, clean(service), l.Text)
	}
	if !e.Complete {
		b.WriteString("what led to the first of these is not in the journal any more\n")
	}
	if e.wrote != "" {
		fmt.Fprintf(&b, "what it wrote: %s\n", clean(e.wrote))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// DeathLines are deaths as a table for people, the oldest first, no line wider
// than width (0: no limit).
func DeathLines(deaths []Death, zone *time.Location, width int) []string {
	rows := [][]string{{"RUN", "TIME", "EXIT", "UPTIME", "THEN", "WHY"}}
	for _, d := range deaths {
		run := "?"
		if d.Run > 0 {
			run = fmt.Sprint(d.Run)
		}
		then := d.Then
		if then == "" {
			then = "-"
		}
		uptime := span(event.Duration(time.Duration(d.Uptime).Round(time.Millisecond)))
		rows = append(rows, []string{run, d.Time.In(zone).Format(time.DateTime), d.Exit, uptime, then, d.origin()})
	}
	return Fit(rows, width)
}

// origin is why it ended, without what the columns beside it tell.
func (d *Death) origin() string {
	switch d.Root {
	case RootExit:
		return "by itself"
	case RootSignal:
		return "a signal that was not supd's"
	}
	return d.Why
}
