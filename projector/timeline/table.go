package timeline

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"supd/journal/event"
	"supd/projector"
)

// Table is how people see services: a line for each, then one for each whose
// state needs a reason. The zero value is as wide as need be and has no
// colours; Now must be set, since all times in it are spans up to there.
type Table struct {
	Now   time.Time
	Width int // columns of the terminal; 0: no limit
	Color bool
}

// Services are the lines of the table, without line ends. None is wider than
// Width.
func (t Table) Services(services []event.ServiceStatus) []string {
	rows := [][]string{{"NAME", "STATE", "PID", "UPTIME", "RESTARTS", "LAST-EXIT"}}
	for _, s := range services {
		rows = append(rows, t.row(s))
	}
	lines := Fit(rows, t.Width)
	if !t.Color {
		return lines
	}
	for n, row := range rows[1:] {
		line := &lines[n+1]
		// The state comes behind a name that may have been shortened.
		at := strings.Index(*line, "  "+row[1])
		if at < 0 {
			continue
		}
		at += 2
		*line = (*line)[:at] + stateColor(event.Phase(row[1])) + row[1] + "\x1b[0m" + (*line)[at+len(row[1]):]
	}
	return lines
}

func (t Table) row(s event.ServiceStatus) []string {
	row := []string{clean(s.Name), string(s.State), "-", "-", strconv.Itoa(s.Restarts), "-"}
	if s.PID != nil {
		row[2] = strconv.Itoa(*s.PID)
	}
	if s.StartedAt != nil && s.PID != nil {
		row[3] = Age(t.Now.Sub(*s.StartedAt))
	}
	if x := s.LastExit; x != nil {
		row[5] = "unknown"
		switch {
		case x.Signal != nil:
			row[5] = "signal " + clean(*x.Signal)
		case x.Code != nil:
			row[5] = "code " + strconv.Itoa(*x.Code)
		}
		row[5] += ", " + Age(t.Now.Sub(x.At)) + " ago"
	}
	return row
}

// Reasons say why services are where they are, as far as the table does not: a
// column has no room for it, and whoever looks wants to know just that. They
// are not shortened.
func (t Table) Reasons(services []event.ServiceStatus) []string {
	var lines []string
	for _, s := range services {
		if s.Reason == nil {
			continue
		}
		switch s.State {
		case event.PhaseStarting, event.PhaseRunning, event.PhaseStopped, event.PhaseExited:
			continue
		case event.PhaseBackoff:
			if x := s.LastExit; x != nil && *s.Reason == ExitText(x.Code, x.Signal) {
				continue // the column says it
			}
		}
		next := ""
		if s.NextStart != nil {
			next = ", next start in " + Age(s.NextStart.Sub(t.Now))
		}
		lines = append(lines, fmt.Sprintf("%s is %s%s: %s", clean(s.Name), s.State, next, clean(*s.Reason)))
	}
	return lines
}

func stateColor(p event.Phase) string {
	switch p {
	case event.PhaseRunning:
		return "\x1b[32m"
	case event.PhaseFatal, event.PhaseStuck:
		return "\x1b[31m"
	case event.PhaseStopped, event.PhaseExited:
		return "\x1b[2m"
	}
	return "\x1b[33m"
}

// Age writes a time span in its two largest units; what lies ahead is 0s.
func Age(d time.Duration) string {
	s := int(max(d, 0).Seconds())
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%dh%02dm", s/3600, s%3600/60)
	}
	return fmt.Sprintf("%dd%02dh", s/86400, s%86400/3600)
}

// Columns that are shortened keep so much of themselves, if it helps.
const (
	leastName = 12
	leastLast = 8
)

// Fit aligns the columns of rows, all of which have as many cells as the
// first. Where that is wider than width (0: no limit), the last column is
// shortened, then the first, then whole lines: a line never wraps. What was
// cut shows as "…".
func Fit(rows [][]string, width int) []string {
	if len(rows) == 0 {
		return nil
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	if width > 0 {
		last := len(widths) - 1
		over := 2 * last
		for _, w := range widths {
			over += w
		}
		over -= width
		for _, c := range []struct{ column, least int }{{last, leastLast}, {0, leastName}} {
			cut := min(max(over, 0), max(widths[c.column]-c.least, 0))
			widths[c.column] -= cut
			over -= cut
		}
	}
	lines := make([]string, len(rows))
	for n, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			cell = Cut(cell, widths[i])
			b.WriteString(cell)
			b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
		lines[n] = strings.TrimRight(b.String(), " ")
		if width > 0 {
			lines[n] = Cut(lines[n], width)
		}
	}
	return lines
}

// Cut shortens text to width columns, at least one; "…" shows that it did.
func Cut(text string, width int) string {
	if width < 1 || utf8.RuneCountInString(text) <= width {
		return text
	}
	runes := []rune(text)
	return string(runes[:width-1]) + "…"
}

// Waits are the services that are busy with something that ends at a known
// time, or will, sorted by name.
func Waits(s *projector.State, names []string) []event.ServiceWait {
	var waits []event.ServiceWait
	for _, name := range slices.Sorted(slices.Values(names)) {
		v := s.Services[name]
		if v == nil {
			continue
		}
		w := event.ServiceWait{Service: name}
		switch {
		case v.Instance != nil && v.Instance.Stop != nil:
			w.Since, w.Until = stopTimes(v, v.Instance.Stop)
		case v.Tree != nil:
			w.Since, w.Until = stopTimes(v, &v.Tree.Stop)
		case v.NextStart != nil:
			since, until := v.NextStart.At.Wall.Add(-time.Duration(v.NextStart.Delay)), v.NextStart.At.Wall
			w.Since, w.Until = &since, &until
		default:
			continue
		}
		waits = append(waits, w)
	}
	return waits
}

func stopTimes(v *projector.Service, stop *projector.StopOrder) (since, until *time.Time) {
	end := stop.Deadline.Wall
	begin := end.Add(-time.Duration(v.Spec.Stop.Timeout))
	return &begin, &end
}
