package executor

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"supd/executor/keeper"
	"supd/executor/keeper/wire"
	"supd/executor/probe"
	"supd/journal/event"
)

// drains are what a loop has asked to be told when all was heard.
type drains struct{ asked []func() }

func (d *drains) ask(heard func()) bool { d.asked = append(d.asked, heard); return true }

// heard tells it, as a prober does.
func (d *drains) heard() {
	asked := d.asked
	d.asked = nil
	for _, f := range asked {
		f()
	}
	synctest.Wait()
}

// followed is a loop whose service web runs and speaks for itself.
func followed(t *testing.T, f func(r *loopRig, d *drains, slot *keeper.Slot)) {
	d := &drains{}
	inLoop(t, func(r *loopRig, c *LoopConfig) {
		c.Drain = d.ask
		c.Ready = func(c *Core) error {
			web := rigSpec("web")
			web.Ready = &event.Ready{Notify: true, Timeout: event.Duration(time.Minute)}
			return c.Step(configure(web))
		}
	}, func(t *testing.T, r *loopRig) {
		r.table(keeper.Table{})
		r.command(event.VerbStart, "web")
		synctest.Wait()
		f(r, d, r.host.of("web"))
	})
}

// names has the service name a process, and returns why it is refused.
func (r *loopRig) names(instance string, pid int) (refused string) {
	r.t.Helper()
	refused, err := r.loop.Follow(context.Background(), probe.Main{Service: "web", Instance: instance, PID: pid, Sender: 1000})
	if err != nil {
		r.t.Fatal(err)
	}
	return refused
}

// dies tells that the main process is dead and others of its tree are not.
func (r *loopRig) dies(s *keeper.Slot) {
	s.State, s.Leftovers, s.Exit = wire.StateExited, true, keeper.Exit{Known: true}
	r.tell(keeper.Exited{Slot: *s})
}

func (r *loopRig) recorded(kind event.Kind, want int) {
	r.t.Helper()
	synctest.Wait()
	if got := len(r.journal.of(kind)); got != want {
		r.t.Fatalf("%d records of %s, want %d\n%s", got, kind, want, r.journal)
	}
}

func TestFollow(t *testing.T) {
	followed(t, func(r *loopRig, _ *drains, s *keeper.Slot) {
		id, first := s.Instance, s.PID
		if why := r.names(id, first); why != "" || len(r.host.followed) != 0 {
			t.Errorf("it named itself: %q, asked %v", why, r.host.followed)
		}
		if why := r.names(id, 7); why != wire.RefusalStranger.String() {
			t.Errorf("a stranger: %q", why)
		}
		if why := r.names("another", 5000); why != wire.RefusalEnded.String() {
			t.Errorf("an instance of before: %q", why)
		}
		r.recorded(event.InstanceAdopted, 0)
		if why := r.names(id, 5000); why != "" {
			t.Errorf("refused: %q", why)
		}
		r.recorded(event.InstanceAdopted, 1) // kept when Follow returns
		if i := r.state.Services["web"].Instance; i.PID != 5000 || i.Run != 1 || i.ID != id {
			t.Errorf("the state has %+v", i)
		}
		if f := r.host.followed[1]; f != (keeper.Follow{Instance: id, PID: 5000, Sender: 1000, User: 1000}) {
			t.Errorf("asked for %+v", f)
		}
	})
}

// The exit comes first, what it said before lies in the socket: it is no exit.
func TestNamedBeforeItsEnd(t *testing.T) {
	followed(t, func(r *loopRig, d *drains, s *keeper.Slot) {
		r.dies(s)
		r.recorded(event.InstanceExited, 0)
		if why := r.names(s.Instance, 5000); why != "" {
			t.Fatalf("refused: %q", why)
		}
		d.heard()
		r.pass(2 * hearLimit)
		r.recorded(event.InstanceExited, 0)
		r.recorded(event.InstanceAdopted, 1)
		// And its own end is one.
		r.dies(s)
		d.heard()
		r.recorded(event.InstanceExited, 1)
	})
}

