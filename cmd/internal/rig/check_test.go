package rig_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"supd/cmd/internal/exitcode"
	"supd/cmd/internal/rig"
	"supd/cmd/internal/rig/account"
	"supd/journal/event"
)

// check holds what supd says against what services wrote down.
type check struct {
	t       *testing.T
	r       *rig.Rig
	history rig.History
	account []account.Entry

	starts map[string]string        // service of each instance of the journal
	ends   map[string]account.Entry // how instances said that they would end
	lines  int
	unseen int
	nSent  int

	unknown map[string]bool // instances whose exit nobody could see
	cut     map[string]bool // instances of whose output a gap is declared
}

// all checks everything but commands and dump.
func (c *check) all(stop func() []string) {
	c.t.Helper()
	for _, violation := range stop() {
		c.t.Error(violation)
	}
	c.commands()
	c.instances()
	c.exits()
	c.output()
	c.verify()
}

// young is how long after the record that it runs an instance may not be pinned
// yet, on a machine that is busy.
const young = 250 * time.Millisecond

// forgive allows what P3 cannot promise when all of supd was dead: that
// somebody read what a service wrote last, and, where pidfds are not pinned or it
// had just begun, that somebody knows how it ended. The journal must say so. If
// the keeper alone died, only the code of a service of which nobody had seen that
// it runs may be unknown.
func (c *check) forgive(pinned bool) {
	c.unknown, c.cut = map[string]bool{}, map[string]bool{}
	live, seen := map[string]bool{}, map[string]int64{}
	last := int64(0) // the last record of the engine before
	for _, e := range c.history {
		switch d := e.Record.Data.(type) {
		case event.EngineStartedData:
			for instance := range live {
				at, ran := seen[instance]
				begun := !ran || last-at < int64(young)
				if d.Mode == event.ModeAllLost && (begun || !pinned) || d.Mode == event.ModeKeeperLost && !ran {
					c.unknown[instance] = true
				}
			}
		case event.InstanceStartingData:
			live[d.Instance] = true
		case event.InstanceRunningData:
			seen[d.Instance] = e.Record.Mono
		case event.InstanceAdoptedData:
			delete(c.unknown, d.Instance) // somebody looks after it again
		case event.InstanceExitedData:
			delete(live, d.Instance)
		case event.OutputGapData:
			c.cut[d.Instance+" "+d.Stream] = true
		}
		last = e.Record.Mono
	}
}

