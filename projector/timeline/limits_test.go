package timeline

import (
	"strings"
	"testing"
	"time"

	"supd/journal/event"
)

// told is the explanation as people read it.
func (w *teller) text(t *testing.T) string {
	t.Helper()
	e, err := w.story.Why()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := WriteWhy(&b, e, time.UTC); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Whoever has read only what is about the service must be told that the rest
// is about another one: who asked for web is no reason for its waiting.
func TestWaitingIsNotTheAskersDoing(t *testing.T) {
	w := newTeller("web", "")
	wanted := w.by("uid-1000", "web", w.command(event.VerbStart, "web"), event.ServiceWantedData{Want: event.Up, Reason: event.ReasonCommand})
	w.write("web", wanted, event.ServiceWaitingData{For: []event.WaitFor{{Service: "db", Condition: "ready"}}, Failed: "requirement db: exit 3"})
	e, err := w.story.Why()
	if err != nil || e.Root != RootDependency || e.Summary != "web: it waits for db ready: requirement db: exit 3" {
		t.Errorf("%+v, %v", e, err)
	}
}

// An overdue start names its limit and what was awaited.
func TestOverdueStart(t *testing.T) {
	fd := 3
	for want, spec := range map[string]event.Spec{
		"not ready within its ready.timeout of 1m0s (tcp 127.0.0.1:80), and": {Ready: &event.Ready{Probe: event.Probe{TCP: "127.0.0.1:80"}}},
		"ready.timeout of 2s (http http://[::1]/up)":                         {Ready: &event.Ready{Timeout: event.Duration(2 * time.Second), Probe: event.Probe{HTTP: "http://[::1]/up"}}},
		"(exec check --fast)":                   {Ready: &event.Ready{Probe: event.Probe{Exec: []string{"check", "--fast"}}}},
		"(a newline on descriptor 3)":           {Ready: &event.Ready{FD: &fd}},
		`(a line of output that matches "^up")`: {Ready: &event.Ready{Log: "^up"}},
		"its program was not executed within its start_timeout of 1m30s, and was told": {},
	} {
		w := newTeller("web", "")
		w.write("web", "", event.ServiceDefinedData{Spec: spec})
		i := w.start("web", 1, "")
		w.signaled("web", i, w.stop("web", i, "", event.ReasonStartTimeout), "SIGTERM")
		if got := w.text(t); !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	w := newTeller("web", "")
	w.write("", "", event.StateBaseData{Part: 1, Parts: 1, Chunk: `{"services":{"web":{"spec":{"ready":{"notify":true,"timeout":"5s"}}}}}`})
	i := w.start("web", 1, "")
	w.write("web", "", event.InstanceExtendedData{Instance: i, Of: event.ExtendStart})
	w.stop("web", i, "", event.ReasonStartTimeout)
	if got := w.text(t); !strings.Contains(got, "ready.timeout of 5s and the time that it had asked for (READY=1") {
		t.Errorf("a definition in a base is not told:\n%s", got)
	}
}

// A death by supd's SIGKILL says which time had run out; one before the
// deadline, or in a forced end, does not.
func TestKilledAtTheDeadline(t *testing.T) {
	const told = "its stop.timeout of 10s had run out after SIGTERM"
	for _, c := range []struct {
		name, signal, died string
		at                 int64
		told               bool
	}{
		{"killed", "SIGTERM", "SIGKILL", 11, true},
		{"killed by another before", "SIGTERM", "SIGKILL", 9, false},
		{"ended late", "SIGTERM", "SIGTERM", 11, false},
		{"forced", "SIGKILL", "SIGKILL", 11, false},
	} {
		w := newTeller("web", "")
		i := w.start("web", 1, "")
		order := event.InstanceStoppingData{Instance: i, Signal: c.signal, Reason: event.ReasonCommand, Deadline: event.Moment{Mono: 10e9 + 1}}
		w.story.Add(event.Record{ID: "stop", Kind: order.Kind(), Subject: "web", Seq: 10, Mono: 1, Cause: w.command(event.VerbStop, "web"), Data: order})
		exit := event.InstanceExitedData{Instance: i, Signal: &c.died, Cause: event.CauseSignaled, Expected: true}
		w.story.Add(event.Record{ID: "exit", Kind: exit.Kind(), Subject: "web", Seq: 11, Mono: c.at * 1e9, Cause: "stop", Data: exit})
		if got := w.text(t); strings.Contains(got, told) != c.told {
			t.Errorf("%s:\n%s", c.name, got)
		}
	}
}

// The output of a program that failed by itself is where its reason is.
func TestWhatItWrote(t *testing.T) {
	const line = "what it wrote: supctl logs db --instance 4\n"
	for name, c := range map[string]struct {
		code  int
		asked bool
		told  bool
	}{"failed": {3, false, true}, "ended": {0, false, false}, "stopped": {3, true, false}} {
		w := newTeller("db", "")
		i, cause := w.start("db", 4, ""), ""
		if c.asked {
			cause = w.stop("db", i, w.command(event.VerbStop, "db"), event.ReasonCommand)
		}
		w.code("db", i, cause, c.code)
		if got := w.text(t); strings.HasSuffix(got, line) != c.told {
			t.Errorf("%s:\n%s", name, got)
		}
	}
}
