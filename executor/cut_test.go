package executor

import (
	"testing"
	"time"

	"supd/executor/policy/policytest"
	"supd/journal/event"
)

// cutAfter loses all records behind the newest of a kind, as power does that
// fails within a batch, or the loss of a run log.
func (r *rig) cutAfter(kind event.Kind) {
	n := len(r.records)
	for n > 0 && r.records[n-1].Record.Kind != kind {
		n--
	}
	r.cut(event.Seq(n))
	r.witness.doubt()
	r.witness.again(r.records)
	r.w.Unsay()
	clear(r.outcomes) // as if nobody had been answered yet
}

// An instance that only a lost run log knew is ended, and as long as it is not
// dead no other one starts (P1, R4).
func TestStrangerHasToDieFirst(t *testing.T) {
	r := newRig(t, "stranger", -1)
	r.w.Behave = func(string) policytest.Behaviour { return policytest.Behaviour{DiesIn: 3 * time.Second} }
	r.input(configure(rigSpec("web")))
	r.send(event.VerbStart, nil, "web")
	r.calm(time.Second)
	stranger := r.w.Running("web")
	r.w.Behave = nil
	r.cutAfter(event.ServiceWanted) // and instance.starting is lost
	r.boot()
	r.calm(2 * time.Second)
	if now := r.w.Running("web"); len(now) != 1 || now[0] != stranger[0] {
		t.Fatalf("%v run, and the stranger %v is not dead", now, stranger)
	}
	r.calm(5 * time.Second)
	r.expect("web", event.PhaseRunning, event.Up)
	r.finish()
}

// Power that fails within a batch leaves its first records. Recovery goes on
// with a command that has no want yet, and with an exit that nothing follows.
func TestHalfABatch(t *testing.T) {
	for _, last := range []event.Kind{event.CommandAccepted, event.InstanceExited} {
		t.Run(string(last), func(t *testing.T) {
			r := newRig(t, string(last), -1)
			r.input(configure(rigSpec("web")))
			r.send(event.VerbStart, nil, "web")
			r.calm(time.Second)
			r.w.Exit("web", 1)
			r.calm(time.Second)
			r.cutAfter(last)
			r.w.Reboot()
			r.boot()
			r.calm(time.Minute)
			r.expect("web", event.PhaseRunning, event.Up)
			r.finish()
		})
	}
}

// A service that waits for the end of one with which it is in conflict starts
// when that one has gone, though the conflict has gone with it.
func TestConflictIsRemoved(t *testing.T) {
	r := newRig(t, "conflict", -1)
	r.w.Behave = func(s string) policytest.Behaviour { return policytest.Behaviour{Stubborn: s == "old"} }
	web, old := rigSpec("web"), rigSpec("old")
	old.Conflicts = []string{"web"}
	r.input(configure(old, web))
	r.send(event.VerbStart, nil, "old")
	r.calm(time.Second)
	r.send(event.VerbStart, nil, "web")
	r.input(configure(web))
	r.calm(time.Minute)
	r.expect("web", event.PhaseRunning, event.Up)
	r.finish()
}

// A service that waited for the limiter, and for which no stub could be forked when
// its turn came, waits for the limiter once more if another one has the token.
func TestLimiterAfterFailedFork(t *testing.T) {
	r := newRig(t, "limiter", -1)
	full := false
	r.w.Behave = func(s string) policytest.Behaviour {
		if s == "db" && full {
			return policytest.Behaviour{ParkErrno: 11}
		}
		return policytest.Behaviour{}
	}
	file := configure(rigSpec("db"), rigSpec("web"))
	file.Start = &event.StartLimit{Rate: 0.1, Burst: 1}
	r.input(file)
	r.send(event.VerbStart, nil, "all")
	r.calm(time.Second)
	r.w.Exit("web", 1) // takes the token
	r.calm(time.Second)
	full = true
	r.w.Exit("db", 1)
	r.calm(10 * time.Second)
	if v := r.core.State().Services["db"]; v.Phase != event.PhaseBackoff {
		t.Fatalf("db is %s", v.Phase)
	}
	full = false
	r.w.Exit("web", 1) // takes the next one
	r.calm(time.Minute)
	r.expect("db", event.PhaseRunning, event.Up)
	r.expect("web", event.PhaseRunning, event.Up)
	r.finish()
}
