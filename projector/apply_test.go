package projector

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"supd/journal/event"
)

// fold writes records as supd does and applies them.
type fold struct {
	t    testing.TB
	s    *State
	now  event.Moment
	boot string
	log  []event.Encoded
}

func newFold(t testing.TB) *fold {
	return &fold{t: t, s: New(), boot: "b1", now: event.Moment{Mono: 1e9, Wall: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}}
}

func (f *fold) record(service string, d event.Data) event.Encoded {
	f.t.Helper()
	e, err := event.Encode(event.Record{
		ID: fmt.Sprintf("r%d", f.s.Seq()+1), Source: "supd/t/0", Kind: d.Kind(), Subject: service, Time: f.now.Wall, Mono: f.now.Mono,
		Boot: f.boot, Seq: f.s.Seq() + 1, Prev: f.s.Hash(), Actor: "uid-0", Data: d,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return e
}

func (f *fold) try(service string, d event.Data) error {
	f.t.Helper()
	e := f.record(service, d)
	err := f.s.Apply(e)
	if err == nil {
		f.log = append(f.log, e)
	}
	return err
}

func (f *fold) apply(service string, ds ...event.Data) *fold {
	f.t.Helper()
	for _, d := range ds {
		if err := f.try(service, d); err != nil {
			f.t.Fatal(err)
		}
	}
	return f
}

var (
	defined   = event.ServiceDefinedData{Spec: event.Spec{Restart: "always"}, Digest: "d"}
	wantUp    = event.ServiceWantedData{Want: event.Up, Reason: "command"}
	wantDown  = event.ServiceWantedData{Want: event.Down, Reason: "command"}
	completed = event.ServiceWantedData{Want: event.Down, Reason: "completed"}
	starting  = event.InstanceStartingData{Instance: "i1", Run: 1, PID: 7, Reason: "command"}
	running   = event.InstanceRunningData{Instance: "i1"}
	stopping  = event.InstanceStoppingData{Instance: "i1", Signal: "SIGTERM", Reason: "command"}
	exited    = event.InstanceExitedData{Instance: "i1", Cause: "exited"}
	leftover  = event.InstanceExitedData{Instance: "i1", Cause: "exited", Leftovers: true}
	swept     = event.InstanceSweptData{Instance: "i1"}
	survived  = event.InstanceSweptData{Instance: "i1", Survived: 1}
	stuck     = event.InstanceStuckData{Instance: "i1"}
	adopted   = event.InstanceAdoptedData{Instance: "i1"}
	failed    = event.InstanceExecFailedData{Instance: "i1", Step: "exec", Errno: 2}
	scheduled = event.RestartScheduledData{Retry: 1}
	postponed = event.RestartScheduledData{Retry: 1, Shortage: true}
	cancelled = event.RestartCancelledData{By: "command"}
	fatal     = event.ServiceFatalData{Reason: "exec"}
	signaled  = event.InstanceSignaledData{Instance: "i1", Operation: StopOperation("i1", "SIGTERM"), Result: "sent"}
	lively    = event.ServiceDefinedData{Spec: event.Spec{
		Ready: &event.Ready{Notify: true}, Hooks: event.Hooks{PostStop: []string{"x"}},
	}, Digest: "d"}
	once      = event.ServiceDefinedData{Spec: event.Spec{Type: event.TypeOneshot, Remain: true}, Digest: "d"}
	waits     = event.ServiceWaitingData{For: []event.WaitFor{{Service: "db", Condition: "ready"}}}
	limited   = event.ServiceWaitingData{For: []event.WaitFor{}, Limiter: true}
	isReady   = event.InstanceReadyData{Instance: "i1", By: "notify"}
	extended  = event.InstanceExtendedData{Instance: "i1", Of: event.ExtendStart, Deadline: event.Moment{Mono: 5}}
	unhealthy = event.HealthChangedData{Instance: "i1", To: event.Unhealthy}
	tooLate   = event.InstanceStoppingData{Instance: "i1", Signal: "SIGTERM", Reason: event.ReasonStartTimeout}
	succeeded = event.InstanceExitedData{Instance: "i1", Cause: "exited", Expected: true}
	postStop  = event.HookStartedData{Instance: "i1", Hook: event.HookPostStop, Operation: "o"}
	preStart  = event.HookStartedData{Instance: "i1", Hook: event.HookPreStart, Operation: "p"}
	hookEnded = event.HookEndedData{Instance: "i1", Hook: event.HookPostStop, Operation: "o"}
	killed    = event.InstanceSignaledData{Instance: "i1", Operation: KillOperation("i1"), Result: "sent"}
)

// TestPhases: the phase that each record leads to.
func TestPhases(t *testing.T) {
	up := []event.Data{defined, wantUp, starting}
	run := append(up[:3:3], running)
	for _, c := range []struct {
		name    string
		records []event.Data
		phase   event.Phase
	}{
		{"defined", []event.Data{defined}, event.PhaseStopped},
		{"starting", up, event.PhaseStarting},
		{"running", run, event.PhaseRunning},
		{"stopping", append(run[:4:4], stopping), event.PhaseStopping},
		{"executed while stopping", append(up[:3:3], stopping, running), event.PhaseStopping},
		{"stuck", append(run[:4:4], stopping, killed, stuck), event.PhaseStuck},
		{"ordered again while stuck", append(run[:4:4], stopping, killed, stuck, stopping), event.PhaseStuck},
		{"stopped", append(run[:4:4], wantDown, stopping, exited), event.PhaseStopped},
		{"stopped, wanted again", append(run[:4:4], stopping, exited), event.PhaseStopped},
		{"crashed", append(run[:4:4], exited), event.PhaseExited},
		{"completed", append(run[:4:4], exited, completed), event.PhaseExited},
		{"completed and wanted", append(run[:4:4], exited, completed, wantUp), event.PhaseStopped},
		{"backoff", append(run[:4:4], exited, scheduled), event.PhaseBackoff},
		{"cancelled", append(run[:4:4], exited, scheduled, cancelled), event.PhaseStopped},
		{"put off", []event.Data{defined, wantUp, failed, postponed}, event.PhaseBackoff},
		{"fatal", append(run[:4:4], exited, fatal, wantDown), event.PhaseFatal},
		{"fatal and wanted", append(run[:4:4], exited, fatal, wantDown, wantUp), event.PhaseStopped},
		{"no stub", []event.Data{defined, wantUp, failed}, event.PhaseExited},
		{"exec failed", append(up[:3:3], failed), event.PhaseStarting},
		{"tree", append(run[:4:4], leftover, stopping), event.PhaseStopping},
		{"tree survives", append(run[:4:4], leftover, stopping, survived), event.PhaseStopping},
		{"tree swept", append(run[:4:4], leftover, stopping, swept), event.PhaseExited},
		{"leftovers that are left", append(run[:4:4], wantDown, stopping, leftover, swept), event.PhaseStopped},
		{"adopted", append(run[:4:4], adopted), event.PhaseRunning},
		{"signaled", append(run[:4:4], stopping, signaled), event.PhaseStopping},
		{"waiting", []event.Data{defined, wantUp, waits}, event.PhaseWaiting},
		{"waiting and started", []event.Data{defined, wantUp, waits, starting}, event.PhaseStarting},
		{"waiting and not wanted", []event.Data{defined, wantUp, waits, wantDown}, event.PhaseStopped},
		{"waiting and given up", []event.Data{defined, wantUp, waits, fatal}, event.PhaseFatal},
		{"waiting for the limiter, cancelled", append(run[:4:4], exited, scheduled, limited, cancelled), event.PhaseStopped},
		{"running, not ready", []event.Data{lively, wantUp, starting, running}, event.PhaseStarting},
		{"ready", []event.Data{lively, wantUp, starting, running, isReady}, event.PhaseRunning},
		{"ready while stopping", []event.Data{lively, wantUp, starting, running, stopping, isReady}, event.PhaseStopping},
		{"extended", []event.Data{lively, wantUp, starting, running, extended, unhealthy}, event.PhaseStarting},
		{"not ready in time", []event.Data{lively, wantUp, starting, running, tooLate, exited}, event.PhaseStopping},
		{"post_stop", []event.Data{lively, wantUp, starting, running, exited, postStop}, event.PhaseStopping},
		{"post_stop ended", []event.Data{lively, wantUp, starting, running, tooLate, exited, postStop, hookEnded}, event.PhaseExited},
		{"completed oneshot", []event.Data{once, wantUp, starting, running, succeeded, completed}, event.PhaseExited},
		{"completed oneshot stopped", []event.Data{once, wantUp, starting, running, succeeded, completed, wantDown}, event.PhaseStopped},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFold(t).apply("web", c.records...)
			if got := f.s.Services["web"].Phase; got != c.phase {
				t.Errorf("got %s, want %s", got, c.phase)
			}
			f.replays()
		})
	}
}

