package executor

import (
	"fmt"
	"testing"
	"time"

	"supd/executor/policy"
	"supd/executor/policy/policytest"
	"supd/journal/event"
)

// cutLives are the histories that are cut in two, with what a batch may be about.
var cutLives = append(lives[:len(lives):len(lives)], life{"dependencies", func(r *rig) {
	db, web := rigSpec("db"), rigSpec("web")
	web.Requires, web.Autostart = []event.Dependency{{Name: "db"}}, true
	r.file = configure(db, web)
	r.file.Digest = "needs"
	r.send(event.VerbApply, nil)
	r.calm(time.Second)
	r.send(event.VerbStop, nil, "db")
	r.calm(time.Second)
	r.send(event.VerbStart, nil, "web")
	r.calm(time.Second)
}}, life{"leftovers while it runs again", func(r *rig) {
	r.w.Behave = func(string) policytest.Behaviour { return policytest.Behaviour{Leaves: true} }
	for _, mode := range []string{event.StopTree, event.StopMain} {
		web := rigSpec("web")
		web.Stop.Mode, web.Autostart = mode, true
		r.input(configure(rigSpec("db"), web))
		r.calm(time.Second)
		r.send(event.VerbRestart, nil, "web")
		r.calm(time.Second)
		r.w.Exit("web", 1)
		r.calm(time.Second)
		r.send(event.VerbStop, nil, "web")
		r.calm(time.Second)
	}
}}, life{"bases in parts", func(r *rig) {
	base := func() { r.input(policy.Base{Part: 400}) }
	base()
	r.send(event.VerbStart, nil, "web")
	r.calm(time.Second)
	base()
	r.w.Exit("web", 1)
	r.calm(time.Second)
	base()
}}, life{"what remains up", func(r *rig) {
	web := rigSpec("web")
	web.Type, web.Remain, web.Hooks.PostStop = event.TypeOneshot, true, []string{"/bin/true"}
	r.w.Oneshot = func(s string) bool { return s == "web" }
	r.input(configure(rigSpec("db"), web))
	r.send(event.VerbStart, nil, "web")
	r.calm(time.Second)
	r.send(event.VerbStop, nil, "web")
	r.calm(time.Second)
}})

// TestCutAtEveryRecord has JOURNAL end at each record of a history, wherever
// power failed or a person removed the run log: in the middle of a batch, too.
// What follows ends all that was begun, and nothing runs twice (P1, P2).
func TestCutAtEveryRecord(t *testing.T) {
	for _, with := range []string{"the machine", "the run log", "run log and keeper"} {
		for _, l := range cutLives {
			name := fmt.Sprintf("%s, %s lost", l.name, with)
			t.Run(name, func(t *testing.T) {
				last := event.Seq(1)
				for k := event.Seq(1); k <= last; k++ {
					r := newRig(t, fmt.Sprintf("%s, cut behind record %d", name, k), -1)
					r.w.MayLeave = func(string) bool { return true }
					r.hang = true // so that nobody was told that anything is durable
					r.input(configure(rigSpec("db"), rigSpec("web")))
					r.calm(time.Second)
					l.run(r)
					last = event.Seq(len(r.records))
					r.hang = false
					r.quit = false
					r.lose(k)
					switch with {
					case "the machine":
						r.w.Reboot()
					case "run log and keeper":
						r.w.NewKeeper()
						r.witness.doubt()
					}
					r.broken = with != "the machine"
					r.w.Behave, r.w.Oneshot = nil, nil
					r.boot()
					r.calm(time.Minute)
					if r.quit { // a shutdown went on, and a person starts supd again
						r.w.NewKeeper()
						r.boot()
					}
					r.input(configure(rigSpec("db"), rigSpec("web")))
					r.calm(time.Minute)
					r.finish()
					for name, v := range r.core.State().Services {
						if v.Want == event.Up && v.Phase != event.PhaseRunning || v.Want == event.Down && !v.Settled() {
							r.fatalf("%s is wanted %s and %s", name, v.Want, v.Phase)
						}
					}
				}
				t.Logf("%d records", last)
			})
		}
	}
}
