package executor

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"supd/executor/policy"
	"supd/executor/policy/policytest"
	"supd/journal/event"
)

func rigSpec(name string) event.Spec {
	return event.Spec{
		Command: []string{"/bin/" + name}, Base: name, Restart: event.RestartAlways, SuccessExitCodes: []string{"0"}, MaxRetries: -1,
		Backoff: event.Backoff{
			Initial: event.Duration(500 * time.Millisecond), Factor: 2, Max: event.Duration(30 * time.Second),
			ResetAfter: event.Duration(10 * time.Second), Jitter: 0.1,
		},
		Stop:   event.Stop{Signal: "SIGTERM", Timeout: event.Duration(10 * time.Second), Mode: event.StopTree},
		Output: event.Output{OnFull: "block"},
	}
}

func configure(specs ...event.Spec) policy.Configure {
	in := policy.Configure{Actor: "supd", Digest: "d"}
	for _, s := range specs {
		in.Services = append(in.Services, policy.Definition{Name: s.Base, Spec: s})
	}
	return in
}

// life is a short history.
type life struct {
	name string
	run  func(r *rig)
}

// lives are each run with the engine dying at each of its calls to the outside.
var lives = []life{
	{"start and stop", func(r *rig) {
		r.send(event.VerbStart, nil, "web")
		r.calm(time.Second)
		r.expect("web", event.PhaseRunning, event.Up)
		r.send(event.VerbStop, nil, "web")
		r.calm(time.Second)
		r.expect("web", event.PhaseStopped, event.Down)
	}},
	{"restart", func(r *rig) {
		r.send(event.VerbStart, nil, "web")
		r.send(event.VerbRestart, nil, "web")
		r.calm(time.Second)
		r.send(event.VerbRestart, nil, "web")
		r.calm(time.Second)
		r.expect("web", event.PhaseRunning, event.Up)
	}},
	{"crash loop", func(r *rig) {
		r.send(event.VerbStart, nil, "web")
		for range 3 {
			r.calm(2 * time.Second)
			r.w.Exit("web", 1)
		}
		r.calm(3 * time.Second)
		r.expect("web", event.PhaseRunning, event.Up)
	}},
	{"stubborn with leftovers", func(r *rig) {
		r.w.Behave = func(string) policytest.Behaviour { return policytest.Behaviour{Stubborn: true, Leaves: true} }
		r.send(event.VerbStart, nil, "web")
		r.calm(time.Second)
		r.w.Exit("web", 1)
		r.calm(time.Second)
		r.send(event.VerbStop, nil, "web")
		r.calm(time.Minute)
		r.expect("web", event.PhaseStopped, event.Down)
	}},
	{"program missing", func(r *rig) {
		r.w.Behave = func(string) policytest.Behaviour { return policytest.Behaviour{ExecErrno: 2} }
		id := r.send(event.VerbStart, nil, "web")
		r.calm(time.Second)
		r.expect("web", event.PhaseFatal, event.Down)
		if r.outcomes[id].Outcome != event.Failed {
			r.fatalf("the caller hears %q", r.outcomes[id].Outcome)
		}
	}},
	{"no stub", func(r *rig) {
		errno := 11
		r.w.Behave = func(string) policytest.Behaviour { return policytest.Behaviour{ParkErrno: errno} }
		r.send(event.VerbStart, nil, "web")
		r.calm(600 * time.Millisecond)
		errno = 0
		r.calm(5 * time.Second)
		r.expect("web", event.PhaseRunning, event.Up)
	}},
	{"signal", func(r *rig) {
		r.send(event.VerbStart, nil, "web")
		r.calm(time.Second)
		id := r.send(event.VerbSignal, map[string]string{event.ArgSignal: "HUP"}, "web")
		r.calm(time.Second)
		if r.outcomes[id].Outcome != event.Done {
			r.fatalf("the caller hears %q", r.outcomes[id].Outcome)
		}
	}},
	{"changed configuration", func(r *rig) {
		a, b := rigSpec("web"), rigSpec("db")
		a.Autostart, b.Autostart = true, true
		r.input(configure(b, a))
		r.calm(time.Second)
		untouched := r.w.Running("db")
		a.Nice = 1
		r.input(configure(b, a))
		r.input(configure(b, a)) // an engine that died may not have heard of the first
		r.calm(time.Second)
		r.send(event.VerbStart, nil, "web", "db")
		r.calm(time.Second)
		r.expect("web", event.PhaseRunning, event.Up)
		if now := r.w.Running("db"); len(untouched) == 1 && (len(now) != 1 || now[0] != untouched[0]) {
			r.fatalf("P7: db was touched")
		}
	}},
	{"apply", func(r *rig) {
		web, db, gone := rigSpec("web"), rigSpec("db"), rigSpec("gone")
		web.Autostart, db.Autostart, gone.Autostart = true, true, true
		apply := func(digest string, specs ...event.Spec) {
			r.file = configure(specs...)
			r.file.Digest = digest
			id := r.send(event.VerbApply, nil)
			r.calm(time.Minute)
			if got := r.outcomes[id].Outcome; got != event.Done && got != event.Unchanged {
				r.fatalf("the caller hears %q", got)
			}
		}
		apply("a", db, gone, web)
		r.send(event.VerbStart, nil, "db", "web") // they were defined before, and not started
		r.calm(time.Second)
		untouched := r.w.Running("db")
		web.Nice = 1
		added := rigSpec("added")
		added.Autostart = true
		apply("b", added, db, web)
		apply("b", added, db, web)
		r.expect("web", event.PhaseRunning, event.Up)
		r.expect("added", event.PhaseRunning, event.Up)
		if r.core.State().Services["gone"] != nil || len(r.w.Running("gone")) > 0 || r.core.State().Config.Digest != "b" {
			r.fatalf("the configuration is not what was applied")
		}
		if now := r.w.Running("db"); len(untouched) != 1 || len(now) != 1 || now[0] != untouched[0] {
			r.fatalf("P7: db was touched")
		}
	}},
	{"reload", func(r *rig) {
		web := rigSpec("web")
		web.ReloadSignal = "SIGHUP"
		r.input(configure(web))
		r.input(configure(web)) // an engine that died may not have heard of the first
		r.send(event.VerbStart, nil, "web")
		r.calm(time.Second)
		id := r.send(event.VerbReload, nil, "web")
		r.calm(time.Second)
		if r.outcomes[id].Outcome != event.Done {
			r.fatalf("the caller hears %q", r.outcomes[id].Outcome)
		}
	}},
	{"keeper lost", func(r *rig) {
		r.send(event.VerbStart, nil, "web")
		r.send(event.VerbSignal, map[string]string{event.ArgSignal: "HUP"}, "web")
		r.send(event.VerbStop, nil, "web")
		r.send(event.VerbStart, nil, "web")
		r.w.NewKeeper()
		r.boot()
		r.calm(time.Minute)
		r.expect("web", event.PhaseRunning, event.Up)
	}},
	{"shutdown", func(r *rig) {
		r.send(event.VerbStart, nil, "web", "db")
		r.calm(time.Second)
		r.send(event.VerbShutdown, nil)
		r.calm(time.Minute)
		if s := r.core.State(); !s.Supd.Stopped || !r.quit {
			r.fatalf("it has not stopped")
		}
		last := r.records[len(r.records)-1].Record.Kind
		if last != event.SupdStopped {
			r.fatalf("the last record is %s", last)
		}
	}},
}