// replays compares the state with what the stored bytes give, from the start
// and from a base anywhere (P6).
func (f *fold) replays() {
	f.t.Helper()
	for base := range len(f.log) + 1 {
		s := New()
		for i, stored := range f.log {
			if i == base {
				again, err := Parse(s.Canonical(), s.Seq(), s.Hash())
				if err != nil {
					f.t.Fatal(err)
				}
				s = again
			}
			e, err := event.Decode(stored.Bytes)
			if err == nil {
				err = s.Apply(e)
			}
			if err != nil {
				f.t.Fatal(err)
			}
		}
		if got, want := s.Canonical(), f.s.Canonical(); !bytes.Equal(got, want) {
			f.t.Fatalf("P6: from base %d\n got %s\nwant %s", base, got, want)
		}
	}
}

// TestImpossible: a record that contradicts the state is refused and changes
// nothing.
func TestImpossible(t *testing.T) {
	second := event.InstanceStartingData{Instance: "i2", Run: 2}
	accepted := event.CommandAcceptedData{Command: "c1", Verb: "stop", Targets: []string{"web"}}
	run := []event.Data{defined, wantUp, starting, running}
	for _, c := range []struct {
		name    string
		before  []event.Data
		service string
		record  event.Data
	}{
		{"unknown service", nil, "web", wantUp},
		{"unknown service of an instance", nil, "web", starting},
		{"two instances", run, "web", second},
		{"instance beside a tree", append(run[:4:4], leftover, stopping), "web", second},
		{"run left out", []event.Data{defined}, "web", second},
		{"run twice", append(run[:4:4], exited), "web", starting},
		{"exit twice", append(run[:4:4], exited), "web", exited},
		{"exit before start", []event.Data{defined}, "web", exited},
		{"exit of another", run, "web", event.InstanceExitedData{Instance: "i9"}},
		{"running of none", []event.Data{defined}, "web", running},
		{"stuck of none", []event.Data{defined}, "web", stuck},
		{"adopted of none", []event.Data{defined}, "web", adopted},
		{"exec failure of another", run, "web", event.InstanceExecFailedData{Instance: "i9"}},
		{"exec failure beside a tree", append(run[:4:4], leftover, stopping), "web", failed},
		{"stopping of none", []event.Data{defined}, "web", stopping},
		{"stopping of another", run, "web", event.InstanceStoppingData{Instance: "i9"}},
		{"restart of a live one", run, "web", scheduled},
		{"fatal and live", run, "web", fatal},
		{"nothing to cancel", []event.Data{defined}, "web", cancelled},
		{"cancelled while it runs", run, "web", cancelled},
		{"waiting while it runs", run, "web", waits},
		{"waiting and not wanted", []event.Data{defined}, "web", waits},
		{"ready of another", run, "web", event.InstanceReadyData{Instance: "i9"}},
		{"ready before it runs", []event.Data{defined, wantUp, starting}, "web", isReady},
		{"health of none", []event.Data{defined}, "web", unhealthy},
		{"more time for no stop", run, "web", event.InstanceExtendedData{Instance: "i1", Of: event.ExtendStop}},
		{"post_stop while it runs", run, "web", postStop},
		{"pre_start of none", []event.Data{defined}, "web", preStart},
		{"two hooks", append(run[:4:4], preStart), "web", preStart},
		{"end of no hook", run, "web", hookEnded},
		{"start during post_stop", []event.Data{lively, wantUp, starting, running, exited, postStop}, "web", second},
		{"command for nobody", nil, "", accepted},
		{"end of no command", nil, "", event.CommandEndedData{Command: "c1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFold(t).apply("web", c.before...)
			before, seq := f.s.Canonical(), f.s.Seq()
			if err := f.try(c.service, c.record); !errors.Is(err, ErrImpossible) {
				t.Fatalf("got %v", err)
			}
			if !bytes.Equal(f.s.Canonical(), before) || f.s.Seq() != seq {
				t.Errorf("the state has changed\nfrom %s\n  to %s", before, f.s.Canonical())
			}
		})
	}
	f := newFold(t).apply("web", defined).apply("", accepted)
	if err := f.try("", accepted); !errors.Is(err, ErrImpossible) {
		t.Errorf("a command twice: %v", err)
	}
}

