package journal_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"supd/journal"
	"supd/journal/event"
	"supd/journal/journaltest"
)

// rig runs a publisher on a fake stream in a synctest bubble: deadlines of
// seconds cost nothing.
type rig struct {
	*testing.T
	fake     *journaltest.Fake
	q        *journal.TestQueue
	chain    *journaltest.Chain
	sent     []event.Encoded
	marks    []journal.Link
	degraded int
	healed   int
	records  int
	forked   error
	stop     func()
}

func newRig(t *testing.T, fake *journaltest.Fake, durable journal.Link) *rig {
	r := &rig{T: t, fake: fake, q: journal.NewTestQueue(durable), chain: &journaltest.Chain{Link: durable}}
	return r
}

func (r *rig) start() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		journal.RunPublisher(ctx, r.q, r.fake, journal.Notify{
			Degraded: func(string, time.Time) { r.degraded++ },
			Healed:   func(_ time.Duration, n int, _ string) { r.healed++; r.records += n },
			Forked:   func(err error) { r.forked = err },
		}, func(l journal.Link) { r.marks = append(r.marks, l) })
	}()
	r.stop = func() { cancel(); <-done }
}

func (r *rig) push(n int) {
	batch := r.chain.Next(n)
	r.sent = append(r.sent, batch...)
	r.q.Push(batch)
}

func (r *rig) wantStored() {
	r.Helper()
	got := r.fake.Stored()
	if len(got) != len(r.sent) {
		r.Fatalf("%d records are stored, want %d", len(got), len(r.sent))
	}
	for i := range got {
		if got[i].Hash != r.sent[i].Hash {
			r.Fatalf("record %d is stored as another one", i+1)
		}
	}
	if n := len(r.marks); n == 0 || r.marks[n-1] != r.chain.Link {
		r.Fatalf("durable marks end elsewhere than at %+v", r.chain.Link)
	}
	for i := 1; i < len(r.marks); i++ {
		if r.marks[i].Seq < r.marks[i-1].Seq {
			r.Fatalf("durable went back from %d to %d", r.marks[i-1].Seq, r.marks[i].Seq)
		}
	}
}

// TestPublisherEveryFaultEveryStep: whatever goes wrong with whichever publish,
// every record ends up stored exactly once, in order.
func TestPublisherEveryFaultEveryStep(t *testing.T) {
	groups := []int{1, 3, 14, 1, 40, 2}
	for _, fault := range journaltest.Harmless() {
		for step := 0; step < len(groups)+1; step++ {
			for _, again := range []journaltest.Fault{journaltest.None, journaltest.Refuse, journaltest.LostAck, journaltest.LateCommit, journaltest.Full} {
				t.Run(fmt.Sprintf("%d/%d/%d", fault, step, again), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						f := journaltest.NewFake()
						f.Inject(step, fault)
						f.Inject(step+1, again)
						r := newRig(t, f, journal.Origin())
						r.start()
						for i, n := range groups {
							r.push(n)
							if i%2 == 0 {
								synctest.Wait()
							}
						}
						if err := r.q.Wait(context.Background(), r.chain.Link.Seq); err != nil {
							t.Fatal(err)
						}
						synctest.Wait()
						r.stop()
						r.wantStored()
						if r.degraded != r.healed {
							t.Errorf("degraded %d times, healed %d times", r.degraded, r.healed)
						}
					})
				})
			}
		}
	}
}

func TestPublisherForkStops(t *testing.T) {
	for name, fault := range map[string]journaltest.Fault{"another writer": journaltest.Foreign, "lost tail": journaltest.Rollback} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := journaltest.NewFake()
				f.Inject(1, fault)
				r := newRig(t, f, journal.Origin())
				r.start()
				r.push(2)
				synctest.Wait()
				r.push(2)
				err := r.q.Wait(context.Background(), 4)
				if !errors.Is(err, journal.ErrFork) {
					t.Fatalf("Wait = %v, want ErrFork", err)
				}
				calls := f.Calls()
				r.push(5)
				time.Sleep(time.Minute)
				r.stop()
				if r.forked == nil || f.Calls() != calls {
					t.Errorf("forked = %v, %d publishes after the fork", r.forked, f.Calls()-calls)
				}
			})
		})
	}
}

// TestPublisherOutage: a store that refuses for long is told once, and healing
// is told once, when all that piled up is durable.
func TestPublisherOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := journaltest.NewFake()
		f.SetHealable(false)
		f.Inject(1, journaltest.Full)
		r := newRig(t, f, journal.Origin())
		r.start()
		r.push(1)
		synctest.Wait()
		for range 60 {
			r.push(10)
			time.Sleep(time.Second)
		}
		if r.degraded != 1 || r.healed != 0 {
			t.Fatalf("degraded %d, healed %d during the outage", r.degraded, r.healed)
		}
		if n := f.Calls(); n > 610 { // one in each backoffMax
			t.Errorf("%d publishes in a minute of outage", n)
		}
		f.SetHealable(true)
		if err := r.q.Wait(context.Background(), r.chain.Link.Seq); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.stop()
		r.wantStored()
		if r.degraded != 1 || r.healed != 1 || r.records != 600 {
			t.Errorf("degraded %d, healed %d with %d records", r.degraded, r.healed, r.records)
		}
	})
}

// TestPublisherStartsInDoubt: after a restart the stream may hold any prefix of
// what the run log has beyond its durable mark.
func TestPublisherStartsInDoubt(t *testing.T) {
	chain := journaltest.NewChain()
	all := chain.Next(20)
	for stored := 5; stored <= 20; stored++ {
		synctest.Test(t, func(t *testing.T) {
			f := journaltest.NewFake()
			if _, err := f.Publish(context.Background(), journal.Tail{Link: journal.Origin()}, all[:stored]); err != nil {
				t.Fatal(err)
			}
			r := newRig(t, f, journal.LinkOf(all[4]))
			r.chain, r.sent = chain, all
			r.q.Push(all[5:])
			r.start()
			if err := r.q.Wait(context.Background(), 20); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			r.stop()
			r.wantStored()
		})
	}
}

// TestDroppedRangeStoredLate: records that were given up for a gap may still be
// stored by a publish that was under way; the gap follows wherever it ended.
func TestDroppedRangeStoredLate(t *testing.T) {
	for late := 0; late <= 6; late++ {
		synctest.Test(t, func(t *testing.T) {
			f := journaltest.NewFake()
			chain := journaltest.NewChain()
			batch := chain.Next(10)
			q := journal.NewTestQueue(journal.LinkOf(batch[3]))
			q.Push(batch[4:])
			lost := q.Undurable()
			if lost.First != 5 || lost.Last != 10 || lost.LastHash != batch[9].Hash || lost.Counts[event.AccessDenied] != 6 {
				t.Fatalf("Undurable = %+v", lost)
			}
			gap := chain.Gap(lost)
			q.Replace([]event.Encoded{gap})
			stored := batch[:4+late]
			if _, err := f.Publish(context.Background(), journal.Tail{Link: journal.Origin()}, stored); err != nil {
				t.Fatal(err)
			}
			r := newRig(t, f, journal.Origin())
			r.q, r.chain, r.sent = q, chain, append(append([]event.Encoded(nil), stored...), gap)
			r.start()
			if err := q.Wait(context.Background(), 11); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			r.stop()
			r.wantStored()
			link := journal.Origin()
			for _, e := range f.Stored() {
				var err error
				if link, err = link.Next(e); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