// TestCrashAtEveryStep kills the engine at its k-th call to the outside, for
// each k until the history ends without that.
func TestCrashAtEveryStep(t *testing.T) {
	for _, hang := range []bool{false, true} {
		for _, life := range lives {
			name := fmt.Sprintf("%s, disk hangs %v", life.name, hang)
			t.Run(name, func(t *testing.T) {
				k := 0
				for ; ; k++ {
					r := newRig(t, fmt.Sprintf("%s, k=%d", name, k), -1)
					r.input(configure(rigSpec("db"), rigSpec("web")))
					r.calm(time.Second)
					r.untilCrash, r.hang = k, hang
					life.run(r)
					r.hang = false
					r.calm(time.Minute)
					r.finish()
					if !r.crashed {
						break
					}
				}
				t.Logf("%d places to die", k)
				if k < 5 {
					t.Errorf("only %d places to die: the points are not reached", k)
				}
			})
		}
	}
}

// A hanging disk delays an act by 20 ms and an answer by 200 ms, and the
// degraded time is bracketed.
func TestHangingDisk(t *testing.T) {
	r := newRig(t, "hang", -1)
	r.input(configure(rigSpec("web")))
	r.calm(time.Second)
	r.hang = true
	from := r.w.Now.Mono
	id := r.send(event.VerbStart, nil, "web")
	for len(r.w.Running("web")) == 0 {
		if !r.turn() {
			wait, ok := r.core.Next()
			if !ok {
				t.Fatal("nothing is due, and nothing runs")
			}
			r.w.Advance(wait)
			r.do(r.core.Pass)
		}
	}
	if took := time.Duration(r.w.Now.Mono - from); took != ActGrace {
		t.Errorf("P5: the gate opened after %s", took)
	}
	if len(r.replies[id]) != 0 {
		t.Errorf("R1: answered before the journal had a chance: %+v", r.replies[id])
	}
	r.calm(time.Second)
	if got := r.replies[id]; len(got) != 2 || got[0].Durable || got[1].Outcome != event.Done || got[1].Durable {
		t.Errorf("R1: want accepted and done, not yet durable: %+v", got)
	}
	if !r.core.State().Supd.Degraded {
		t.Error("R1: no degraded time")
	}
	// In it nothing waits.
	from = r.w.Now.Mono
	r.send(event.VerbStop, nil, "web")
	r.do(r.core.Pass)
	for r.turn() {
	}
	if len(r.w.Running("web")) > 0 || r.w.Now.Mono != from {
		t.Error("P5: a stop waits for a disk that is known to hang")
	}
	r.hang = false
	r.calm(time.Second)
	var healed event.JournalHealedData
	count := map[event.Kind]int{}
	for _, e := range r.records {
		count[e.Record.Kind]++
		if d, ok := e.Record.Data.(event.JournalHealedData); ok {
			healed = d
		}
	}
	if count[event.JournalDegraded] != 1 || count[event.JournalHealed] != 1 {
		t.Errorf("R1: want one bracket: %v", count)
	}
	if healed.Records == 0 || healed.Duration < event.Duration(100*time.Millisecond) {
		t.Errorf("healed says %+v", healed)
	}
	r.finish()
}