func TestChain(t *testing.T) {
	f := newFold(t).apply("web", defined)
	for name, change := range map[string]func(*event.Record){
		"seq left out": func(r *event.Record) { r.Seq++ },
		"seq again":    func(r *event.Record) { r.Seq-- },
		"other prev":   func(r *event.Record) { r.Prev = event.Genesis },
	} {
		e := f.record("web", wantUp)
		change(&e.Record)
		if err := f.s.Apply(e); !errors.Is(err, ErrChain) {
			t.Errorf("%s: %v", name, err)
		}
	}
	e := f.record("web", wantUp)
	e.Record.Data = event.Unknown{Type: "x"}
	if err := f.s.Apply(e); !errors.Is(err, event.ErrUnknownKind) {
		t.Errorf("unknown kind: %v", err)
	}
}

// Every kind is either in the table of apply or changes nothing: this one
// holds the second list, so that a new kind is thought about.
func TestEveryKindIsThoughtAbout(t *testing.T) {
	silent := map[event.Kind]bool{
		event.LoggerStarted: true, event.RecoverySettled: true, event.CommandRejected: true, event.AccessDenied: true, event.OutputGap: true,
		event.OutputTrimmed: true, event.JournalGap: true, event.ResourcePressed: true, event.ResourceRelieved: true, event.StateBase: true,
		event.JournalDamaged: true, event.JournalCheckpoint: true, event.UpgradeStarted: true, event.UpgradeEnded: true,
	}
	for _, k := range event.Kinds() {
		e, err := event.Decode([]byte(`{"specversion":"1.0","id":"x","type":"` + k.Type() + `","seq":1,"prev":"` + event.Genesis +
			`","time":"2026-01-01T00:00:00Z","boot":"b","data":{}}`))
		if err != nil {
			t.Fatal(err)
		}
		s := New()
		before := s.Canonical()
		err = s.Apply(e)
		changed := err != nil || !bytes.Equal(before, s.Canonical())
		switch {
		case silent[k] && changed:
			t.Errorf("%s changes the state (%v)", k, err)
		case !silent[k] && !changed && k != event.JournalHealed && k != event.ConfigApplied && k != event.ConfigRejected:
			t.Errorf("%s changes nothing", k)
		}
	}
}

