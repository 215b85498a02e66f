package executor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"supd/executor/keeper"
	"supd/executor/keeper/wire"
	"supd/executor/policy"
	"supd/journal/event"
	"supd/projector"
)

func TestLoopSettlesAndServes(t *testing.T) {
	inLoop(t, nil, func(t *testing.T, r *loopRig) {
		if r.loop.Mode() != "" || r.loop.KeeperInfo() != nil {
			t.Error("the loop claims to know its keeper before the table came")
		}
		r.table(keeper.Table{})
		if got := r.loop.Mode(); got != event.ModeFirst {
			t.Errorf("mode %q", got)
		}
		if k := r.loop.KeeperInfo(); k == nil || k.PID != 100 {
			t.Errorf("keeper %+v", k)
		}
		var kinds []event.Kind
		for _, rec := range r.journal.records[:3] {
			kinds = append(kinds, rec.Kind)
		}
		if want := []event.Kind{event.EngineStarted, event.KeeperStarted, event.ConfigApplied}; !slices.Equal(kinds, want) {
			t.Errorf("it begins with %v, want %v", kinds, want)
		}
		a := r.command(event.VerbStart, "web")
		synctest.Wait()
		if n := len(a.replies); n != 2 || a.replies[0].Status != event.ReplyAccepted || a.replies[1].Outcome != event.Done || !a.replies[1].Durable {
			t.Errorf("answers %+v", a.replies)
		}
		err := r.loop.View(t.Context(), func(s *projector.State, durable event.Seq) {
			if v := s.Services["web"]; v.Phase != event.PhaseRunning || durable != s.Seq() {
				t.Errorf("%s, durable %d of %d", v.Phase, durable, s.Seq())
			}
		})
		if err != nil {
			t.Error(err)
		}
		r.cancel()
		if err := r.end(); err != nil {
			t.Errorf("a cancelled loop ends with %v", err)
		}
	})
}

// Before the table is settled the state may say that supd has stopped; who
// calls then is served when it is true.
func TestCallersWaitForRecovery(t *testing.T) {
	inLoop(t, nil, func(t *testing.T, r *loopRig) {
		early := r.command(event.VerbStart, "web")
		r.loop.Note(policy.Denied{Actor: "uid-7", Subject: "s", Count: 1})
		r.pass(time.Minute)
		if len(early.replies) > 0 || len(r.journal.records) > 0 {
			t.Fatalf("decided before recovery: %+v\n%s", early.replies, r.journal)
		}
		r.table(keeper.Table{})
		if len(early.replies) != 2 || early.replies[1].Outcome != event.Done {
			t.Errorf("answers %+v", early.replies)
		}
		if len(r.journal.of(event.AccessDenied)) != 1 {
			t.Error("the note is lost")
		}
	})
}

func TestKeeperGone(t *testing.T) {
	for _, settled := range []bool{false, true} {
		inLoop(t, nil, func(t *testing.T, r *loopRig) {
			if settled {
				r.table(keeper.Table{})
			}
			close(r.host.events)
			if err := r.end(); !errors.Is(err, ErrKeeperGone) {
				t.Errorf("settled %v: %v", settled, err)
			}
		})
	}
}

