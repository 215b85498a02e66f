package journal_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"supd/journal"
	"supd/journal/event"
	"supd/journal/journaltest"
)

// crashes makes records of services that crash again and again, each start at
// its own pace, and knows what a gap must say of them.
type crashes struct {
	chain *journaltest.Chain
	n     int
	live  map[string]string // instance by service
	auto  map[string]bool   // it was a restart
	loops map[string]map[string]int
}

func newCrashes() *crashes {
	return &crashes{chain: journaltest.NewChain(), live: map[string]string{}, auto: map[string]bool{}, loops: map[string]map[string]int{}}
}

func (c *crashes) start(service, reason string) []event.Encoded {
	if c.live[service] != "" {
		return nil
	}
	c.n++
	id := fmt.Sprintf("%s-%d", service, c.n)
	c.live[service], c.auto[service] = id, reason == event.ReasonRestart
	return []event.Encoded{
		c.chain.About(service, "", event.InstanceStartingData{Instance: id, Reason: reason}),
		c.chain.About(service, "", event.InstanceRunningData{Instance: id}),
	}
}

func (c *crashes) end(service string, code int, expected bool) []event.Encoded {
	id := c.live[service]
	if id == "" {
		return nil
	}
	delete(c.live, service)
	exit := c.chain.About(service, "", event.InstanceExitedData{Instance: id, Code: &code, Cause: event.CauseExited, Expected: expected})
	if c.auto[service] && !expected {
		if c.loops[service] == nil {
			c.loops[service] = map[string]int{}
		}
		c.loops[service][fmt.Sprintf("exit %d", code)]++
	}
	if expected {
		return []event.Encoded{exit}
	}
	return []event.Encoded{exit, c.chain.About(service, exit.Record.ID, event.RestartScheduledData{Retry: 1})}
}

func (c *crashes) command(id string) []event.Encoded {
	return []event.Encoded{
		c.chain.Add(event.CommandAcceptedData{Command: id, Verb: event.VerbRestart}),
		c.chain.Add(event.CommandEndedData{Command: id, Outcome: event.Done}),
	}
}

// However often the run log fills, and wherever the cuts are: every record is
// either carried, byte for byte and in order, or counted once; lives of crashing
// services are counted exactly, and no command is lost (R10, P4).
func TestThinning(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCrashes()
		var tail, all []event.Encoded
		commands := 0
		gaps := 0
		for i := range rapid.IntRange(1, 120).Draw(t, "steps") {
			service := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "service")
			var batch []event.Encoded
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				batch = c.command(fmt.Sprint(i))
				commands += 2
			case 1:
				batch = c.start(service, event.ReasonCommand)
			case 2:
				batch = c.end(service, 0, true)
			case 3:
				batch = c.chain.Next(1)
			case 4:
				if len(tail) > 0 {
					gaps++
					tail = []event.Encoded{c.chain.Gap(journal.GapOf(tail, 1<<20))}
					tail = append(tail, c.chain.Base("{}", 1)...)
					all = append(all, tail[1:]...)
				}
				continue
			case 5, 6, 7:
				batch = c.start(service, event.ReasonRestart)
			default:
				batch = c.end(service, rapid.IntRange(1, 2).Draw(t, "code"), false)
			}
			tail, all = append(tail, batch...), append(all, batch...)
		}
		gap := journal.GapOf(tail, 1<<20)
		if len(tail) == 0 {
			return
		}
		gone := 0
		for _, n := range gap.Counts {
			gone += n
		}
		if gone+len(gap.Kept) != len(all) || gap.First != 1 || gap.Last != c.chain.Link.Seq || gap.LastHash != c.chain.Link.Hash {
			t.Fatalf("%d gone and %d carried of %d: %+v", gone, len(gap.Kept), len(all), gap)
		}
		loops := map[string]map[string]int{}
		for _, l := range gap.Loops {
			n := 0
			for _, k := range l.Exits {
				n += k
			}
			if loops[l.Service] = l.Exits; n != l.Cycles || l.First.After(l.Last) {
				t.Fatalf("%+v", l)
			}
		}
		if diff := cmp.Diff(c.loops, loops); diff != "" {
			t.Fatalf("after %d gaps: %s", gaps, diff)
		}
		next := 0
		for _, raw := range gap.Kept {
			for next < len(all) && string(all[next].Bytes) != string(raw) {
				next++
			}
			if next == len(all) {
				t.Fatalf("carried, but not one of the records in order: %s", raw)
			}
			if g := all[next].Record.Kind.Group(); g == "command" {
				commands--
			}
			next++
		}
		if commands != 0 {
			t.Fatalf("%d records of commands are lost", commands)
		}
	})
}

// What does not fit is counted, the oldest first.
func TestThinningIsBounded(t *testing.T) {
	c := newCrashes()
	var tail []event.Encoded
	for i := range 500 {
		tail = append(tail, c.command(fmt.Sprint(i))...)
	}
	const budget = 64 << 10
	gap := journal.GapOf(tail, budget)
	size := 0
	for i, raw := range gap.Kept {
		if size += len(raw); string(raw) != string(tail[len(tail)-len(gap.Kept)+i].Bytes) {
			t.Fatal("what is carried is not the newest")
		}
	}
	if gone := gap.Counts[event.CommandAccepted] + gap.Counts[event.CommandEnded]; size > budget || size < budget/2 || gone+len(gap.Kept) != 1000 {
		t.Errorf("%d bytes of %d carried, %d records are gone", size, budget, gone)
	}
}

// A gap stays far below the largest record, whatever crashed and however.
func TestThinningFitsIntoARecord(t *testing.T) {
	c := newCrashes()
	var tail []event.Encoded
	for i := range 1100 {
		service := fmt.Sprintf("service-with-a-long-name-%d", i)
		for code := range 17 {
			tail = append(tail, c.start(service, event.ReasonRestart)...)
			tail = append(tail, c.end(service, code, false)...)
		}
	}
	gap := journal.GapOf(tail, 2<<20)
	cycles := 0
	for _, l := range gap.Loops {
		cycles += l.Cycles
	}
	e, err := event.Encode(event.Record{ID: "id", Kind: event.JournalGap, Seq: gap.Last + 1, Prev: gap.LastHash, Actor: "supd", Data: gap})
	if err != nil || cycles != 1100*17 || len(gap.Loops) > 1001 {
		t.Errorf("%d lives by %d names in %d bytes: %v", cycles, len(gap.Loops), len(e.Bytes), err)
	}
	t.Logf("%d bytes", len(e.Bytes))
}
