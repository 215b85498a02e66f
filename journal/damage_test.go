package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"supd/journal"
	"supd/journal/blocks"
	"supd/journal/event"
	"supd/journal/journaltest"
)

// harms are what a disk or a person does to a stopped journal of a hundred
// records in several blocks. They return what must be said of it.
var harms = map[string]func(t *testing.T, state string) (file string){
	"flipped bit":     func(t *testing.T, state string) string { return harmBlock(t, state, 1, flipMiddle) },
	"flipped recent":  func(t *testing.T, state string) string { return harmBlock(t, state, 2, flipMiddle) },
	"flipped at end":  func(t *testing.T, state string) string { return harmBlock(t, state, -1, flipLast) },
	"garbage at end":  func(t *testing.T, state string) string { return harmBlock(t, state, -1, addGarbage) },
	"cut block":       func(t *testing.T, state string) string { return harmBlock(t, state, 1, cutHalf) },
	"cut end":         func(t *testing.T, state string) string { harmBlock(t, state, -1, cutHalf); return "" },
	"missing block":   func(t *testing.T, state string) string { removeBlock(t, state, 1); return "" },
	"missing last":    func(t *testing.T, state string) string { removeBlock(t, state, -1); return "" },
	"no description":  func(t *testing.T, state string) string { return removeFile(t, state, "meta.inf") },
	"no meta sum":     func(t *testing.T, state string) string { return removeFile(t, state, "meta.sum") },
	"no summary":      func(t *testing.T, state string) string { removeFile(t, state, "msgs/index.db"); return "-" },
	"no journal":      removeJournal,
	"description bad": func(t *testing.T, state string) string { return truncateMeta(t, state) },
}

func removeJournal(t *testing.T, state string) string {
	if err := os.RemoveAll(filepath.Join(state, "journal")); err != nil {
		t.Fatal(err)
	}
	return ""
}

func truncateMeta(t *testing.T, state string) string {
	path := filepath.Join(blocks.StreamDir(filepath.Join(state, "journal")), "meta.inf")
	if err := os.Truncate(path, 10); err != nil {
		t.Fatal(err)
	}
	return "meta.inf"
}

func flipMiddle(b []byte) []byte { b[len(b)/2] ^= 4; return b }
func flipLast(b []byte) []byte   { b[len(b)-20] ^= 4; return b }
func addGarbage(b []byte) []byte { return append(b, strings.Repeat("garbage", 99)...) }
func cutHalf(b []byte) []byte    { return b[:len(b)/2] }

// blockAt is the n-th block; -1 is the last.
func blockAt(t *testing.T, state string, n int) string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(strings.ReplaceAll(blocks.StreamDir(filepath.Join(state, "journal")), "$", `\$`), "msgs", "*.blk"))
	if err != nil || len(all) < 3 || len(all) > 9 {
		t.Fatalf("%d blocks, %v", len(all), err)
	}
	if n < 0 {
		n += len(all)
	}
	return all[n]
}

func harmBlock(t *testing.T, state string, n int, harm func([]byte) []byte) string {
	path := blockAt(t, state, n)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, harm(bytes.Clone(b)), 0o600); err != nil {
		t.Fatal(err)
	}
	return filepath.Base(path)
}

func removeBlock(t *testing.T, state string, n int) {
	if err := os.Remove(blockAt(t, state, n)); err != nil {
		t.Fatal(err)
	}
}

func removeFile(t *testing.T, state, name string) string {
	if err := os.Remove(filepath.Join(blocks.StreamDir(filepath.Join(state, "journal")), name)); err != nil {
		t.Fatal(err)
	}
	return filepath.Base(name)
}