// A degraded time that an earlier engine opened ends only when all that the
// journal kept is durable.
func TestDegradedAcrossEngines(t *testing.T) {
	r := newRig(t, "degraded", -1)
	r.input(configure(rigSpec("web")))
	r.calm(time.Second)
	was := r.durable
	r.hang = true
	r.send(event.VerbStart, nil, "web")
	r.calm(time.Second)
	r.boot()
	r.do(func() error { return r.core.SetDurable(was) })
	if !r.core.State().Supd.Degraded {
		t.Error("healed although nothing more is durable")
	}
	r.hang = false
	r.calm(time.Second)
	if r.core.State().Supd.Degraded {
		t.Error("not healed")
	}
}

// A slow stop delays nobody else (R8).
func TestSlowStop(t *testing.T) {
	r := newRig(t, "slow", -1)
	r.w.Behave = func(s string) policytest.Behaviour { return policytest.Behaviour{Stubborn: s == "slow"} }
	r.input(configure(rigSpec("quick"), rigSpec("slow")))
	r.send(event.VerbStart, nil, "all")
	r.calm(time.Second)
	from := r.w.Now.Mono
	r.send(event.VerbStop, nil, "slow")
	stop, start := r.send(event.VerbStop, nil, "quick"), r.send(event.VerbStart, nil, "quick")
	for range 100 {
		r.do(r.core.Pass)
		if !r.turn() {
			break
		}
	}
	if r.w.Now.Mono != from || r.outcomes[stop].Outcome != event.Superseded || r.outcomes[start].Outcome != event.Done {
		t.Errorf("after %s: stop %q, start %q", time.Duration(r.w.Now.Mono-from), r.outcomes[stop].Outcome, r.outcomes[start].Outcome)
	}
	r.expect("quick", event.PhaseRunning, event.Up)
	r.expect("slow", event.PhaseStopping, event.Down)
	r.calm(time.Minute)
	r.finish()
}

