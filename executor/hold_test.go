package executor

import (
	"testing"
	"time"

	"supd/journal/event"
)

// A disk that hiccups again and again within a quarter of a second makes one
// degraded time, and every act that went on kept lies in it (R1).
func TestHiccups(t *testing.T) {
	r := newRig(t, "hiccups", -1)
	r.input(configure(rigSpec("web")))
	r.calm(time.Second)
	for range 5 {
		r.hang = true
		r.send(event.VerbRestart, nil, "web")
		r.calm(50 * time.Millisecond)
		r.hang = false
		r.calm(100 * time.Millisecond)
		if !r.core.State().Supd.Degraded {
			t.Error("healed between two hiccups")
		}
	}
	r.calm(time.Second)
	count := map[event.Kind]int{}
	for _, e := range r.records {
		count[e.Record.Kind]++
	}
	if count[event.JournalDegraded] != 1 || count[event.JournalHealed] != 1 {
		t.Errorf("want one bracket: %d degraded, %d healed", count[event.JournalDegraded], count[event.JournalHealed])
	}
	r.finish()
}