// TestSupdRecords: what the records of supd's own life change.
func TestSupdRecords(t *testing.T) {
	f := newFold(t)
	f.apply("", event.EngineStartedData{}, event.KeeperStartedData{PID: 5, StartTime: 6}, event.ConfigAppliedData{Digest: "c"})
	if s := f.s.Supd; s.Boot != "b1" || s.Engines != 1 || !s.Keeper.Configured || f.s.Config.Digest != "c" {
		t.Errorf("%+v", s)
	}
	f.apply("", event.JournalDegradedData{})
	if !f.s.Supd.Degraded {
		t.Error("not degraded")
	}
	f.apply("", event.JournalHealedData{}, event.SupdStoppingData{Reason: "signal"})
	if f.s.Supd.Degraded || f.s.Supd.Stopping == nil {
		t.Errorf("%+v", f.s.Supd)
	}
	f.apply("", event.SupdStoppedData{}, event.EngineStartedData{})
	if f.s.Supd.Stopped || f.s.Supd.Stopping != nil || f.s.Supd.Engines != 2 {
		t.Errorf("%+v", f.s.Supd)
	}
	f.apply("", event.SupdStoppingData{}, event.KeeperStartedData{PID: 8}, event.ConfigRejectedData{})
	if f.s.Supd.Stopping != nil || !f.s.Supd.Keeper.Configured {
		t.Errorf("an end goes on under another keeper: %+v", f.s.Supd)
	}
	f.replays()
}

// What was not tried is no retry and no restart.
func TestShortage(t *testing.T) {
	v := newFold(t).apply("web", defined, wantUp, starting, running, exited, scheduled, failed, postponed, failed, postponed).s.Services["web"]
	if v.Retries != 1 || v.Restarts != 1 || v.NextStart == nil || v.Failure == nil {
		t.Errorf("retries %d, restarts %d, next start %v, failure %v", v.Retries, v.Restarts, v.NextStart, v.Failure)
	}
}

