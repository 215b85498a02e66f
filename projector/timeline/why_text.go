package timeline

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
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

// WriteDeaths writes deaths as a table for people, the oldest first.
func WriteDeaths(w io.Writer, deaths []Death, zone *time.Location) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "TIME\tRUN\tEXIT\tUPTIME\tTHEN\tWHY")
	for _, d := range deaths {
		run := "?"
		if d.Run > 0 {
			run = fmt.Sprint(d.Run)
		}
		then := d.Then
		if then == "" {
			then = "-"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", d.Time.In(zone).Format(TimeFormat), run, d.Exit, span(d.Uptime), then, d.Why)
	}
	return t.Flush()
}
