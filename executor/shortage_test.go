package executor

import (
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"supd/executor/keeper"
	"supd/executor/keeper/wire"
	"supd/journal/event"
)

// TestShortage: however many starts fail for want of something, and even if some
// work in between, there is one pair of records.
func TestShortage(t *testing.T) {
	inLoop(t, nil, func(t *testing.T, r *loopRig) {
		r.table(keeper.Table{})
		failed := func(e syscall.Errno) {
			r.tell(keeper.ParkFailed{Slot: keeper.Slot{
				Service: "web", Instance: "i", State: wire.StateParkFailed, Failure: wire.Failure{Step: wire.StepPipe, Errno: e},
			}})
			synctest.Wait()
		}
		parked := func() {
			r.tell(keeper.Parked{Slot: keeper.Slot{Service: "web", Instance: "i", State: wire.StateParked, PID: 7, StartTime: 1}})
			synctest.Wait()
		}
		count := func() (pressed []event.ResourcePressedData, relieved []event.ResourceRelievedData) {
			for _, rec := range r.journal.records {
				switch d := rec.Data.(type) {
				case event.ResourcePressedData:
					pressed = append(pressed, d)
				case event.ResourceRelievedData:
					relieved = append(relieved, d)
				}
			}
			return pressed, relieved
		}
		failed(unix.ENOENT)
		parked()
		if p, _ := count(); len(p) != 0 {
			t.Errorf("a missing file is no shortage: %v", p)
		}
		for range 5 {
			failed(unix.EMFILE)
			parked()
		}
		failed(unix.ENOMEM)
		if p, rel := count(); len(p) != 2 || len(rel) != 0 || p[0].What != "fds" || p[0].Errno != "EMFILE" || p[1].What != "memory" {
			t.Errorf("pressed %v, relieved %v", p, rel)
		}
		r.pass(shortageCalm + time.Second)
		parked()
		parked()
		_, rel := count()
		if len(rel) != 2 || rel[0].What != "fds" || rel[0].Refused != 5 || rel[1].Refused != 1 {
			t.Errorf("relieved %v", rel)
		}
		r.cancel()
		if err := r.end(); err != nil {
			t.Error(err)
		}
	})
}