// uncleanly makes a stopped folder look as after a crash: the server trusts its
// summary after a clean stop only.
func uncleanly(t *testing.T, cfg journal.Config) {
	t.Helper()
	for _, path := range []string{filepath.Join(cfg.StateDir, "journal", "clean.json")} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// grown is a journal that was stopped: 101 records, a base after 40, the run
// log begun anew after 81.
func grown(t *testing.T) (journal.Config, journal.Link) {
	t.Helper()
	cfg := testConfig(t)
	cfg.MaxBytes = 120_000 // makes the server use blocks of 32 kB
	e := openEngine(t, cfg)
	for i := range 10 {
		if i == 4 {
			e.append(e.chain.Base(`{"at":40}`, 1)...)
		}
		if i == 8 {
			e.durable()
			e.compact()
		}
		e.append(large(e, 10)...)
	}
	e.durable()
	last := e.chain.Link
	e.close()
	cfg.MaxBytes = 8 << 20
	return cfg, last
}

// copied is another journal like that one, for a test to harm.
func copied(t *testing.T, from journal.Config) journal.Config {
	t.Helper()
	to := testConfig(t)
	from.StateDir, to.StateDir = to.StateDir, from.StateDir
	from.RuntimeDir, to.RuntimeDir = to.RuntimeDir, from.RuntimeDir
	for dir, src := range map[string]string{from.StateDir: to.StateDir, from.RuntimeDir: to.RuntimeDir} {
		if err := os.CopyFS(dir, os.DirFS(src)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(from.RuntimeDir, "runlog"), 0o600); err != nil {
		t.Fatal(err)
	}
	from.Moved = true
	return from
}

func large(e *engine, n int) []event.Encoded {
	var batch []event.Encoded
	for range n {
		batch = append(batch, e.chain.Large(500))
	}
	return batch
}

// hears collects what is told of damage.
func hears(cfg *journal.Config) func() []event.JournalDamagedData {
	c := make(chan event.JournalDamagedData, 100)
	cfg.Notify.Damaged = func(d event.JournalDamagedData) { c <- d }
	return func() (all []event.JournalDamagedData) {
		for len(c) > 0 {
			all = append(all, <-c)
		}
		return all
	}
}

// TestDamageInOneBoot: the run log has the state, so an engine starts as if
// nothing were. JOURNAL is mended behind it: what the run log still has is put
// back or published again, the rest is named exactly, and the damaged file is
// kept. It is told once.
func TestDamageInOneBoot(t *testing.T) {
	model, last := grown(t)
	for name, harm := range harms {
		t.Run(name, func(t *testing.T) {
			cfg := copied(t, model)
			uncleanly(t, cfg)
			file := harm(t, cfg.StateDir)
			told := hears(&cfg)
			e := openEngine(t, cfg)
			if e.rec.Source != journal.FromRunLog || e.rec.End != last {
				t.Fatalf("source %q, end %+v, want %+v", e.rec.Source, e.rec.End, last)
			}
			e.append(e.chain.Next(1)...)
			e.durable()
			damage := told()
			checkTold(t, cfg, name, file, damage)
			e.append(e.chain.Base(`{"after":"damage"}`, 1)...)
			e.append(e.chain.Next(5)...)
			e.durable()
			end := e.chain.Link
			e.close()
			holds(t, cfg, end.Seq, damage)
			uncleanly(t, cfg)
			e = openEngine(t, cfg)
			e.append(e.chain.Next(1)...)
			e.durable()
			if again := told(); len(again) > 0 {
				t.Errorf("told again: %+v", again)
			}
			e.close()
		})
	}
}

func checkTold(t *testing.T, cfg journal.Config, name, file string, damage []event.JournalDamagedData) {
	t.Helper()
	t.Logf("%+v", damage)
	if file == "-" {
		if len(damage) > 0 {
			t.Errorf("%s is no damage: %+v", name, damage)
		}
		return
	}
	if len(damage) == 0 {
		t.Fatal("nothing is said of it")
	}
	if file != "" && filepath.Base(damage[0].File) != file {
		t.Errorf("file %q, want %q", damage[0].File, file)
	}
	for _, d := range damage {
		if d.Evidence == "" {
			continue
		}
		if _, err := os.Stat(filepath.Join(cfg.StateDir, d.Evidence)); err != nil {
			t.Error(err)
		}
	}
}

// holds checks that JOURNAL's files hold each record up to last, or that it was
// said to be lost, and that nothing else is wrong with them.
func holds(t *testing.T, cfg journal.Config, last event.Seq, damage []event.JournalDamagedData) {
	t.Helper()
	r, err := blocks.Open(filepath.Join(cfg.StateDir, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	there := map[event.Seq]bool{}
	for entry, err := range r.Records(0) {
		var d *blocks.Damage
		if errors.As(err, &d) {
			if d.What != blocks.Missing {
				t.Error(d)
			}
			continue
		}
		e, err := event.Decode(entry.Data)
		if err != nil {
			t.Fatal(err)
		}
		there[e.Record.Seq] = true
	}
	lost := map[event.Seq]bool{}
	for _, d := range damage {
		for _, s := range d.Seqs {
			for n := s.First; n <= s.Last; n++ {
				lost[n] = true
			}
		}
	}
	var wrong []string
	for n := event.Seq(1); n <= last; n++ {
		if there[n] == lost[n] {
			wrong = append(wrong, fmt.Sprintf("%d there %v lost %v", n, there[n], lost[n]))
		}
	}
	if len(wrong) > 0 {
		t.Errorf("%d records are neither there nor named, or both: %v", len(wrong), wrong[:min(5, len(wrong))])
	}
}

// TestDamageAfterReboot: JOURNAL alone has the state. An engine starts with what
// can be folded, across holes if need be, and the holes are named.
func TestDamageAfterReboot(t *testing.T) {
	model, last := grown(t)
	for name, harm := range harms {
		t.Run(name, func(t *testing.T) {
			cfg := copied(t, model)
			uncleanly(t, cfg)
			file := harm(t, cfg.StateDir)
			if err := os.Remove(filepath.Join(cfg.RuntimeDir, "runlog")); err != nil {
				t.Fatal(err)
			}
			told := hears(&cfg)
			cfg.Notify.Degraded = func(why string, _ time.Time) { t.Log("degraded:", why) }
			cfg.Notify.Forked = func(err error) { t.Error(err) }
			j, rec, err := journal.Open(bounded(t), cfg)
			if err != nil {
				t.Fatal(err)
			}
			e := &engine{TB: t, j: j, rec: rec}
			e.chain = &journaltest.Chain{Link: rec.Base.Link}
			holes := 0
			for r, err := range rec.Records {
				var hole *journal.HoleError
				if errors.As(err, &hole) {
					holes++
					e.chain.Link = hole.After
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if e.chain.Link, err = e.chain.Link.Next(r); err != nil {
					t.Fatal(err)
				}
			}
			e.compact()
			if err := j.Start(); err != nil {
				t.Fatal(err)
			}
			t.Logf("base %d, %d holes, end %d of %d", rec.Base.Seq, holes, e.chain.Link.Seq, last.Seq)
			e.append(e.chain.Base(`{"after":"damage"}`, 1)...)
			e.durable()
			end := e.chain.Link
			e.close()
			damage := told()
			if name == "no journal" { // nobody could know
				return
			}
			if name != "cut end" && name != "missing last" || len(damage) > 0 {
				checkTold(t, cfg, name, file, dropLost(damage))
			}
			if err := os.Remove(filepath.Join(cfg.RuntimeDir, "runlog")); err != nil {
				t.Fatal(err)
			}
			e = openEngine(t, cfg) // fails on a hole
			if string(e.rec.Base.State) != `{"after":"damage"}` || e.chain.Link != end {
				t.Errorf("base %s, end %+v, want %+v", e.rec.Base.State, e.chain.Link, end)
			}
			e.close()
		})
	}
}

// dropLost leaves out what is said of the run log, which the test took away.
func dropLost(all []event.JournalDamagedData) (rest []event.JournalDamagedData) {
	for _, d := range all {
		if filepath.Base(d.File) != "runlog" {
			rest = append(rest, d)
		}
	}
	return rest
}

// TestOtherJournalIsAFork: a journal whose end contradicts the run log was
// written by somebody else: publishing stops (R6).
func TestOtherJournalIsAFork(t *testing.T) {
	cfg := testConfig(t)
	e := openEngine(t, cfg)
	e.append(e.chain.Next(5)...)
	e.durable()
	e.close()
	other := testConfig(t)
	o := openEngine(t, other)
	o.append(o.chain.Large(10), o.chain.Large(20))
	o.durable()
	o.close()
	if err := os.RemoveAll(filepath.Join(cfg.StateDir, "journal")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(cfg.StateDir, "journal"), os.DirFS(filepath.Join(other.StateDir, "journal"))); err != nil {
		t.Fatal(err)
	}
	forked := make(chan error, 1)
	cfg.Notify.Forked = func(err error) { forked <- err }
	e = openEngine(t, cfg)
	e.append(e.chain.Next(1)...)
	select {
	case err := <-forked:
		if !errors.Is(err, journal.ErrFork) {
			t.Error(err)
		}
	case <-bounded(t).Done():
		t.Fatal("nobody noticed")
	}
	e.append(e.chain.Next(1)...) // still kept
	if err := e.j.Close(bounded(t)); !errors.Is(err, journal.ErrFork) {
		t.Errorf("Close = %v, want ErrFork", err)
	}
}