func newCheck(t *testing.T, r *rig.Rig) *check {
	t.Helper()
	c := &check{t: t, r: r, history: r.History(), starts: map[string]string{}, ends: map[string]account.Entry{}}
	var err error
	if c.account, err = account.Read(r.Dir); err != nil {
		t.Fatal(err)
	}
	violations, err := account.Violations(r.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range violations {
		t.Error(v)
	}
	for _, e := range c.history {
		if d, ok := e.Record.Data.(event.InstanceStartingData); ok {
			c.starts[d.Instance] = e.Record.Subject
		}
	}
	for _, e := range c.account {
		if e.What == account.End {
			c.ends[e.Instance] = e
		}
	}
	return c
}

// summary is a table of what was checked.
func (c *check) summary() string {
	var b strings.Builder
	for _, row := range []struct {
		what string
		n    int
	}{
		{"records", len(c.history)},
		{"commands", c.nSent},
		{"instances", len(c.starts)},
		{"lines of output", c.lines},
		{"exits nobody could see", c.unseen},
		{"cut outputs", len(c.cut)},
		{"engines", len(rig.Of[event.EngineStartedData](c.history))},
		{"of them in safe mode", c.safe()},
	} {
		fmt.Fprintf(&b, "\n%22s %9d", row.what, row.n)
	}
	return b.String()
}

func (c *check) safe() int {
	n := 0
	for _, d := range rig.Of[event.EngineStartedData](c.history) {
		if d.Mode == event.ModeSafe {
			n++
		}
	}
	return n
}

// commands: each accepted one has one end and had at most one effect (P2).
func (c *check) commands() {
	accepted, ended := map[string][]event.Record{}, map[string][]event.CommandEndedData{}
	effects := map[string]int{}
	for _, e := range c.history {
		switch d := e.Record.Data.(type) {
		case event.CommandAcceptedData:
			accepted[d.Command] = append(accepted[d.Command], e.Record)
		case event.CommandEndedData:
			ended[d.Command] = append(ended[d.Command], d)
		case event.ServiceWantedData, event.InstanceStoppingData:
			effects[fmt.Sprintf("%s of %s caused by %s", e.Record.Kind, e.Record.Subject, e.Record.Cause)]++
		case event.InstanceSignaledData:
			effects[fmt.Sprintf("%s of %s by operation %s", e.Record.Kind, d.Instance, d.Operation)]++
		}
	}
	for id, records := range accepted {
		if len(records) != 1 || len(ended[id]) != 1 {
			c.t.Errorf("P2: command %s was accepted %d times and ended %d times", id, len(records), len(ended[id]))
		}
		for what, n := range effects {
			if n > 1 && strings.HasSuffix(what, "caused by "+records[0].ID) {
				c.t.Errorf("P2: command %s had %d effects: %s", id, n, what)
			}
		}
	}
	for what, n := range effects {
		if n > 1 && strings.Contains(what, "by operation") {
			c.t.Errorf("P2: %d times %s", n, what)
		}
	}
}

// answers: what a sender was told is what the journal says (P2, P3).
func (c *check) answers(clients []*commander) {
	ended := map[string]event.CommandEndedData{}
	for _, d := range rig.Of[event.CommandEndedData](c.history) {
		ended[d.Command] = d
	}
	for _, s := range slices.Concat(sentBy(clients)...) {
		c.nSent++
		d, ok := ended[s.id]
		if s.failure != "" {
			if !s.outage {
				c.t.Errorf("no answer to %s: %s", s.id, s.failure)
			}
			if s.accepted && !ok {
				c.t.Errorf("P3: %s %s was accepted, and the journal does not know it", s.verb, s.id)
			}
			continue
		}
		if !ok {
			c.t.Errorf("P3: %s %s was answered with %s, and the journal does not know it", s.verb, s.id, s.reply.Outcome)
			continue
		}
		if d.Outcome != s.reply.Outcome || !cmp.Equal(d.Results, s.reply.Results) {
			c.t.Errorf("P2: %s %s was answered with %v, its record says %v", s.verb, s.id, s.reply.Results, d.Results)
		}
	}
}

func sentBy(clients []*commander) [][]sent {
	var all [][]sent
	for _, c := range clients {
		all = append(all, c.sent)
	}
	return all
}

// instances: each starting has one exit behind it, before the next starting of
// its service; what lived was authorised (P1, R3).
func (c *check) instances() {
	live, exits := map[string]string{}, map[string]int{}
	started := map[string]int{}
	for _, e := range c.history {
		service := e.Record.Subject
		switch d := e.Record.Data.(type) {
		case event.InstanceStartingData:
			if live[service] != "" {
				c.t.Errorf("P1: record %d starts %s while instance %s has not exited", e.Record.Seq, service, live[service])
			}
			live[service] = d.Instance
			started[d.Instance]++
		case event.InstanceExitedData:
			if live[service] != d.Instance {
				c.t.Errorf("record %d: exit of instance %s of %s, which does not live", e.Record.Seq, d.Instance, service)
			}
			live[service] = ""
			exits[d.Instance]++
		}
	}
	for instance := range c.starts {
		if started[instance] != 1 || exits[instance] != 1 {
			c.t.Errorf("instance %s has %d starting and %d exited", instance, started[instance], exits[instance])
		}
	}
	ran := map[string]int{}
	for _, e := range c.account {
		if c.starts[e.Instance] != e.Service {
			c.t.Errorf("R3: instance %s of %s lived without a record", e.Instance, e.Service)
		}
		if e.What == account.Start {
			ran[e.Instance]++
		}
	}
	for instance, n := range ran {
		if n != 1 {
			c.t.Errorf("P1: instance %s was executed %d times", instance, n)
		}
	}
}

// exits: what the journal says of each exit is what the service meant, or a
// signal that was sent to it (P3).
func (c *check) exits() {
	signals, deadlines := map[string][]string{}, map[string]int64{}
	for _, e := range c.history {
		switch d := e.Record.Data.(type) {
		case event.InstanceSignaledData:
			signals[d.Instance] = append(signals[d.Instance], d.Signal)
		case event.InstanceStoppingData:
			signals[d.Instance] = append(signals[d.Instance], d.Signal)
			if deadlines[d.Instance] == 0 {
				deadlines[d.Instance] = d.Deadline.Mono
			}
		}
	}
	for _, e := range c.history {
		d, ok := e.Record.Data.(event.InstanceExitedData)
		if !ok {
			continue
		}
		if at := deadlines[d.Instance]; at != 0 && e.Record.Mono >= at {
			signals[d.Instance] = append(signals[d.Instance], event.Kill) // the announced escalation
		}
		got := "unknown"
		switch {
		case d.Code != nil:
			got = strconv.Itoa(*d.Code)
		case d.Signal != nil:
			got = *d.Signal
		}
		meant, ok := c.ends[d.Instance]
		want := append([]string{}, signals[d.Instance]...)
		if ok {
			// Having said how it ends, only KILL can come in between.
			want = slices.DeleteFunc(want, func(s string) bool { return s != event.Kill })
			how := meant.Signal
			if how == "" {
				how = strconv.Itoa(meant.Code)
			}
			want = append(want, how)
		}
		if got == "unknown" && c.unknown[d.Instance] {
			c.unseen++
			continue
		}
		if !slices.Contains(want, got) {
			c.t.Errorf("P3: record %d: %s %s exited with %s, one of %v is true", e.Record.Seq, e.Record.Subject, d.Instance, got, want)
		}
	}
}

// output: every line that was written is there, once and in order (P3).
func (c *check) output() {
	if gaps := rig.Of[event.OutputGapData](c.history); len(gaps) > 0 && c.cut == nil {
		c.t.Errorf("P3: output gaps: %v", gaps)
	}
	services := map[string]bool{}
	for _, service := range c.starts {
		services[service] = true
	}
	got := map[string]*account.Lines{}
	for service := range services {
		for i, stream := range []string{"stdout", "stderr"} {
			c.stream(service, i, c.r.Output(service, stream), got)
		}
	}
	instances, err := os.ReadDir(filepath.Join(c.r.Dir, "count"))
	if err != nil {
		c.t.Fatal(err)
	}
	for _, e := range instances {
		counted, err := account.Counted(c.r.Dir, e.Name())
		if err != nil {
			c.t.Fatal(err)
		}
		have := account.Lines{}
		if got[e.Name()] != nil {
			have = *got[e.Name()]
		}
		for i, n := range counted {
			// Killed, it may have written one line more than it could count.
			_, exact := c.ends[e.Name()]
			stream := []string{"stdout", "stderr"}[i]
			if c.cut[e.Name()+" "+stream] && have[i] < n {
				continue
			}
			if have[i] != n && (exact || have[i] != n+1) {
				c.t.Errorf("P3: %s %s wrote %d lines to stream %d, %d are there", c.starts[e.Name()], e.Name(), n, i+1, have[i])
			}
		}
	}
}

func (c *check) stream(service string, i int, text string, got map[string]*account.Lines) {
	for line := range strings.Lines(text) {
		w := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		n, err := uint64(0), error(nil)
		if len(w) == 3 {
			n, err = strconv.ParseUint(w[1], 10, 64)
		}
		if len(w) != 3 || err != nil || c.starts[w[0]] != service || len(w[2]) != int(n%50) {
			c.t.Errorf("P3: a torn line in the output of %s: %q", service, line)
			continue
		}
		have := got[w[0]]
		if have == nil {
			have = &account.Lines{}
			got[w[0]] = have
		}
		if n != have[i]+1 {
			c.t.Errorf("P3: line %d of %s %s, stream %d, follows line %d", n, service, w[0], i+1, have[i])
		}
		have[i] = n
		c.lines++
	}
}

// verify: supreplay finds nothing wrong, and the end was orderly.
func (c *check) verify() {
	c.r.Supreplay("verify").Is(exitcode.Done)
	if last := c.history[len(c.history)-1].Record.Kind; last != event.SupdStopped {
		c.t.Errorf("the last record is %s, not supd.stopped:\n%s", last, c.tail(12))
	}
}

// tail shows the last records, a line each.
func (c *check) tail(n int) string {
	var b strings.Builder
	for _, e := range c.history[max(0, len(c.history)-n):] {
		b.Write(append(e.Bytes, '\n'))
	}
	return b.String()
}

// replay: the journal folds to the state that supd showed (P6).
func (c *check) replay(dump event.Dump) {
	c.t.Helper()
	if dump.Seq == 0 || int(dump.Seq) > len(c.history) {
		c.t.Fatalf("the dump stands at record %d, the journal has %d", dump.Seq, len(c.history))
	}
	if hash := c.history[dump.Seq-1].Hash; hash != dump.Hash {
		c.t.Errorf("P6: record %d has hash %s, the dump says %s", dump.Seq, hash, dump.Hash)
	}
	if diff := cmp.Diff(string(dump.State), string(c.r.Fold(c.history, dump.Seq).Canonical())); diff != "" {
		c.t.Errorf("P6: the state shown is not the fold of the journal (-shown +fold):\n%s", diff)
	}
}
