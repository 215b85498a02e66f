package rig_test

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"supd/cmd/internal/rig"
	"supd/journal/event"
)

// TestStorm: hundreds of services that crash at once and always are started
// again within start.rate and start.burst, and those with a higher priority come
// first; a person's start waits for no token at all. The healthy ones are not
// touched.
func TestStorm(t *testing.T) {
	const rate, burst, storm, asked = 100, 50, 200, 5
	r := rig.New(t, fmt.Sprintf(`[start]
rate = %d
burst = %d
[service.crash]
command = ["/bin/false"]
count = %d
backoff = { initial = "0s", max = "0s" }
[service.healthy]
command = ["/bin/sleep", "1000"]
count = 5
priority = 10
backoff.initial = "0s"
[service.person]
command = ["/bin/sleep", "1000"]
autostart = false
priority = -10
`, rate, burst, storm))
	// Stubs that were at their gates when the person came (start.concurrency), and
	// what is let pass while the old one of his service ends.
	const passed = burst
	r.Run()
	var first [5]event.ServiceStatus
	for i := range first {
		first[i] = r.UntilPhase(fmt.Sprintf("healthy-%d", i), event.PhaseRunning)
	}
	time.Sleep(time.Second) // the storm blows
	killed := first[0]
	if err := syscall.Kill(*killed.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.Until("the killed one runs again", func() bool {
		s := r.Status("healthy-0")
		return s.State == event.PhaseRunning && *s.Instance != *killed.Instance
	})
	for range asked {
		r.Supctl("restart", "person").OK()
	}
	r.Kill(r.Engine()) // the bucket is in the state
	r.Answers()
	time.Sleep(time.Second)
	for i := 1; i < len(first); i++ {
		if s := r.Status(fmt.Sprintf("healthy-%d", i)); s.PID == nil || *s.PID != *first[i].PID {
			t.Errorf("healthy-%d was touched: %+v", i, s)
		}
	}
	r.Supctl("shutdown").OK()
	r.Exit()
	h := r.History()
	var starts []time.Duration
	waited := 0                             // restarts of others between the death of the killed one and its own
	dead, person := false, map[string]int{} // a person's commands, and how many others were started since
	for _, e := range h {
		switch d := e.Record.Data.(type) {
		case event.CommandAcceptedData:
			if slices.Equal(d.Targets, []string{"person"}) {
				person[d.Command] = 0
			}
		case event.CommandEndedData:
			if n, ok := person[d.Command]; ok && n > passed {
				t.Errorf("a person's restart waited for %d starts that supd had decided", n)
			}
		case event.InstanceExitedData:
			dead = dead || d.Instance == *killed.Instance
		case event.InstanceStartingData:
			if d.Reason != event.ReasonRestart {
				continue
			}
			for id := range person {
				person[id]++
			}
			starts = append(starts, time.Duration(e.Record.Mono))
			if e.Record.Subject == "healthy-0" {
				dead = false
			} else if dead {
				waited++
			}
		}
	}
	if len(starts) < rate {
		t.Fatalf("%d restarts: no storm", len(starts))
	}
	// A token is taken when a restart is let pass, which is at most a moment
	// before its record; so an interval may have a few more than its share.
	const moment = 100 * time.Millisecond
	slices.Sort(starts)
	for i := 0; i < len(starts); i += 7 {
		for j := i + burst; j < len(starts); j += 13 {
			most := burst + rate*(starts[j]-starts[i]+moment).Seconds()
			if n := j - i; float64(n) > most {
				t.Fatalf("%d restarts within %v, at most %.0f are allowed", n, starts[j]-starts[i], most)
			}
		}
	}
	if len(person) != asked {
		t.Errorf("%d commands of a person, want %d", len(person), asked)
	}
	if waited > burst {
		t.Errorf("a service of high priority waited for %d others", waited)
	}
}
