package timeline

import (
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"supd/journal/event"
	"supd/projector"
)

func TestTableAlignsWithColour(t *testing.T) {
	now := time.Unix(1e9, 0)
	services := []event.ServiceStatus{{Name: "w", State: event.PhaseRunning}, {Name: "long-name", State: event.PhaseFatal}}
	got := Table{Now: now, Color: true}.Services(services)
	want := []string{
		"NAME       STATE    PID  UPTIME  RESTARTS  LAST-EXIT",
		"w          \x1b[32mrunning\x1b[0m  -    -       0         -",
		"long-name  \x1b[31mfatal\x1b[0m    -    -       0         -",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestReasons(t *testing.T) {
	now := time.Unix(1e9, 0)
	next, code, why := now.Add(3*time.Second), 1, func(s string) *string { return &s }
	services := []event.ServiceStatus{
		{Name: "a", State: event.PhaseRunning, Reason: why("not to be shown")},
		{Name: "b", State: event.PhaseBackoff, NextStart: &next, Reason: why("exit 1"), LastExit: &event.LastExit{Code: &code}},
		{Name: "c", State: event.PhaseBackoff, NextStart: &next, Reason: why("cannot execute /x: permission denied")},
		{Name: "d", State: event.PhaseFatal, Reason: why("it is \x1b[2J broken")},
	}
	want := []string{
		"c is backoff, next start in 3s: cannot execute /x: permission denied",
		"d is fatal: it is ·[2J broken",
	}
	if got := (Table{Now: now}).Reasons(services); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// No line is wider than the terminal, and what fits is not touched.
func TestFit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cell := rapid.StringMatching(`[a-zäö.]{0,50}`)
		rows := rapid.SliceOfN(rapid.SliceOfN(cell, 3, 3), 1, 8).Draw(t, "rows")
		width := rapid.IntRange(1, 200).Draw(t, "width")
		whole, fitted := Fit(rows, 0), Fit(rows, width)
		widest := 0
		for _, l := range whole {
			widest = max(widest, utf8.RuneCountInString(l))
		}
		for n, l := range fitted {
			if got := utf8.RuneCountInString(l); got > width {
				t.Fatalf("%d columns of %d: %q", got, width, l)
			}
			full := 4 // the gaps
			for i := range rows[0] {
				most := 0
				for _, row := range rows {
					most = max(most, utf8.RuneCountInString(row[i]))
				}
				full += most
			}
			if full <= width && l != whole[n] {
				t.Fatalf("%q was changed to %q", whole[n], l)
			}
		}
	})
	rows := [][]string{{"NAME", "STATE", "LAST"}, {strings.Repeat("n", 40), "running", "code 1, 5m03s ago"}}
	for width, want := range map[int]string{
		0:  strings.Repeat("n", 40) + "  running  code 1, 5m03s ago",
		60: strings.Repeat("n", 40) + "  running  code 1,…",
		40: strings.Repeat("n", 20) + "…  running  code 1,…",
		20: "nnnnnnnnnnn…  runni…",
	} {
		if got := Fit(rows, width)[1]; width != 60 && got != want {
			t.Errorf("%d: got %q, want %q", width, got, want)
		} else if width == 60 && (!strings.HasPrefix(got, want[:49]) || utf8.RuneCountInString(got) > 60) {
			t.Errorf("%d: got %q", width, got)
		}
	}
}

// What is at rest says how it ended, and a program that went into the
// background is named as what it looks like.
func TestEndReasons(t *testing.T) {
	zero, three, segv, term := 0, 3, "SIGSEGV", "SIGTERM"
	probe := event.Probe{TCP: "127.0.0.1:80"}
	spec := event.Spec{Ready: &event.Ready{Probe: probe}, Health: &event.Health{Probe: probe}}
	hint := "; hint: did it go into the background? It must run in the foreground: look for an option such as --foreground"
	for name, c := range map[string]struct {
		exit  projector.LastExit
		phase event.Phase
		want  string
	}{
		"success":              {projector.LastExit{Code: &zero, Expected: true, Ran: true}, event.PhaseExited, "completed"},
		"failure":              {projector.LastExit{Code: &three, Ran: true}, event.PhaseExited, "exited with code 3"},
		"signal":               {projector.LastExit{Signal: &segv, Ran: true}, event.PhaseExited, "ended by SIGSEGV"},
		"unseen":               {projector.LastExit{Ran: true}, event.PhaseExited, "it ended, and nobody knows how"},
		"crash":                {projector.LastExit{Code: &three, Ran: true}, event.PhaseBackoff, "exit 3"},
		"never ready":          {projector.LastExit{Signal: &term, Ran: true, Stop: event.ReasonStartTimeout}, event.PhaseBackoff, "was not ready within 1m0s (tcp 127.0.0.1:80)"},
		"unhealthy":            {projector.LastExit{Signal: &term, Ran: true, Stop: event.ReasonHealth}, event.PhaseBackoff, "unhealthy: its health check failed (tcp 127.0.0.1:80)"},
		"silent":               {projector.LastExit{Signal: &term, Ran: true, Stop: event.ReasonWatchdog}, event.PhaseBackoff, "was silent for longer than its watchdog allows"},
		"background":           {projector.LastExit{Code: &zero, Ran: true, Ready: true, Background: true}, event.PhaseBackoff, "exit 0" + hint + ", or set restart = \"on-failure\""},
		"background, unready":  {projector.LastExit{Code: &zero, Ran: true, Background: true}, event.PhaseBackoff, "exit 0" + hint},
		"background, its tree": {projector.LastExit{Code: &zero, Ran: true, Background: true}, event.PhaseStopping, "ending what its main process left behind" + hint},
	} {
		v := &projector.Service{Name: "web", Phase: c.phase, LastExit: &c.exit, Spec: spec}
		if c.phase == event.PhaseStopping {
			v.Tree = &projector.Tree{}
		}
		if s := ServiceStatus(v); s.Reason == nil || *s.Reason != c.want {
			t.Errorf("%s: %v, want %q", name, s.Reason, c.want)
		}
	}
}

func TestWaits(t *testing.T) {
	s := projector.New()
	at := time.Unix(1e9, 0).UTC()
	s.Services["a"] = &projector.Service{
		Name: "a", Spec: event.Spec{Stop: event.Stop{Timeout: event.Duration(10 * time.Second)}},
		Instance: &projector.Instance{Stop: &projector.StopOrder{Deadline: event.Moment{Wall: at}}},
	}
	s.Services["b"] = &projector.Service{Name: "b", NextStart: &projector.NextStart{At: event.Moment{Wall: at}, Delay: event.Duration(time.Second)}}
	s.Services["c"] = &projector.Service{Name: "c"}
	got := Waits(s, []string{"c", "b", "a", "none"})
	if len(got) != 2 || got[0].Service != "a" || !got[0].Since.Equal(at.Add(-10*time.Second)) || !got[0].Until.Equal(at) ||
		got[1].Service != "b" || !got[1].Since.Equal(at.Add(-time.Second)) {
		t.Errorf("%+v", got)
	}
}
