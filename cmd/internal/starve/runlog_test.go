package starve_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"supd/cmd/internal/rig"
	"supd/cmd/internal/rig/account"
	"supd/journal"
	"supd/journal/blocks"
	"supd/journal/event"
	"supd/projector"
)

// runLogConfig has services that crash all the time and a run log that holds a
// second of it.
const runLogConfig = `
[supd]
node = "starve"
log_format = "text"

[journal]
run_log = "1MiB"

[service.target]
command = ["ACTOR", "-dir", "DIR"]

[service.crash]
count = 10
command = ["ACTOR", "-dir", "DIR", "-life", "1ms,10ms", "-exits", "1,2,SIGSEGV"]
backoff = { initial = "10ms", max = "20ms" }
`

// told is what a journal says: records in it, records that its gaps carry, and
// what they count.
type told struct {
	records []event.Encoded
	gaps    []event.JournalGapData
	late    int // starts that a gap gave up and a publish that had timed out stored all the same
	state   *projector.State
}

// read follows the chain through its gaps and folds it.
func read(t *testing.T, dir string) told {
	t.Helper()
	reader, err := blocks.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := told{state: projector.New()}
	link := journal.Origin()
	for entry, err := range reader.Records(0) {
		if err != nil {
			t.Fatal(err)
		}
		e, err := event.Decode(slices.Clone(entry.Data))
		if err != nil {
			t.Fatal(err)
		}
		before := link
		if link, err = link.Next(e); err != nil {
			t.Fatal(err)
		}
		if err := all.state.Apply(e); err != nil {
			t.Fatal(err)
		}
		all.records = append(all.records, e)
		gap, ok := e.Record.Data.(event.JournalGapData)
		if !ok {
			continue
		}
		all.gaps = append(all.gaps, gap)
		for _, r := range all.records {
			if _, start := r.Record.Data.(event.InstanceStartingData); start && gap.First <= r.Record.Seq && r.Record.Seq <= before.Seq {
				all.late++
			}
		}
		for _, raw := range gap.Kept {
			kept, err := event.Decode(raw)
			if err != nil {
				t.Fatal(err)
			}
			if kept.Record.Seq > before.Seq {
				all.records = append(all.records, kept)
			}
		}
	}
	return all
}

// TestRunLogFills: the journal's disk is full and services crash until the run log
// is full, many times over. Commands are answered and carried out, each of them is
// in the journal afterwards, and so is each start or its place in a count (R10, P4).
func TestRunLogFills(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: needs root, for a small file system")
	}
	r := rig.New(t, runLogConfig)
	r.Abandon()
	disk := tmpfs(t, filepath.Join(r.State, "journal"), "16m")
	r.Run()
	r.UntilPhase("target", event.PhaseRunning)
	disk.fill()
	var commands []string
	c := r.Dial()
	for began := time.Now(); time.Since(began) < 5*time.Second; {
		took, id := command(t, r, "target")
		commands = append(commands, id)
		time.Sleep(max(0, 200*time.Millisecond-took))
	}
	if _, err := status(c, "target"); err != nil {
		t.Error(err)
	}
	disk.free()
	r.Until("the journal is well", func() bool {
		var info event.Info
		r.Supctl("info", "-o", "json").JSON(&info)
		return info.Journal.Health == "ok"
	})
	r.Shutdown()

	all := read(t, filepath.Join(r.State, "journal"))
	if len(all.gaps) == 0 {
		t.Fatalf("the run log never was full: %d records\n%s", len(all.records), r.Log())
	}
	if all.state.Stale() {
		t.Error("the fold is not true again behind the gap")
	}
	ends, starts, counted := map[string]int{}, map[string]bool{}, 0
	for _, e := range all.records {
		switch d := e.Record.Data.(type) {
		case event.CommandAcceptedData:
			ends[d.Command] += 100
		case event.CommandEndedData:
			ends[d.Command]++
		case event.InstanceStartingData:
			starts[d.Instance] = true
		}
	}
	for i, gap := range all.gaps {
		// One that was stored late, after it had been given up like any other record, is
		// counted by the next one too, which begins where it begins (R6, R10).
		again := slices.ContainsFunc(all.gaps[i+1:], func(g event.JournalGapData) bool { return g.First <= gap.First && gap.Last <= g.Last })
		for _, l := range gap.Loops {
			if !again {
				counted += l.Cycles
			}
		}
		t.Logf("records %d to %d: %d carried, loops %+v, gone %v", gap.First, gap.Last, len(gap.Kept), gap.Loops, gap.Counts)
	}
	for _, id := range commands {
		if ends[id] != 101 {
			t.Errorf("P2: command %s is told %d times 100 accepted, and ended", id, ends[id])
		}
	}
	entries, err := account.Read(r.Dir)
	if err != nil {
		t.Fatal(err)
	}
	untold := 0
	for _, e := range entries {
		if e.What == account.Start && !starts[e.Instance] {
			untold++
		}
	}
	if counted < untold || counted > untold+all.late || counted == 0 {
		t.Errorf("P4: %d lives are counted, %d are not told, %d may be both", counted, untold, all.late)
	}
	r.Supreplay("verify").OK()
	if lines := strings.Count(r.Supreplay("timeline", "--kind", string(event.CommandAccepted)).Out, "\n"); lines < len(commands) {
		t.Errorf("supreplay timeline tells %d commands of %d", lines, len(commands))
	}
	t.Logf("%d commands, %d starts told, %d counted, %d gaps", len(commands), len(starts), counted, len(all.gaps))
	if v, err := account.Violations(r.Dir); err != nil || len(v) > 0 {
		t.Errorf("violations: %v %v", v, err)
	}
}

// command restarts a service and returns its id and how long the answer took.
func command(t *testing.T, r *rig.Rig, service string) (time.Duration, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	id, began := uuid.Must(uuid.NewV7()).String(), time.Now()
	if _, err := r.Dial().Command(ctx, event.CommandRequest{ID: id, Verb: event.VerbRestart, Patterns: []string{service}, SentAt: began}, nil); err != nil {
		t.Errorf("%s: %v", id, err)
	}
	return time.Since(began), id
}
