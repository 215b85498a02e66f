package executor

import (
	"errors"
	"testing"
	"time"

	"supd/executor/keeper"
	"supd/executor/policy"
	"supd/journal/event"
)

// without refuses launches of one specification: that of before an edit, which
// a first engine after a reboot no longer has.
type without struct {
	Launches
	digest string
}

func (w *without) Launch(service, digest string) (event.Launch, error) {
	if digest == w.digest {
		return event.Launch{}, errors.New("its applied specification is not stored")
	}
	return w.Launches.Launch(service, digest)
}

// A service that was edited while supd was down, and is wanted up, is started
// as it is written now. It is never tried as it was before, which would be fatal.
func TestStartsWaitForTheConfiguration(t *testing.T) {
	old := &without{}
	definition := func(digest string) policy.Configure {
		in := configure(rigSpec("web"))
		in.Digest, in.Services[0].Spec.Command = digest, []string{"/bin/web", digest}
		return in
	}
	inLoop(t, func(r *loopRig, c *LoopConfig) {
		old.Launches = r
		c.Core.Launches = old
		c.Ready = func(c *Core) error { return c.Step(definition("after")) }
	}, func(t *testing.T, r *loopRig) {
		before := NewCore(Config{
			State: r.state, Journal: r.journal, Keeper: newFakeHost(), Launches: r, Clock: &bubbleClock{start: time.Now(), serial: 1 << 20},
			Source: "supd/test/0", Inbox: 8, Concurrency: 4,
		})
		for _, in := range []policy.Input{
			policy.Started{Keeper: event.KeeperStartedData{PID: 99, StartTime: 6}},
			policy.Settle{},
			definition("before"),
			policy.Command{Actor: "uid-0", Request: event.CommandRequest{ID: rigID(time.Now(), 7), Verb: event.VerbStart, Patterns: []string{"web"}}},
		} {
			if err := before.Step(in); err != nil {
				t.Fatal(err)
			}
		}
		old.digest = r.state.Services["web"].Digest
		r.table(keeper.Table{})
		r.pass(time.Second)
		if fatal := r.journal.of(event.ServiceFatal); len(fatal) > 0 {
			t.Errorf("started from before the edit: %s", r.journal)
		}
		if r.host.of("web") == nil {
			t.Errorf("not started: %s", r.journal)
		}
	})
}
