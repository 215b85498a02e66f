package executor

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"supd/executor/keeper"
	"supd/executor/policy"
	"supd/journal/event"
)

func containsAll(text string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(text, p) {
			return false
		}
	}
	return true
}

// counts sums what the journal says was denied and rejected.
func (r *loopRig) counts() (records, denied, rejected int) {
	for _, rec := range r.journal.of(event.AccessDenied) {
		records++
		denied += rec.Data.(event.AccessDeniedData).Count
	}
	for _, rec := range r.journal.of(event.CommandRejected) {
		records++
		rejected += rec.Data.(event.CommandRejectedData).Count
	}
	return records, denied, rejected
}

func TestNotesAreFolded(t *testing.T) {
	inLoop(t, nil, func(t *testing.T, r *loopRig) {
		r.table(keeper.Table{})
		for range 1000 {
			r.loop.Note(policy.Denied{Actor: "uid-7", Subject: "a", Count: 1})
			r.loop.Note(policy.Denied{Actor: "uid-7", Subject: "b", Count: 1})
			r.loop.Note(policy.Rejected{Actor: "uid-7", Reason: event.RejectMalformed, Count: 1})
		}
		r.pass(noteEvery - time.Millisecond)
		if n, _, _ := r.counts(); n != 0 {
			t.Errorf("%d records before the time", n)
		}
		r.pass(time.Millisecond)
		if n, denied, rejected := r.counts(); n != 3 || denied != 2000 || rejected != 1000 {
			t.Errorf("%d records, %d denied, %d rejected", n, denied, rejected)
		}
		r.loop.Note(policy.Denied{Actor: "uid-7", Subject: "a", Count: 1})
		r.pass(noteEvery)
		if n, denied, _ := r.counts(); n != 4 || denied != 2001 {
			t.Errorf("the next second: %d records, %d denied", n, denied)
		}
	})
}

// Somebody who never repeats himself costs no more than a bound, and is
// counted (P4, P9).
func TestNotesAreBounded(t *testing.T) {
	inLoop(t, nil, func(t *testing.T, r *loopRig) {
		r.table(keeper.Table{})
		const most = 10 * maxNotes
		for i := range most {
			r.loop.Note(policy.Denied{Actor: "uid-7", Subject: fmt.Sprint(i), Count: 1})
			r.loop.Note(policy.Rejected{Actor: fmt.Sprint("uid-", i), Reason: event.RejectMalformed, Count: 1})
		}
		r.pass(noteEvery)
		if n, denied, rejected := r.counts(); n > maxNotes+2 || denied != most || rejected != most {
			t.Errorf("%d records, %d denied, %d rejected", n, denied, rejected)
		}
	})
}

// What was counted is recorded before the last record, however the end comes.
func TestNotesAtTheEnd(t *testing.T) {
	for name, end := range map[string]func(r *loopRig){
		"signal":  func(r *loopRig) { r.tell(hostSignal(1, 15)) },
		"command": func(r *loopRig) { r.command(event.VerbShutdown) },
	} {
		t.Run(name, func(t *testing.T) {
			inLoop(t, nil, func(t *testing.T, r *loopRig) {
				r.table(keeper.Table{})
				r.loop.Note(policy.Denied{Actor: "uid-7", Subject: "a", Count: 3})
				end(r)
				var quit QuitError
				if err := r.end(); !errors.As(err, &quit) {
					t.Fatal(err)
				}
				if _, denied, _ := r.counts(); denied != 3 {
					t.Errorf("P4: %d denied\n%s", denied, r.journal)
				}
			})
		})
	}
}

// Notes do not wait for their second while supd is stopping.
func TestNotesWhileStopping(t *testing.T) {
	inLoop(t, nil, func(t *testing.T, r *loopRig) {
		r.table(keeper.Table{})
		r.command(event.VerbStart, "web")
		r.pass(time.Second)
		r.host.unkillable = true
		r.tell(hostSignal(1, 15))
		r.loop.Note(policy.Denied{Actor: "uid-7", Subject: "a", Count: 3})
		r.tell(keeper.LoggerStarted{}) // anything
		if _, denied, _ := r.counts(); denied != 3 {
			t.Errorf("%d denied\n%s", denied, r.journal)
		}
	})
}