// A restart that was scheduled in another boot (R13).
func TestRebase(t *testing.T) {
	for _, c := range []struct {
		name  string
		clock time.Duration // the wall clock moved between the boots
		want  time.Duration
	}{
		{"most is over", 8 * time.Second, 2 * time.Second},
		{"all is over", time.Hour, 0},
		{"set back by years", -24 * 365 * time.Hour, 10 * time.Second},
	} {
		f := newFold(t).apply("", event.EngineStartedData{}).apply("web", defined, wantUp, starting, running, exited)
		d := scheduled
		d.Delay, d.NotBefore = event.Duration(10*time.Second), f.now.Add(10*time.Second)
		f.apply("web", d)
		f.boot, f.now = "b2", event.Moment{Mono: 77, Wall: f.now.Wall.Add(c.clock)}
		f.apply("", event.EngineStartedData{})
		n := f.s.Services["web"].NextStart
		if got := time.Duration(n.At.Mono - 77); got != c.want || n.Boot != "b2" {
			t.Errorf("%s: %s left in %s", c.name, got, n.Boot)
		}
		f.replays()
	}
}

// What a reboot took is no failure of the service.
func TestExitOfAnotherBoot(t *testing.T) {
	f := newFold(t).apply("web", defined, wantUp, starting, running)
	f.boot = "b2"
	f.apply("web", exited)
	if got := f.s.Services["web"].Phase; got != event.PhaseStopped {
		t.Error(got)
	}
}

// The pause between sweeps that leave survivors grows (P9).
func TestSweepRetry(t *testing.T) {
	f := newFold(t).apply("web", defined, wantUp, starting, running, leftover, stopping)
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		f.apply("web", survived)
		if got := time.Duration(f.s.Services["web"].Tree.Retry - f.now.Mono); got != want*time.Second {
			t.Errorf("got %s, want %ds", got, want)
		}
	}
}

// Absent and empty arguments are one, before and after a replay.
func TestContent(t *testing.T) {
	a := Content("uid-0", "stop", nil, nil)
	if b := Content("uid-0", "stop", []string{}, map[string]string{}); a != b {
		t.Error("absent and empty differ")
	}
	for name, other := range map[string]string{
		"actor":   Content("uid-1", "stop", nil, nil),
		"verb":    Content("uid-0", "start", nil, nil),
		"pattern": Content("uid-0", "stop", []string{"a"}, nil),
		"args":    Content("uid-0", "stop", nil, map[string]string{"a": ""}),
	} {
		if a == other {
			t.Errorf("%s makes no difference", name)
		}
	}
	f := newFold(t).apply("web", defined).apply("", event.CommandAcceptedData{
		Command: "c", Verb: "stop", Targets: []string{"web"}, Patterns: []string{}, Args: map[string]string{},
	})
	f.replays()
}

func TestIDTime(t *testing.T) {
	if got := IDTime("0195f1c0-1234-7000-8000-000000000007"); got != 0x0195f1c01234 {
		t.Errorf("%x", got)
	}
	for _, bad := range []string{"", "x", "0195f1c0-1234-4000-8000-000000000007", "zzzzzzzz-1234-7000-8000-000000000007", strings.Repeat("0", 36)} {
		if IDTime(bad) != 0 {
			t.Errorf("%q has a time", bad)
		}
	}
}

// The memory of ended commands is bounded, and what is forgotten moves the
// horizon (P9, R8).
func TestEndedIsBounded(t *testing.T) {
	f := newFold(t)
	end := func(n int, at time.Time) string {
		ms := fmt.Sprintf("%012x", at.UnixMilli())
		id := ms[:8] + "-" + ms[8:] + fmt.Sprintf("-7000-8000-%012x", n)
		f.apply("", event.CommandAcceptedData{Command: id, Verb: "stop"}, event.CommandEndedData{Command: id, Outcome: event.Done})
		return id
	}
	first := end(0, f.now.Wall)
	for n := range MaxEnded {
		end(n+1, f.now.Wall)
	}
	if len(f.s.Ended) != MaxEnded || f.s.EndedCommand(first) != nil || f.s.Horizon != f.now.Wall.UnixMilli() {
		t.Errorf("%d are kept, horizon %d", len(f.s.Ended), f.s.Horizon)
	}
	f.now.Wall = f.now.Wall.Add(EndedAge + time.Second)
	last := end(1, f.now.Wall)
	if len(f.s.Ended) != 1 || f.s.EndedCommand(last) == nil {
		t.Errorf("%d are kept after a day", len(f.s.Ended))
	}
}
