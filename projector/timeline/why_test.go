package timeline

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"supd/journal/event"
	"supd/projector"
)

// teller writes a history by hand, as the policy would: each record with the
// cause that the policy gives it.
type teller struct {
	story *Story
	seq   event.Seq
	now   time.Time
}

func newTeller(service, instance string) *teller {
	return &teller{story: NewStory(service, instance), now: time.Date(2026, 3, 4, 3, 0, 0, 0, time.UTC)}
}

func (w *teller) write(service, cause string, d event.Data) string {
	return w.by("supd", service, cause, d)
}

func (w *teller) by(actor, service, cause string, d event.Data) string {
	w.seq++
	w.now = w.now.Add(time.Second)
	id := fmt.Sprintf("r%d", w.seq)
	w.story.Add(event.Record{ID: id, Kind: d.Kind(), Subject: service, Time: w.now, Seq: w.seq, Cause: cause, Actor: actor, Data: d})
	return id
}

func (w *teller) command(verb event.Verb, targets ...string) string {
	return w.by("uid-1000", "", "", event.CommandAcceptedData{
		Command: fmt.Sprintf("c%d", w.seq), Verb: verb, Targets: targets, Client: &event.Client{UID: 1000, PID: 42, Comm: "bash"},
	})
}

func (w *teller) start(service string, run event.Run, cause string) (instance string) {
	instance = fmt.Sprintf("%s-%d", service, run)
	w.write(service, cause, event.InstanceStartingData{Instance: instance, Run: run, PID: 100 + int(run), Reason: event.ReasonCommand})
	w.write(service, w.last(), event.InstanceRunningData{Instance: instance})
	return instance
}

func (w *teller) last() string { return fmt.Sprintf("r%d", w.seq) }

func (w *teller) code(service, instance, cause string, code int) string {
	return w.write(service, cause, event.InstanceExitedData{Instance: instance, Code: &code, Cause: event.CauseExited, Expected: cause != ""})
}

func (w *teller) signaled(service, instance, cause, signal string) string {
	return w.write(service, cause, event.InstanceExitedData{Instance: instance, Signal: &signal, Cause: event.CauseSignaled, Expected: cause != ""})
}

func (w *teller) stop(service, instance, cause, reason string) string {
	return w.write(service, cause, event.InstanceStoppingData{Instance: instance, Signal: "SIGTERM", Reason: reason})
}

func (w *teller) retry(service, cause string, n int) string {
	return w.write(service, cause, event.RestartScheduledData{
		Retry: n, Delay: event.Duration(2100 * time.Millisecond), Jitter: 0.52,
		Policy: event.RestartPolicy{Restart: "always", MaxRetries: 5, Backoff: event.Backoff{Initial: event.Duration(500 * time.Millisecond), Factor: 2, Max: event.Duration(30 * time.Second)}},
	})
}