// An exit that was taken back decides nothing later, and nothing of a later exit:
// that one waits until all is heard that was said before it.
func TestExitTakenBack(t *testing.T) {
	followed(t, func(r *loopRig, d *drains, s *keeper.Slot) {
		r.dies(s)
		first := drains{asked: d.asked}
		d.asked = nil
		if why := r.names(s.Instance, 5000); why != "" {
			t.Fatalf("refused: %q", why)
		}
		r.pass(hearLimit / 2)
		r.dies(s)
		first.heard()
		r.recorded(event.InstanceExited, 0)
		r.pass(hearLimit / 2) // the first one's
		r.recorded(event.InstanceExited, 0)
		d.heard()
		r.recorded(event.InstanceExited, 1)
	})
}

func TestEndAfterAllIsHeard(t *testing.T) {
	for name, how := range map[string]func(r *loopRig, d *drains, s *keeper.Slot){
		"nothing was said": func(r *loopRig, d *drains, _ *keeper.Slot) { d.heard() },
		"nobody could be followed": func(r *loopRig, d *drains, s *keeper.Slot) {
			if r.names(s.Instance, 7) == "" {
				t.Error("followed")
			}
			d.heard()
		},
		"it says too much": func(r *loopRig, _ *drains, _ *keeper.Slot) { r.pass(hearLimit + time.Millisecond) },
		"all of it ended": func(r *loopRig, _ *drains, s *keeper.Slot) {
			s.TreeEmpty = true
			r.tell(keeper.TreeEmpty{Slot: *s})
		},
	} {
		t.Run(name, func(t *testing.T) {
			followed(t, func(r *loopRig, d *drains, s *keeper.Slot) {
				r.dies(s)
				r.recorded(event.InstanceExited, 0)
				how(r, d, s)
				r.recorded(event.InstanceExited, 1)
				d.heard()
				r.pass(2 * hearLimit)
				r.recorded(event.InstanceExited, 1)
				if why := r.names(s.Instance, 5000); why != wire.RefusalEnded.String() {
					t.Errorf("named too late: %q", why)
				}
				r.recorded(event.InstanceAdopted, 0)
			})
		})
	}
}

// While the keeper has not answered, an exit is not decided however long it takes:
// the instance may live again, and nothing is started beside it (P1).
func TestEndWaitsForTheKeeper(t *testing.T) {
	followed(t, func(r *loopRig, d *drains, s *keeper.Slot) {
		r.dies(s)
		r.host.mute = true
		answer := make(chan string, 1)
		go func() { answer <- r.names(s.Instance, 5000) }()
		synctest.Wait()
		d.heard()
		r.pass(10 * hearLimit)
		r.recorded(event.InstanceExited, 0)
		s.Named, s.Refused = 5000, wire.RefusalGone
		r.tell(keeper.Unchanged{Slot: *s})
		if why := <-answer; why != wire.RefusalGone.String() {
			t.Errorf("the keeper's answer: %q", why)
		}
		r.recorded(event.InstanceExited, 1)
	})
}

// An engine that starts finds the exit that its predecessor had not decided: what
// was said before is heard first.
func TestFollowAcrossEngines(t *testing.T) {
	for _, said := range []bool{true, false} {
		d := &drains{}
		inLoop(t, func(_ *loopRig, c *LoopConfig) { c.Drain = d.ask }, func(t *testing.T, r *loopRig) {
			var table keeper.Table
			r.runningBefore(&table, &event.Ready{Notify: true})
			s := &table.Slots[0]
			s.State, s.Leftovers, s.Exit = wire.StateExited, true, keeper.Exit{Known: true}
			r.table(table)
			r.recorded(event.InstanceExited, 0)
			if said && r.names(s.Instance, 5000) != "" {
				t.Fatal("refused")
			}
			d.heard()
			if said {
				r.recorded(event.InstanceAdopted, 1)
				r.recorded(event.InstanceExited, 0)
				return
			}
			r.recorded(event.InstanceExited, 1)
		})
	}
}

// The keeper had switched and the engine that asked was dead: the table tells.
func TestFollowedInTheTable(t *testing.T) {
	inLoop(t, nil, func(t *testing.T, r *loopRig) {
		var table keeper.Table
		r.runningBefore(&table, nil)
		table.Slots[0].PID, table.Slots[0].StartTime = 5000, 9
		r.table(table)
		r.recorded(event.InstanceAdopted, 1)
		if i := r.state.Services["web"].Instance; i.PID != 5000 || i.StartTime != 9 || i.Run != 1 {
			t.Errorf("the state has %+v", i)
		}
	})
}