func TestFullQueueIsBusyAtOnce(t *testing.T) {
	inLoop(t, nil, func(t *testing.T, r *loopRig) { // no table: nothing is taken from the queue
		first := r.command(event.VerbStart, "web")
		for range callQueue - 1 {
			if a := r.command(event.VerbStart, "web"); a.err != nil {
				t.Fatalf("refused before the queue is full: %v", a.err)
			}
		}
		if a := r.command(event.VerbStart, "web"); !errors.Is(a.err, ErrBusy) {
			t.Fatalf("a full queue says %v", a.err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.loop.View(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a read that finds no place says %v", err)
		}
		r.table(keeper.Table{})
		if len(first.replies) != 2 {
			t.Errorf("the queue is not worked off: %+v", first.replies)
		}
	})
}

func TestAfterTheEnd(t *testing.T) {
	inLoop(t, nil, func(t *testing.T, r *loopRig) {
		waiting := make(chan error, 1)
		go func() { waiting <- r.loop.Do(context.Background(), func(*Core) error { return nil }) }()
		synctest.Wait()
		close(r.host.events) // the keeper is gone, and the loop ends with a call in its queue
		_ = r.end()
		if err := <-waiting; !errors.Is(err, ErrSucceeded) {
			t.Errorf("who waits hears %v", err)
		}
		if a := r.command(event.VerbStart, "web"); !errors.Is(a.err, ErrSucceeded) {
			t.Errorf("a command hears %v", a.err)
		}
		if err := r.loop.View(t.Context(), nil); !errors.Is(err, ErrSucceeded) {
			t.Errorf("a read hears %v", err)
		}
		if err := r.loop.Input(t.Context(), policy.Base{}); !errors.Is(err, ErrSucceeded) {
			t.Errorf("an input hears %v", err)
		}
		r.loop.SetDurable(1)
		for range 2 * maxNotes {
			r.loop.Note(policy.Denied{Actor: "uid-7", Subject: "s", Count: 1})
		}
	})
}

// A caller who waits no longer may go on using his variables.
func TestCancelledCallNeverRuns(t *testing.T) {
	inLoop(t, nil, func(t *testing.T, r *loopRig) {
		ctx, cancel := context.WithCancel(t.Context())
		ran, waiting := false, make(chan error, 1)
		go func() { waiting <- r.loop.Do(ctx, func(*Core) error { ran = true; return nil }) }()
		synctest.Wait() // it is in the queue, and no table has come
		cancel()
		if err := <-waiting; !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		r.table(keeper.Table{})
		if ran {
			t.Error("the call ran after its caller had gone")
		}
	})
}

func TestErrorsEndTheLoop(t *testing.T) {
	broken := errors.New("broken")
	for name, act := range map[string]func(r *loopRig){
		"of a call": func(r *loopRig) {
			if err := r.loop.Do(r.t.Context(), func(*Core) error { return broken }); !errors.Is(err, broken) {
				r.t.Errorf("the caller hears %v", err)
			}
		},
		"of the run log": func(r *loopRig) {
			r.journal.set(false, broken)
			r.tell(keeper.LoggerStarted{Logger: wire.Logger{PID: 3}})
		},
		"of the keeper": func(r *loopRig) {
			r.host.fail = broken
			r.tell(hostSignal(1, syscall.SIGUSR1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			inLoop(t, nil, func(t *testing.T, r *loopRig) {
				r.table(keeper.Table{})
				act(r)
				if err := r.end(); !errors.Is(err, broken) {
					t.Errorf("the loop ends with %v", err)
				}
			})
		})
	}
}

func TestReadyEndsTheLoop(t *testing.T) {
	broken := errors.New("broken")
	inLoop(t, func(_ *loopRig, c *LoopConfig) { c.Ready = func(*Core) error { return broken } }, func(t *testing.T, r *loopRig) {
		r.table(keeper.Table{})
		if err := r.end(); !errors.Is(err, broken) {
			t.Error(err)
		}
	})
}

// SetDurable never blocks, and what was told last counts.
func TestSetDurableIsCoalesced(t *testing.T) {
	inLoop(t, nil, func(t *testing.T, r *loopRig) {
		r.journal.set(true, nil)
		r.table(keeper.Table{})
		var wg sync.WaitGroup
		last := event.Seq(len(r.journal.records))
		for seq := range last {
			wg.Go(func() { r.loop.SetDurable(seq) })
		}
		wg.Wait()
		r.loop.SetDurable(last)
		synctest.Wait()
		_ = r.loop.Do(t.Context(), func(c *Core) error {
			if c.Durable() != last {
				t.Errorf("durable %d, want %d", c.Durable(), last)
			}
			return nil
		})
	})
}

// An orderly end waits until the last answers are out (P2), and the answers
// for the disk no longer than they would anyway (P5).
func TestQuitAfterTheLastAnswer(t *testing.T) {
	inLoop(t, nil, func(t *testing.T, r *loopRig) {
		r.table(keeper.Table{})
		r.command(event.VerbStart, "web")
		r.pass(time.Second)
		r.journal.set(true, nil)
		from := time.Now()
		a := r.command(event.VerbShutdown)
		for len(r.journal.of(event.SupdStopped)) == 0 && time.Since(from) < time.Minute {
			r.pass(time.Millisecond)
		}
		if len(a.replies) > 0 {
			t.Fatalf("R1: answered at once, and the disk hangs: %+v", a.replies)
		}
		late := r.command(event.VerbStart, "web")
		r.pass(ReplyGrace)
		var quit QuitError
		if err := r.end(); !errors.As(err, &quit) || quit.KeepServices {
			t.Fatalf("it ends with %v", err)
		}
		if n := len(a.replies); n != 2 || a.replies[1].Outcome != event.Done || a.replies[1].Durable {
			t.Errorf("answers %+v", a.replies)
		}
		if len(late.replies) != 1 || late.replies[0].Reason != event.RejectShuttingDown {
			t.Errorf("who came late hears %+v", late.replies)
		}
		if last := r.journal.records[len(r.journal.records)-1].Kind; last != event.SupdStopped {
			t.Errorf("the last record is %s", last)
		}
	})
}

// Calls that are in the queue at the end are answered.
func TestQuitServesTheQueue(t *testing.T) {
	inLoop(t, nil, func(t *testing.T, r *loopRig) {
		end, inside := make(chan struct{}), make(chan struct{})
		r.table(keeper.Table{})
		go func() {
			_ = r.loop.Do(context.Background(), func(*Core) error { close(inside); <-end; return nil })
		}()
		<-inside
		r.command(event.VerbShutdown)
		var all []*answers
		for range 50 {
			all = append(all, r.command(event.VerbStart, "web"))
		}
		close(end)
		var quit QuitError
		if err := r.end(); !errors.As(err, &quit) {
			t.Fatal(err)
		}
		for i, a := range all {
			if len(a.replies) != 1 || a.replies[0].Reason != event.RejectShuttingDown {
				t.Errorf("caller %d hears %+v", i, a.replies)
			}
		}
	})
}

func TestHostSignals(t *testing.T) {
	const hup, term, intr = syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT
	tests := []struct {
		name          string
		table, later  []syscall.Signal
		stops, forced bool
		reloads       int
	}{
		{name: "none"},
		{name: "hup", later: []syscall.Signal{hup, hup}, reloads: 2},
		{name: "term", later: []syscall.Signal{term}, stops: true},
		{name: "int", later: []syscall.Signal{intr}, stops: true},
		{name: "quit", later: []syscall.Signal{syscall.SIGQUIT}, stops: true},
		{name: "hup, then term", later: []syscall.Signal{hup, term}, stops: true, reloads: 1},
		{name: "a second one forces", later: []syscall.Signal{term, intr}, stops: true, forced: true},
		{name: "told by the table", table: []syscall.Signal{hup, term}, stops: true, reloads: 1},
		{name: "two told by the table", table: []syscall.Signal{term, hup, term}, stops: true, forced: true, reloads: 1},
		{name: "one told, one heard", table: []syscall.Signal{term}, later: []syscall.Signal{term}, stops: true, forced: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inLoop(t, nil, func(t *testing.T, r *loopRig) {
				r.host.unkillable = true // so that supd is still there when the next signal comes
				number := uint64(0)
				var table keeper.Table
				next := func(sig syscall.Signal) keeper.HostSignal { number++; return hostSignal(number, sig) }
				for _, sig := range tt.table {
					table.HostSignals = append(table.HostSignals, next(sig))
				}
				r.runningBefore(&table, nil)
				r.table(table)
				for _, sig := range tt.later {
					r.tell(next(sig))
				}
				stopping := r.journal.of(event.SupdStopping)
				if (len(stopping) > 0) != tt.stops || r.reloads != tt.reloads {
					t.Errorf("stopping %v, %d reloads", stopping, r.reloads)
				}
				if n := len(stopping); n > 0 && stopping[n-1].Data.(event.SupdStoppingData).Forced != tt.forced {
					t.Errorf("forced is not %v: %+v", tt.forced, stopping)
				}
				if len(r.host.done) != int(number) {
					t.Errorf("%d of %d signals are done: %v", len(r.host.done), number, r.host.done)
				}
			})
		})
	}
}

// runningBefore gives the loop a state and a table in which web runs.
func (r *loopRig) runningBefore(t *keeper.Table, ready *event.Ready) {
	r.t.Helper()
	clock := &bubbleClock{start: time.Now(), serial: 1 << 20}
	core := NewCore(Config{
		State: r.state, Journal: r.journal, Keeper: newFakeHost(), Launches: r, Clock: clock, Source: "supd/test/0",
		Inbox: 8, Concurrency: 4,
	})
	web := rigSpec("web")
	web.Ready = ready
	for _, in := range []policy.Input{
		policy.Started{Keeper: event.KeeperStartedData{PID: 100, StartTime: 7}},
		policy.Settle{},
		configure(web),
		policy.Command{Actor: "uid-0", Request: event.CommandRequest{ID: rigID(time.Now(), 7), Verb: event.VerbStart, Patterns: []string{"web"}}},
	} {
		if err := core.Step(in); err != nil {
			r.t.Fatal(err)
		}
	}
	id := core.parks.busy["web"].instance
	for _, in := range []policy.Input{
		policy.Parked{Service: "web", Instance: id, PID: 1001, StartTime: 5}, policy.Executed{Service: "web", Instance: id},
	} {
		if err := core.Step(in); err != nil {
			r.t.Fatal(err)
		}
	}
	slot := keeper.Slot{Service: "web", Instance: id, State: wire.StateOpen, Execed: true, PID: 1001, StartTime: 5}
	r.host.slots[id] = &slot
	t.Info = keeper.Info{PID: 100, StartTime: 7, EngineStarts: 2}
	t.Slots = append(t.Slots, slot)
}

// A signal that was told and recorded, and is told again to the next engine,
// is not a second one.
func TestSignalToldAgainIsNotASecond(t *testing.T) {
	inLoop(t, nil, func(t *testing.T, r *loopRig) {
		r.host.unkillable = true
		var table keeper.Table
		r.runningBefore(&table, nil)
		core := NewCore(Config{State: r.state, Journal: r.journal, Clock: &bubbleClock{start: time.Now(), serial: 1 << 21}, Source: "supd/test/0"})
		if err := core.Step(policy.Shutdown{Reason: event.ReasonSignal}); err != nil {
			t.Fatal(err)
		}
		table.HostSignals = []keeper.HostSignal{hostSignal(1, syscall.SIGTERM)}
		r.table(table)
		if n := len(r.journal.of(event.SupdStopping)); n != 1 {
			t.Errorf("supd.stopping is recorded %d times\n%s", n, r.journal)
		}
	})
}

// What cannot be killed holds an orderly end up for as long as it lives, and a
// forced one until it is known and named.
func TestForcedEndLeavesTheStuckBehind(t *testing.T) {
	inLoop(t, nil, func(t *testing.T, r *loopRig) {
		r.table(keeper.Table{})
		r.command(event.VerbStart, "web", "db")
		r.pass(time.Second)
		r.host.unkillable = true
		r.tell(hostSignal(1, syscall.SIGTERM))
		r.pass(time.Hour)
		r.runs()
		if n := len(r.journal.of(event.InstanceStuck)); n != 2 {
			t.Fatalf("%d are stuck\n%s", n, r.journal)
		}
		r.host.exit(r.host.of("db").Instance, syscall.WaitStatus(syscall.SIGKILL))
		r.tell(hostSignal(2, syscall.SIGTERM))
		var quit QuitError
		if err := r.end(); !errors.As(err, &quit) || !quit.KeepServices {
			t.Fatalf("it ends with %v", err)
		}
		last := r.journal.records[len(r.journal.records)-1]
		if d, ok := last.Data.(event.SupdStoppedData); !ok || !d.Forced || d.KeepServices {
			t.Errorf("the last record is %s %+v", last.Kind, last.Data)
		}
	})
}

// Forced at once, it still gives KILL the time that KILL takes.
func TestForcedEndWaitsForKill(t *testing.T) {
	inLoop(t, nil, func(t *testing.T, r *loopRig) {
		r.table(keeper.Table{})
		r.command(event.VerbStart, "web")
		r.pass(time.Second)
		r.host.unkillable = true
		r.tell(hostSignal(1, syscall.SIGTERM), hostSignal(2, syscall.SIGTERM))
		r.pass(policy.StuckAfter - time.Millisecond)
		r.runs()
		r.pass(time.Second)
		var quit QuitError
		if err := r.end(); !errors.As(err, &quit) || !quit.KeepServices {
			t.Fatalf("it ends with %v", err)
		}
		if stuck := r.journal.of(event.InstanceStuck); len(stuck) != 1 || stuck[0].Subject != "web" {
			t.Errorf("who is left behind is not named: %v", stuck)
		}
		if want := []string{"SIGTERM", "SIGKILL"}; !slices.Equal(r.host.sent, want) {
			t.Errorf("sent %v", r.host.sent)
		}
	})
}

// A service whose output is not drained is not started a third time (R7).
func TestUndrainedOutputHoldsTheStart(t *testing.T) {
	inLoop(t, nil, func(t *testing.T, r *loopRig) {
		r.host.undrained = true
		r.table(keeper.Table{})
		r.command(event.VerbStart, "web")
		var dead []keeper.Slot
		for range maxUndrained {
			r.pass(time.Second)
			r.host.exit(r.host.of("web").Instance, 1<<8)
			synctest.Wait()
			dead = append(dead, *r.host.of("web"))
		}
		r.pass(time.Minute)
		starts := func() int { return len(r.journal.of(event.InstanceStarting)) }
		if starts() != maxUndrained {
			t.Fatalf("started %d times", starts())
		}
		gone := dead[0]
		for _, s := range dead {
			if s.PID < gone.PID {
				gone = s
			}
		}
		gone.StdoutDrained = true
		r.tell(keeper.Drained{Slot: gone, Stream: wire.Stdout})
		r.pass(time.Second)
		if starts() != maxUndrained+1 {
			t.Errorf("started %d times after the output was drained", starts())
		}
	})
}

func TestLoggerIsHeard(t *testing.T) {
	inLoop(t, nil, func(t *testing.T, r *loopRig) {
		r.table(keeper.Table{Info: keeper.Info{PID: 100, Logger: wire.Logger{PID: 3, Starts: 1}}})
		r.tell(
			keeper.LoggerStarted{Logger: wire.Logger{Death: wire.Death{PID: 3, Signal: 9}}}, // dead, and no other yet
			keeper.LoggerStarted{Logger: wire.Logger{PID: 4, Starts: 2, Death: wire.Death{PID: 3, Signal: 9}}},
			keeper.LoggerEvent{LoggerEvent: wire.LoggerEvent{Data: []byte("web")}},
			keeper.LoggerEvent{LoggerEvent: wire.LoggerEvent{Data: []byte("bad"), Dropped: 7}},
		)
		r.runs()
		started := r.journal.of(event.LoggerStarted)
		if len(started) != 2 {
			t.Fatalf("loggers %+v", started)
		}
		d := started[1].Data.(event.LoggerStartedData)
		if d.PID != 4 || d.Previous == nil || d.Previous.PID != 3 || d.Previous.Signal != "SIGKILL" || d.Previous.Code != nil {
			t.Errorf("%+v", d)
		}
		if k := r.loop.KeeperInfo(); k.Logger.PID != 4 || k.PID != 100 {
			t.Errorf("%+v", k)
		}
		if notes := r.journal.of(event.OutputTrimmed); len(notes) != 1 || notes[0].Subject != "web" {
			t.Errorf("%+v", notes)
		}
		if log := r.log.String(); !containsAll(log, "dropped=7", "cannot read a report of the logger: bad") {
			t.Errorf("log: %s", log)
		}
	})
}

// Many callers at once, for the race detector.
func TestManyCallers(t *testing.T) {
	inLoop(t, nil, func(t *testing.T, r *loopRig) {
		r.table(keeper.Table{})
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i%3)*time.Millisecond)
				defer cancel()
				seen := event.Seq(0)
				err := r.loop.View(ctx, func(s *projector.State, _ event.Seq) { seen = s.Seq() })
				if err == nil && seen == 0 || err != nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v, %d", err, seen)
				}
				r.loop.Note(policy.Denied{Actor: fmt.Sprint("uid-", i), Subject: "s", Count: 1})
				r.loop.SetDurable(1)
			})
		}
		wg.Wait()
	})
}
