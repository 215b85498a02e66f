package executor

import (
	"errors"
	"slices"
	"syscall"
	"testing"

	"supd/executor/keeper"
	"supd/journal/event"
)

// Whoever forwards signals is asked first, about those of the table too, and
// what it does not want goes its usual way.
func TestForwardIsAskedFirst(t *testing.T) {
	var asked []syscall.Signal
	setup := func(_ *loopRig, c *LoopConfig) {
		c.Forward = func(_ *Core, _ uint64, sig syscall.Signal) (bool, error) {
			asked = append(asked, sig)
			return sig != syscall.SIGINT, nil
		}
	}
	inLoop(t, setup, func(t *testing.T, r *loopRig) {
		r.host.unkillable = true
		var table keeper.Table
		r.runningBefore(&table, nil)
		table.HostSignals = []keeper.HostSignal{hostSignal(1, syscall.SIGTERM)}
		r.table(table)
		r.tell(hostSignal(2, syscall.SIGHUP))
		r.tell(hostSignal(3, syscall.SIGUSR1))
		if n := len(r.journal.of(event.SupdStopping)); n > 0 || r.reloads > 0 {
			t.Errorf("%d ends, %d reloads of signals that were forwarded", n, r.reloads)
		}
		r.tell(hostSignal(4, syscall.SIGINT))
		if n := len(r.journal.of(event.SupdStopping)); n != 1 {
			t.Errorf("%d ends, want the one that was not forwarded", n)
		}
		if want := []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGINT}; !slices.Equal(asked, want) {
			t.Errorf("asked about %v, want %v", asked, want)
		}
		if len(r.host.done) != 4 {
			t.Errorf("done: %v", r.host.done)
		}
	})
}

func TestOtherSignalsComeToNothing(t *testing.T) {
	inLoop(t, nil, func(t *testing.T, r *loopRig) {
		var table keeper.Table
		r.runningBefore(&table, nil)
		table.HostSignals = []keeper.HostSignal{hostSignal(1, syscall.SIGUSR2)}
		r.table(table)
		r.tell(hostSignal(2, syscall.SIGUSR1))
		if n := len(r.journal.of(event.SupdStopping)); n > 0 || r.reloads > 0 || len(r.host.done) != 2 {
			t.Errorf("%d ends, %d reloads, done: %v", n, r.reloads, r.host.done)
		}
	})
}

// Decided sees no state before recovery, and its error ends the loop.
func TestDecided(t *testing.T) {
	enough := errors.New("enough")
	early, rounds := false, 0
	setup := func(_ *loopRig, c *LoopConfig) {
		c.Decided = func(core *Core) error {
			early = early || core.State().Config.Digest == ""
			if rounds++; rounds == 3 {
				return enough
			}
			return nil
		}
	}
	inLoop(t, setup, func(t *testing.T, r *loopRig) {
		r.table(keeper.Table{Info: keeper.Info{PID: 100, StartTime: 7}})
		for n := range uint64(3) {
			r.tell(hostSignal(n+1, syscall.SIGUSR1))
		}
		if err := <-r.ended; !errors.Is(err, enough) {
			t.Errorf("ended with %v", err)
		}
		r.ended <- enough // for who looks again
		if early {
			t.Error("it saw a state before recovery")
		}
	})
}
