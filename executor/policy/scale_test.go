package policy_test

import (
	"fmt"
	"testing"

	"supd/executor/policy"
	"supd/executor/policy/policytest"
	"supd/journal/event"
)

// crowd is n services that run: the first is required by a tenth of them, the
// others are in chains of ten.
func crowd(t testing.TB, n int) *bench {
	t.Helper()
	b := newBench(t.Fatalf)
	for i := range n {
		s := baseSpec(fmt.Sprintf("s%04d", i))
		s.Autostart = true
		if i%10 != 0 {
			s.Requires = []event.Dependency{{Name: fmt.Sprintf("s%04d", i-1)}}
		} else if i > 0 {
			s.Requires = []event.Dependency{{Name: "s0000"}}
		}
		b.config[s.Base] = s
	}
	b.configure()
	b.calm(0)
	for _, name := range b.names() {
		if len(b.w.Running(name)) != 1 {
			t.Fatalf("%s does not run", name)
		}
	}
	return b
}

// TestDecisionsCostWhatTheyTouch: among hundreds of services a crash concerns
// its own neighbours alone, and a stop those that require it.
func TestDecisionsCostWhatTheyTouch(t *testing.T) {
	b := crowd(t, 300)
	b.w.Exit("s0105", 1)
	b.deliver()
	tx := b.last
	if len(tx.Touched) > 1 || len(tx.Records) != 2 {
		t.Errorf("a crash touches %v with %d records", tx.Touched, len(tx.Records))
	}
	tx = b.decide(policy.Command{Actor: "uid-0", Request: event.CommandRequest{ID: b.id(), Verb: event.VerbStop, Patterns: []string{"s0203"}}})
	if len(tx.Touched) != 7 {
		t.Errorf("a stop in the middle of a chain touches %v", tx.Touched)
	}
	b.calm(0)
	for i := range 300 {
		name := fmt.Sprintf("s%04d", i)
		if stopped := i >= 203 && i < 210; (len(b.w.Running(name)) == 0) != stopped {
			t.Errorf("%s: %v run", name, b.w.Running(name))
		}
	}
}

// TestWholeTreeDown: an end of supd stops 300 services in reverse order, which
// the bench checks at each.
func TestWholeTreeDown(t *testing.T) {
	b := crowd(t, 300)
	b.w.Behave = func(string) policytest.Behaviour { return policytest.Behaviour{} }
	b.decide(policy.Shutdown{Reason: event.ReasonSignal})
	b.calm(0)
	if !b.s.Supd.Stopped {
		t.Error("it does not end")
	}
}

func BenchmarkExitAmongThousand(bench *testing.B) {
	b := crowd(bench, 1000)
	v := b.s.Services["s0105"]
	for bench.Loop() {
		id := v.Instance.ID
		tx := policy.NewTx(b.s, b.w.Now, 0, b.mint)
		policy.Decide(tx, policy.Exited{Service: v.Name, Instance: id, Code: 1})
		b.w.Advance(1e12)
		tx = policy.NewTx(b.s, b.w.Now, 0, b.mint)
		policy.Decide(tx, policy.Tick{Service: v.Name})
		policy.Decide(tx, policy.Parked{Service: v.Name, Instance: b.id(), PID: 5, SpecDigest: v.Digest})
		policy.Decide(tx, policy.Executed{Service: v.Name, Instance: v.Instance.ID})
	}
}

func BenchmarkConfigureThousand(bench *testing.B) {
	specs := crowd(bench, 1000).config
	for bench.Loop() {
		b := newBench(bench.Fatalf)
		b.config = specs
		tx := policy.NewTx(b.s, b.w.Now, 0, b.mint)
		policy.Decide(tx, b.read("d"))
		tx = policy.NewTx(b.s, b.w.Now, 0, b.mint)
		b.config = nil
		policy.Decide(tx, b.read("e"))
	}
}