func TestBusyInbox(t *testing.T) {
	r := newRig(t, "busy", -1)
	r.w.Behave = func(string) policytest.Behaviour { return policytest.Behaviour{Stubborn: true} }
	r.input(configure(rigSpec("web")))
	r.send(event.VerbStart, nil, "web")
	r.calm(time.Second)
	r.core.Inbox = 3
	var last string
	for range 4 {
		last = r.send(event.VerbRestart, nil, "web")
	}
	got := r.replies[last]
	if len(got) != 1 || got[0].Status != event.ReplyBusy {
		t.Errorf("the fourth of three gets %+v", got)
	}
	delete(r.commands, last)
	r.calm(time.Minute)
	r.finish()
	if n := len(r.core.waiters); n > 0 {
		t.Errorf("P9: %d commands are waited for that nobody will answer", n)
	}
}

// Stubs in flight are bounded, a person's come first, and one that is made
// urgent does not wait for its place.
func TestParks(t *testing.T) {
	var specs []event.Spec
	for i := range 20 {
		s := rigSpec(fmt.Sprintf("s%02d", i))
		s.Autostart = true
		specs = append(specs, s)
	}
	r := newRig(t, "parks", -1)
	r.input(configure(specs...))
	if len(r.parking) != 2 {
		t.Fatalf("P9: %d stubs are being parked", len(r.parking))
	}
	r.send(event.VerbStart, nil, "s19")
	r.turn()
	r.turn()
	r.turn()
	if r.w.Stubs("s19") == 0 {
		t.Error("a person's start waits behind those that supd decided")
	}
	r.calm(time.Minute)
	for _, s := range specs {
		r.expect(s.Base, event.PhaseRunning, event.Up)
	}
	r.finish()
}

// What another caller gets wrong is no answer for the one who waits.
func TestRepliesGoToTheAsker(t *testing.T) {
	r := newRig(t, "asker", -1)
	r.w.Behave = func(string) policytest.Behaviour { return policytest.Behaviour{Stubborn: true} }
	r.input(configure(rigSpec("web")))
	r.send(event.VerbStart, nil, "web")
	r.calm(time.Second)
	id := r.send(event.VerbStop, nil, "web")
	for r.turn() {
	}
	var other []event.CommandReply
	r.core.Await(id, func(reply event.CommandReply) { other = append(other, reply) })
	r.input(policy.Command{Actor: "uid-7", Request: event.CommandRequest{ID: id, Verb: event.VerbStart, Patterns: []string{"web"}}})
	r.calm(time.Minute)
	if len(other) != 1 || other[0].Reason != event.RejectIDConflict {
		t.Errorf("the second caller hears %+v", other)
	}
	if got := r.replies[id]; len(got) != 2 || got[1].Outcome != event.Done {
		t.Errorf("the first caller hears %+v", got)
	}
	r.finish()
}

func TestPoison(t *testing.T) {
	r := newRig(t, "poison", -1)
	r.input(configure(rigSpec("web")))
	r.calm(time.Second)
	req := event.CommandRequest{ID: r.ID(), Verb: event.VerbStart, Patterns: []string{"web"}}
	r.core.Poisoned = req.ID
	r.commands[req.ID] = req
	r.do(func() error { return r.hand(req) })
	r.calm(time.Second)
	if got := r.replies[req.ID]; len(got) != 1 || got[0].Status != event.ReplyRejected || got[0].Seq == 0 {
		t.Errorf("a poisonous command is answered %+v", got)
	}
	if r.records[len(r.records)-1].Record.Kind != event.CommandRejected {
		t.Error("R12: the journal does not say that it was set aside")
	}
	r.expect("web", event.PhaseStopped, event.Down)
}