func TestWhy(t *testing.T) {
	for _, c := range []struct {
		name     string
		instance string
		tell     func(w *teller)
		root     Root
		summary  string // part of it
		chain    string // kinds, from the effect to the root
	}{
		{"stopped by a command", "", func(w *teller) {
			i := w.start("web", 1, "")
			c := w.command(event.VerbStop, "web")
			w.by("uid-1000", "web", c, event.ServiceWantedData{Want: event.Down, Reason: event.ReasonCommand})
			w.code("web", i, w.stop("web", i, c, event.ReasonCommand), 0)
		}, RootCommand, "uid-1000 asked from bash[42]: stop web", "instance.exited instance.stopping command.accepted"},
		{"started by a command, by the command's own id", "", func(w *teller) {
			w.command(event.VerbStart, "web")
			w.start("web", 1, "c0")
		}, RootCommand, "start web", "instance.starting command.accepted"},
		{"crash with a code", "", func(w *teller) {
			w.retry("web", w.code("web", w.start("web", 1, ""), "", 3), 2)
		}, RootExit, "web: it ended: exit code 3", "restart.scheduled instance.exited"},
		{"crash with a signal, and running again", "", func(w *teller) {
			w.start("web", 2, w.retry("web", w.signaled("web", w.start("web", 1, ""), "", "SIGSEGV"), 1))
		}, RootSignal, "signal SIGSEGV", "instance.starting restart.scheduled instance.exited"},
		{"out of memory", "", func(w *teller) {
			signal := "SIGKILL"
			w.retry("web", w.write("web", "", event.InstanceExitedData{Instance: w.start("web", 1, ""), Signal: &signal, OOM: true}), 1)
		}, RootOutOfMemory, "out of memory", "restart.scheduled instance.exited"},
		{"a signal that a person sent", "", func(w *teller) {
			i := w.start("web", 1, "")
			w.write("web", w.command(event.VerbSignal, "web"), event.InstanceSignaledData{Instance: i, Signal: "SIGUSR1", Result: "sent"})
			w.signaled("web", i, "", "SIGUSR1")
		}, RootCommand, "signal web", "instance.exited instance.signaled command.accepted"},
		{"a signal of a person and another death", "", func(w *teller) {
			i := w.start("web", 1, "")
			w.write("web", w.command(event.VerbSignal, "web"), event.InstanceSignaledData{Instance: i, Signal: "SIGUSR1", Result: "sent"})
			w.signaled("web", i, "", "SIGSEGV")
		}, RootSignal, "SIGSEGV", "instance.exited"},
		{"a reload that killed", "", func(w *teller) {
			i := w.start("web", 1, "")
			w.write("web", w.command(event.VerbReload, "web"), event.InstanceSignaledData{Instance: i, Signal: "SIGHUP", Result: "sent"})
			w.signaled("web", i, "", "SIGHUP")
		}, RootCommand, "reload web", "instance.exited instance.signaled command.accepted"},
		{"no such program", "", func(w *teller) {
			i := w.start("web", 1, "")
			w.write("web", w.last(), event.InstanceExecFailedData{Instance: i, Step: "exec", Error: "no such file or directory", Path: "/bin/wob"})
			x := w.code("web", i, "", 127)
			w.write("web", w.write("web", x, event.ServiceFatalData{Reason: event.ReasonExec}), event.ServiceWantedData{Want: event.Down, Reason: event.ReasonFatal})
		}, RootExec, "/bin/wob: no such file", "service.wanted service.fatal instance.exited instance.exec-failed"},
		{"retries are used up", "", func(w *teller) {
			x := w.code("web", w.start("web", 6, ""), "", 1)
			w.write("web", x, event.ServiceFatalData{Reason: event.ReasonMaxRetries, Retries: 5})
		}, RootExit, "exit code 1", "service.fatal instance.exited"},
		{"health check", "", func(w *teller) {
			i := w.start("web", 1, "")
			w.write("web", "", event.HealthChangedData{Instance: i, Probe: "http", From: event.Healthy, To: event.Unhealthy, Failures: 3, Error: "503"})
			w.retry("web", w.signaled("web", i, w.stop("web", i, "r1", event.ReasonHealth), "SIGTERM"), 1)
		}, RootHealth, "healthy to unhealthy by http after 3 failures: 503", "restart.scheduled instance.exited instance.stopping health.changed"},
		{"watchdog", "", func(w *teller) {
			i := w.start("web", 1, "")
			w.retry("web", w.signaled("web", i, w.stop("web", i, "r1", event.ReasonWatchdog), "SIGABRT"), 1)
		}, RootWatchdog, "watchdog", "restart.scheduled instance.exited instance.stopping"},
		{"not ready in time", "", func(w *teller) {
			i := w.start("web", 1, w.command(event.VerbStart, "web"))
			w.retry("web", w.signaled("web", i, w.stop("web", i, "r2", event.ReasonStartTimeout), "SIGTERM"), 1)
		}, RootStartTimeout, "start-timeout", "restart.scheduled instance.exited instance.stopping"},
		{"failed hook", "", func(w *teller) {
			i := w.start("web", 1, "")
			w.write("web", "", event.HookEndedData{Instance: i, Hook: "pre_start", Error: "exit 1"})
			w.signaled("web", i, w.stop("web", i, "", event.ReasonHook), "SIGTERM")
		}, RootHook, "pre_start", "instance.exited instance.stopping hook.ended"},
		{"waits for a service that crashes", "", func(w *teller) {
			w.retry("db", w.signaled("db", w.start("db", 1, ""), "", "SIGBUS"), 3)
			w.write("web", "", event.ServiceWaitingData{For: []event.WaitFor{{Service: "db", Condition: "ready"}}})
		}, RootSignal, "db: it ended: signal SIGBUS", "service.waiting restart.scheduled instance.exited"},
		{"a requirement gave up", "", func(w *teller) {
			f := w.write("db", w.code("db", w.start("db", 1, ""), "", 9), event.ServiceFatalData{Reason: event.ReasonMaxRetries, Retries: 5})
			w.write("web", f, event.ServiceFatalData{Reason: event.ReasonRequirement})
		}, RootExit, "db: it ended: exit code 9", "service.fatal service.fatal instance.exited"},
		{"waits for the limiter", "", func(w *teller) {
			w.write("web", "", event.ServiceWaitingData{Limiter: true})
		}, RootLimiter, "start limiter", "service.waiting"},
		{"changed configuration", "", func(w *teller) {
			i := w.start("web", 1, "")
			a := w.write("", w.command(event.VerbApply), event.ConfigAppliedData{Changed: []event.ConfigChange{{Service: "web"}}})
			w.start("web", 2, w.code("web", i, w.stop("web", i, a, event.ReasonConfig), 0))
		}, RootConfig, "uid-1000 asked", "instance.starting instance.exited instance.stopping config.applied command.accepted"},
		{"autostart", "", func(w *teller) {
			a := w.write("", "", event.ConfigAppliedData{Added: []string{"web"}})
			w.start("web", 1, w.write("web", a, event.ServiceWantedData{Want: event.Up, Reason: event.ReasonAutostart}))
		}, RootAutostart, "a configuration was applied", "instance.starting service.wanted config.applied"},
		{"reboot", "", func(w *teller) {
			i := w.start("web", 1, "")
			w.write("", "", event.EngineStartedData{Mode: event.ModeReboot})
			w.write("", "", event.RecoverySettledData{Row: 7, Service: "web", Instance: i, Found: "another boot"})
			w.retry("web", w.write("web", "", event.InstanceExitedData{Instance: i, Cause: event.CauseUnknown}), 1)
		}, RootReboot, "the machine was started anew", "restart.scheduled instance.exited recovery.settled engine.started"},
		{"all of supd was killed", "", func(w *teller) {
			i := w.start("web", 1, "")
			w.write("", "", event.EngineStartedData{Mode: event.ModeAllLost})
			w.write("", "", event.RecoverySettledData{Row: 6, Service: "web", Instance: i})
			w.write("web", "", event.InstanceExitedData{Instance: i, Cause: event.CauseUnknown})
		}, RootSupd, "all of supd had died", "instance.exited recovery.settled engine.started"},
		{"shutdown", "", func(w *teller) {
			i := w.start("web", 1, "")
			w.code("web", i, w.stop("web", i, w.by("signal", "", "", event.SupdStoppingData{Reason: "signal"}), event.ReasonShutdown), 0)
		}, RootShutdown, "supd was told to end", "instance.exited instance.stopping supd.stopping"},
		{"before the oldest record", "", func(w *teller) {
			w.seq = 500
			w.start("web", 8, "r17")
		}, RootForgotten, "the cause of record 501 is before the oldest record there is, 501", "instance.starting"},
		{"an earlier instance", "1", func(w *teller) {
			x := w.code("web", w.start("web", 1, ""), "", 7)
			w.retry("web", w.signaled("web", w.start("web", 2, w.retry("web", x, 1)), "", "SIGSEGV"), 2)
		}, RootExit, "exit code 7", "instance.exited"},
		{"an instance that lives", "2", func(w *teller) {
			w.start("web", 2, w.command(event.VerbStart, "web"))
		}, RootCommand, "start web", "instance.starting command.accepted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTeller("web", c.instance)
			c.tell(w)
			e, err := w.story.Why()
			if err != nil {
				t.Fatal(err)
			}
			var kinds []string
			for _, l := range e.Chain {
				kinds = append(kinds, string(l.Kind))
			}
			if got := strings.Join(kinds, " "); e.Root != c.root || got != c.chain || !strings.Contains(e.Summary, c.summary) {
				t.Errorf("root %s, want %s\nchain %s\nwant  %s\n%s", e.Root, c.root, got, c.chain, e.Summary)
			}
			if e.Complete != (c.root != RootForgotten) {
				t.Errorf("complete: %t", e.Complete)
			}
			var text strings.Builder
			if err := WriteWhy(&text, e, time.UTC); err != nil || !strings.Contains(text.String(), string(c.root)) {
				t.Error(err, text.String())
			}
		})
	}
}

