package executor

import (
	"testing"
	"time"

	"supd/journal/event"
)

// A disk that hiccups again and again within a quarter of a second makes one
// degraded time, told once it has lasted, and every act that went on kept lies in
// it; a single hiccup is not told (R1).
func TestHiccups(t *testing.T) {
	for hiccups, want := range map[int]int{1: 0, 2: 0, 10: 1} {
		r := newRig(t, "hiccups", -1)
		r.input(configure(rigSpec("web")))
		r.calm(time.Second)
		for range hiccups {
			r.hang = true
			r.send(event.VerbRestart, nil, "web")
			r.calm(50 * time.Millisecond)
			if !r.core.late() {
				t.Error("an act went on kept, and the next one waits")
			}
			r.hang = false
			r.calm(50 * time.Millisecond)
			r.w.Advance(50 * time.Millisecond)
		}
		r.calm(time.Second)
		count := map[event.Kind]int{}
		for _, e := range r.records {
			count[e.Record.Kind]++
			if d, ok := e.Record.Data.(event.JournalHealedData); ok && d.Duration < event.Duration(500*time.Millisecond) {
				t.Errorf("%d hiccups: the record does not count from the first one: %+v", hiccups, d)
			}
		}
		if count[event.JournalDegraded] != want || count[event.JournalHealed] != want || r.core.late() {
			t.Errorf("%d hiccups: want %d brackets: %d degraded, %d healed", hiccups, want, count[event.JournalDegraded], count[event.JournalHealed])
		}
		r.finish()
	}
}