// Starts that the keeper or the store of launches refuses.
func TestRefusedParks(t *testing.T) {
	for _, c := range []struct {
		name               string
		parkErr, launchErr error
		phase              event.Phase
		want               event.Want
	}{
		{"keeper gone", fmt.Errorf("send: %w", syscall.EPIPE), nil, event.PhaseStopped, event.Up},
		{"no descriptors", fmt.Errorf("memory: %w", syscall.EMFILE), nil, event.PhaseBackoff, event.Up},
		{"disk error", nil, fmt.Errorf("read: %w", syscall.EIO), event.PhaseBackoff, event.Up},
		{"too long", errors.New("arguments exceed 4 MiB"), nil, event.PhaseFatal, event.Down},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, c.name, -1)
			r.parkErr, r.launchErr = c.parkErr, c.launchErr
			r.input(configure(rigSpec("web")))
			r.send(event.VerbStart, nil, "web")
			r.calm(100 * time.Millisecond)
			r.expect("web", c.phase, c.want)
		})
	}
	t.Run("never waits", func(t *testing.T) {
		r := newRig(t, "never waits", -1)
		r.launchErr = syscall.EIO
		s := rigSpec("web")
		s.Backoff.Initial = 0
		r.input(configure(s))
		r.send(event.VerbStart, nil, "web") // must come back
		r.send(event.VerbStop, nil, "web")
		r.calm(time.Second)
		r.expect("web", event.PhaseStopped, event.Down)
		r.finish()
	})
}

// Two ended instances whose output is not on disk yet hold the next start (R7).
func TestUndrainedOutput(t *testing.T) {
	for _, onFull := range []string{"block", "drop"} {
		r := newRig(t, onFull, -1)
		s := rigSpec("web")
		s.Output.OnFull = onFull
		r.input(configure(s))
		r.core.OutputPending("web", "a", true)
		r.core.OutputPending("web", "b", true)
		r.send(event.VerbStart, nil, "web")
		r.calm(time.Second)
		if onFull == "block" {
			r.expect("web", event.PhaseStopped, event.Up)
			r.core.OutputPending("web", "a", false)
			r.calm(time.Second)
		}
		r.expect("web", event.PhaseRunning, event.Up)
		r.finish()
	}
}

func TestTimers(t *testing.T) {
	tm := newTimers()
	tm.set("a", 10)
	tm.set("b", 5)
	tm.set("a", 3)
	tm.set("a", 10)
	tm.clear("b")
	if _, ok := tm.due(9); ok || tm.next() != 10 {
		t.Errorf("next is %d", tm.next())
	}
	if name, ok := tm.due(10); !ok || name != "a" {
		t.Errorf("due: %q %v", name, ok)
	}
	if _, ok := tm.due(1 << 60); ok || tm.next() != never {
		t.Error("a deadline came twice")
	}
}

// What a journal error does: the engine ends, and acts on nothing.
func TestRunLogFails(t *testing.T) {
	r := newRig(t, "run log", -1)
	r.input(configure(rigSpec("web")))
	r.core.Journal = failing{rigJournal{r}}
	if err := r.core.Step(policy.Command{Actor: "uid-0", Request: event.CommandRequest{
		ID: r.ID(), Verb: event.VerbStart, Patterns: []string{"web"},
	}}); err == nil {
		t.Fatal("a record that was not kept is no error")
	}
	if r.w.Stubs("web") > 0 {
		t.Error("acted without a record")
	}
}

type failing struct{ rigJournal }

func (failing) Append([]event.Encoded) error { return syscall.ENOSPC }