// The numbers of a decision are in its explanation.
func TestWhyTellsTheNumbers(t *testing.T) {
	w := newTeller("web", "")
	w.retry("web", w.code("web", w.start("web", 1, ""), "", 3), 3)
	e, err := w.story.Why()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"retry 3 of at most 5", "delay 2.1s", "500ms × 2", "at most 30s", "jitter 0.52", "restart always"} {
		if !strings.Contains(e.Chain[0].Text, want) {
			t.Errorf("%q is not in %q", want, e.Chain[0].Text)
		}
	}
}

func TestWhyErrors(t *testing.T) {
	for _, c := range []struct{ instance, want string }{
		{"", "no record is about a service web"}, {"7", "no start of instance 7"},
	} {
		w := newTeller("web", c.instance)
		w.start("db", 1, "")
		if _, err := w.story.Why(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// A cause that a long journal has left far behind is still there, and the
// story has not grown with the journal.
func TestStoryForgets(t *testing.T) {
	w := newTeller("web", "1")
	command := w.command(event.VerbStart, "web")
	first := w.start("web", 1, command)
	w.write("", "c0", event.CommandEndedData{Command: "c0", Outcome: event.Done})
	most := 0
	for run := event.Run(1); run < 30_000; run++ {
		w.retry("db", w.code("db", w.start("db", run, ""), "", 1), 1)
		most = max(most, len(w.story.records))
	}
	if most > 3*forgetAt || len(w.story.traces) > 2*forgetAt || len(w.story.commands) > forgetAt {
		t.Errorf("%d records, %d instances, %d commands are kept", most, len(w.story.traces), len(w.story.commands))
	}
	stop := w.command(event.VerbStop, "web")
	w.code("web", first, w.stop("web", first, stop, event.ReasonCommand), 0)
	for run := event.Run(30_000); run < 40_000; run++ {
		w.retry("db", w.code("db", w.start("db", run, ""), "", 1), 1)
	}
	e, err := w.story.Why()
	if err != nil || e.Root != RootCommand || !strings.Contains(e.Summary, "stop web") {
		t.Errorf("%v %+v", err, e)
	}
}

func TestDeaths(t *testing.T) {
	w := newTeller("web", "")
	for run := event.Run(1); run <= MaxDeaths+5; run++ {
		w.retry("web", w.code("web", w.start("web", run, ""), "", int(run)), int(run))
	}
	i := w.start("web", 200, "")
	c := w.command(event.VerbStop, "web")
	w.code("web", i, w.stop("web", i, c, event.ReasonCommand), 0)
	deaths := w.story.Deaths()
	if len(deaths) != MaxDeaths || deaths[0].Run != 7 || deaths[0].Exit != "exit code 7" || deaths[0].Then != "retry 7 in 2.1s" || deaths[0].Root != RootExit {
		t.Errorf("%d deaths, the oldest %+v", len(deaths), deaths[0])
	}
	if last := deaths[len(deaths)-1]; last.Run != 200 || last.Root != RootCommand || !last.Expected {
		t.Errorf("the newest: %+v", last)
	}
	for _, columns := range []int{60, 80, 0} {
		lines := DeathLines(deaths, time.UTC, columns)
		if len(lines) != MaxDeaths+1 {
			t.Errorf("%d lines for %d deaths", len(lines), len(deaths))
		}
		for _, l := range lines {
			if columns > 0 && utf8.RuneCountInString(l) > columns {
				t.Errorf("wider than %d columns: %s", columns, l)
			}
		}
		if !strings.Contains(lines[1], "exit code") || !strings.Contains(lines[1], "retry 7 in") {
			t.Errorf("in %d columns: %s", columns, lines[1])
		}
	}
}

// Where the journal has rolled over, a base tells of the deaths before it; those
// that are in the records too are told once.
func TestDeathsOfABase(t *testing.T) {
	w := newTeller("web", "")
	w.seq = 500
	w.code("web", w.start("web", 8, ""), "", 1) // records 501, 502
	segv := "SIGSEGV"
	code := 3
	kept := map[string][]projector.Death{
		"web": {
			{Seq: 400, At: 1e12, Run: 6, Code: &code, Uptime: 5e9, Why: event.ReasonHealth, Then: "retry 1 in 0s"},
			{Seq: 450, At: 1e12, Run: 7, Signal: &segv, Uptime: 5e9, Then: "retry 2 in 500ms"},
			{Seq: 502, At: 1e12, Run: 8, Code: &code},
		},
		"db": {{Seq: 401, Run: 1}},
	}
	b, err := event.Marshal(kept)
	if err != nil {
		t.Fatal(err)
	}
	text := `{"deaths":` + string(b) + `,"version":2}`
	w.write("", "", event.StateBaseData{Part: 1, Parts: 2, Chunk: text[:100]})
	w.write("", "", event.StateBaseData{Part: 2, Parts: 2, Chunk: text[100:]})
	w.write("", "", event.StateBaseData{Part: 1, Parts: 1, State: []byte(text)}) // of the first only
	w.code("web", w.start("web", 9, ""), "", 2)
	var runs []string
	for _, d := range w.story.Deaths() {
		runs = append(runs, fmt.Sprintf("%d %s %s", d.Run, d.Root, d.Exit))
	}
	want := "6 health exit code 3, 7 signal signal SIGSEGV, 8 exit exit code 1, 9 exit exit code 2"
	if got := strings.Join(runs, ", "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if old := w.story.Deaths()[0]; !strings.Contains(old.Why, "left the journal") || old.Then != "retry 1 in 0s" || old.Time.UnixMilli() != 1e12 {
		t.Errorf("%+v", old)
	}
}
