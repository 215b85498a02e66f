package journal_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"supd/journal"
	"supd/journal/event"
	"supd/journal/journaltest"
)

// engine is the smallest user of a journal: its state is a link.
type engine struct {
	testing.TB
	j     *journal.Journal
	rec   *journal.Recovered
	chain *journaltest.Chain
	read  []event.Encoded
}

func bounded(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func openEngine(t testing.TB, cfg journal.Config) *engine {
	t.Helper()
	j, rec, err := journal.Open(bounded(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{TB: t, j: j, rec: rec, chain: &journaltest.Chain{Link: rec.Base.Link}}
	for r, err := range rec.Records {
		if err != nil {
			t.Fatal(err)
		}
		e.read = append(e.read, r)
		e.chain.Link = journal.LinkOf(r)
	}
	if e.chain.Link != rec.End {
		t.Fatalf("records end at %+v, want %+v", e.chain.Link, rec.End)
	}
	if rec.Source != journal.FromRunLog {
		e.compact()
	}
	if err := j.Start(); err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *engine) compact() {
	e.Helper()
	if err := e.j.Compact(e.base()); err != nil {
		e.Fatal(err)
	}
}

func (e *engine) base() journal.Base {
	return journal.Base{Link: e.chain.Link, Version: 1, State: []byte(fmt.Sprint(e.chain.Link.Seq))}
}

func (e *engine) append(batch ...event.Encoded) {
	e.Helper()
	if err := e.j.Append(batch); err != nil {
		e.Fatal(err)
	}
}

func (e *engine) durable() {
	e.Helper()
	if err := e.j.WaitDurable(bounded(e), e.chain.Link.Seq); err != nil {
		e.Fatal(err)
	}
}

func (e *engine) close() {
	e.Helper()
	if err := e.j.Close(bounded(e)); err != nil {
		e.Fatal(err)
	}
}

func TestLifeOfAJournal(t *testing.T) {
	cfg := testConfig(t)
	e := openEngine(t, cfg)
	if e.rec.Source != journal.FromNothing || e.rec.Lost != "" {
		t.Fatalf("source %q, lost %q", e.rec.Source, e.rec.Lost)
	}
	e.append(e.chain.Next(1)...)
	e.append(e.chain.Next(50)...)
	e.durable()
	e.append(e.chain.Next(3)...)
	end, node := e.chain.Link, e.rec.Identity.NodeID
	e.close()

	e = openEngine(t, cfg)
	if e.rec.Source != journal.FromRunLog || e.rec.End != end || len(e.read) != 54 || e.rec.Identity.NodeID != node {
		t.Fatalf("source %q, end %+v, %d records", e.rec.Source, e.rec.End, len(e.read))
	}
	e.compact()
	e.append(e.chain.Next(2)...)
	end = e.chain.Link
	e.close()

	e = openEngine(t, cfg)
	if e.rec.Base.Seq != 54 || string(e.rec.Base.State) != "54" || len(e.read) != 2 {
		t.Fatalf("base %d %q, %d records", e.rec.Base.Seq, e.rec.Base.State, len(e.read))
	}
	e.close()

	// A reboot takes the run log away.
	if err := os.Remove(filepath.Join(cfg.RuntimeDir, "runlog")); err != nil {
		t.Fatal(err)
	}
	e = openEngine(t, cfg)
	if e.rec.Source != journal.FromJournal || e.rec.End != end || len(e.read) != 56 {
		t.Fatalf("source %q, end %+v, %d records", e.rec.Source, e.rec.End, len(e.read))
	}
	if e.rec.Lost == "" {
		t.Error("the run log of this boot was removed and nobody says so")
	}
	e.close()
}

func TestFoldStartsAtNewestCompleteBase(t *testing.T) {
	cfg := testConfig(t)
	e := openEngine(t, cfg)
	e.append(e.chain.Next(5)...)
	e.append(e.chain.Base(`{"a":1}`, 1)...)
	e.append(e.chain.Next(5)...)
	whole := e.chain.Link
	e.append(e.chain.Base("0123456789", 3)...)
	e.append(e.chain.Next(2)...)
	e.durable()
	reopen := func() {
		e.close()
		if err := os.Remove(filepath.Join(cfg.RuntimeDir, "runlog")); err != nil {
			t.Fatal(err)
		}
		e = openEngine(t, cfg)
	}
	reopen()
	if e.rec.Base.Link != whole || string(e.rec.Base.State) != "0123456789" || len(e.read) != 5 {
		t.Fatalf("base %+v %q, %d records", e.rec.Base.Link, e.rec.Base.State, len(e.read))
	}
	// An engine that died in the middle of a base leaves a torn one behind.
	e.append(e.chain.Base("abcdefghij", 4)[:2]...)
	e.chain.Link = journal.LinkOf(last(t, e, 2))
	e.append(e.chain.Next(1)...)
	e.durable()
	reopen()
	if e.rec.Base.Link != whole || string(e.rec.Base.State) != "0123456789" || len(e.read) != 8 {
		t.Fatalf("with a torn base: base %+v %q, %d records", e.rec.Base.Link, e.rec.Base.State, len(e.read))
	}
	e.close()
}

// last returns the n-th record that was made for a base of four parts behind
// the present end, since the chain went on to the fourth.
func last(t *testing.T, e *engine, n int) event.Encoded {
	t.Helper()
	c := journaltest.Chain{Link: e.rec.End}
	return c.Base("abcdefghij", 4)[n-1]
}

func TestHeadIsDiscardedBehindBases(t *testing.T) {
	cfg := testConfig(t)
	cfg.MaxRecords = 400
	e := openEngine(t, cfg)
	bases := 0
	for range 100 {
		e.append(e.chain.Next(20)...)
		if e.j.NeedBase() {
			bases++
			e.append(e.chain.Base("the whole state", 2)...)
		}
		if e.j.NeedCompact() {
			e.compact()
		}
	}
	e.durable()
	e.close()
	if bases < 15 || bases > 25 {
		t.Errorf("%d bases for 2000 records and a limit of 400", bases)
	}
	if err := os.Remove(filepath.Join(cfg.RuntimeDir, "runlog")); err != nil {
		t.Fatal(err)
	}
	e = openEngine(t, cfg)
	if string(e.rec.Base.State) != "the whole state" || len(e.read) > 130 {
		t.Errorf("base %q, %d records behind it", e.rec.Base.State, len(e.read))
	}
	e.close()
}

func TestSecondEngineIsRefused(t *testing.T) {
	cfg := testConfig(t)
	e := openEngine(t, cfg)
	_, _, err := journal.Open(bounded(t), cfg)
	if !errors.Is(err, journal.ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint("pid ", os.Getpid())) {
		t.Errorf("Open = %v, want ErrLocked with the holder's pid", err)
	}
	e.close()
	openEngine(t, cfg).close()
}

func TestCopiedFolderIsRefused(t *testing.T) {
	cfg := testConfig(t)
	e := openEngine(t, cfg)
	e.append(e.chain.Next(3)...)
	e.durable()
	node := e.rec.Identity
	e.close()

	twin := cfg
	twin.StateDir = filepath.Join(t.TempDir(), "copy")
	twin.RuntimeDir = testConfig(t).RuntimeDir
	if err := os.CopyFS(twin.StateDir, os.DirFS(cfg.StateDir)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := journal.Open(bounded(t), twin); !errors.Is(err, journal.ErrMoved) {
		t.Fatalf("Open of a copy = %v, want ErrMoved", err)
	}
	twin.Moved = true
	e = openEngine(t, twin)
	if e.rec.Identity.NodeID != node.NodeID || len(e.read) != 3 {
		t.Errorf("moved: node %s, want %s; %d records", e.rec.Identity.NodeID, node.NodeID, len(e.read))
	}
	e.close()
	twin.Moved = false
	openEngine(t, twin).close()

	third := twin
	third.StateDir, third.NewIdentity = filepath.Join(t.TempDir(), "copy"), true
	third.RuntimeDir = testConfig(t).RuntimeDir
	if err := os.CopyFS(third.StateDir, os.DirFS(cfg.StateDir)); err != nil {
		t.Fatal(err)
	}
	e = openEngine(t, third)
	if e.rec.Identity.NodeID == node.NodeID {
		t.Error("a copy with a new identity has the old node id")
	}
	// What the original left running is not the copy's: its pids are of another boot.
	boot := e.rec.Boot
	if original := bootHere(t); !strings.HasPrefix(boot, original) || boot == original {
		t.Errorf("a copy with a new identity takes the pids of its original for its own: boot %s", boot)
	}
	e.close()
	third.NewIdentity = false
	e = openEngine(t, third)
	if e.rec.Boot != boot {
		t.Errorf("the next engine of the copy is of boot %s, want %s", e.rec.Boot, boot)
	}
	e.close()
}

func bootHere(t *testing.T) string {
	t.Helper()
	boot, err := journal.Boot()
	if err != nil {
		t.Fatal(err)
	}
	return boot
}

func TestStrangersStayOut(t *testing.T) {
	e := openEngine(t, testConfig(t))
	defer e.close()
	for _, hello := range []string{`CONNECT {"auth_token":"guess"}`, `CONNECT {}`, `CONNECT {"user":"supd","pass":""}`, `PING`} {
		conn, err := e.j.InProcessConn()
		if err != nil {
			t.Fatal(err)
		}
		// The pipe has no buffer: read while writing.
		go func() { _, _ = io.WriteString(conn, hello+"\r\nSUB > 1\r\nPING\r\n") }()
		answer, _ := io.ReadAll(conn)
		if text := string(answer); strings.Contains(text, "PONG") || !strings.Contains(text, "Authorization Violation") {
			t.Errorf("%s is answered %q", hello, text)
		}
		conn.Close()
	}
}

func TestDamagedRunLogIsSetAside(t *testing.T) {
	cfg := testConfig(t)
	e := openEngine(t, cfg)
	e.append(e.chain.Next(5)...)
	e.durable()
	e.close()
	path := filepath.Join(cfg.RuntimeDir, "runlog")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 8192; i < len(b); i++ {
		b[i] ^= 0x55
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	e = openEngine(t, cfg)
	if e.rec.Source != journal.FromJournal || e.rec.Lost == "" || len(e.read) != 5 {
		t.Errorf("source %q, lost %q, %d records", e.rec.Source, e.rec.Lost, len(e.read))
	}
	e.close()
	if kept, _ := filepath.Glob(path + ".damaged-*"); len(kept) != 1 {
		t.Errorf("evidence: %v", kept)
	}
}

// TestRunLogSizeFollowsConfiguration: a changed journal.run_log takes effect at
// the next start and loses nothing.
func TestRunLogSizeFollowsConfiguration(t *testing.T) {
	cfg := testConfig(t)
	e := openEngine(t, cfg)
	e.append(e.chain.Next(100)...)
	e.close()
	for _, size := range []int64{1 << 20, 8 << 20, 1} {
		cfg.RunLogSize = size
		e = openEngine(t, cfg)
		if len(e.read) != 100 {
			t.Fatalf("size %d: %d records", size, len(e.read))
		}
		e.close()
		st, err := os.Stat(filepath.Join(cfg.RuntimeDir, "runlog"))
		if want := max(size, journal.MinRunLog); err != nil || st.Size() > want || st.Size() < want-8192 {
			t.Errorf("size %d: file has %d bytes, %v", size, st.Size(), err)
		}
	}
}

// TestDropWithGap: with JetStream off everything piles up; the last resort
// makes room, and afterwards the chain in JOURNAL holds across the gap (R10).
func TestDropWithGap(t *testing.T) {
	cfg := testConfig(t)
	cfg.RunLogSize = journal.MinRunLog
	e := openEngine(t, cfg)
	e.append(e.chain.Next(10)...)
	e.durable()
	e.close()

	safe := cfg
	safe.Safe = true
	e = openEngine(t, safe)
	var err error
	for err == nil {
		link := e.chain.Link
		if err = e.j.Append(e.chain.Next(20)); err != nil {
			e.chain.Link = link
		}
	}
	if !errors.Is(err, journal.ErrRunLogFull) || e.j.Pressure() < 0.75 {
		t.Fatalf("%v, pressure %v", err, e.j.Pressure())
	}
	lost := e.j.Undurable(0)
	if lost.First != 11 || lost.Last != e.chain.Link.Seq || lost.Counts[event.AccessDenied] != int(lost.Last-10) {
		t.Fatalf("Undurable = %+v", lost)
	}
	batch := append([]event.Encoded{e.chain.Gap(lost)}, e.chain.Base("rescued", 2)...)
	if err := e.j.Drop(batch, e.base()); err != nil {
		t.Fatal(err)
	}
	if p := e.j.Pressure(); p > 0.1 {
		t.Errorf("pressure %v after Drop", p)
	}
	e.append(e.chain.Next(5)...)
	if err := e.j.Close(bounded(t)); err != nil {
		t.Fatal(err)
	}

	e = openEngine(t, cfg)
	if e.rec.Source != journal.FromRunLog || e.j.Durable() > e.chain.Link.Seq {
		t.Fatalf("source %q", e.rec.Source)
	}
	e.durable()
	e.close()
	if err := os.Remove(filepath.Join(cfg.RuntimeDir, "runlog")); err != nil {
		t.Fatal(err)
	}
	e = openEngine(t, cfg)
	if string(e.rec.Base.State) != "rescued" || len(e.read) != 7 {
		t.Errorf("base %q, %d records", e.rec.Base.State, len(e.read))
	}
	e.close()
}

func BenchmarkDurable(b *testing.B) {
	for _, n := range []int{1, 3, 20, 200} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			cfg := testConfig(b)
			cfg.MaxBytes, cfg.RunLogSize = 4<<30, 64<<20
			e := openEngine(b, cfg)
			defer e.close()
			e.append(e.chain.Next(1)...)
			e.durable()
			took := make([]time.Duration, 0, b.N)
			for b.Loop() {
				batch := e.chain.Next(n)
				began := time.Now()
				e.append(batch...)
				if err := e.j.WaitDurable(context.Background(), e.chain.Link.Seq); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
				if e.j.NeedCompact() {
					e.compact()
				}
			}
			sort.Slice(took, func(i, k int) bool { return took[i] < took[k] })
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}

func BenchmarkOpenFromRunLog(b *testing.B) {
	for _, n := range []int{10, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			cfg := testConfig(b)
			cfg.RunLogSize = 16 << 20
			e := openEngine(b, cfg)
			e.append(e.chain.Next(n)...)
			e.close()
			for b.Loop() {
				j, rec, err := journal.Open(context.Background(), cfg)
				if err != nil || rec.Source != journal.FromRunLog {
					b.Fatal(rec, err)
				}
				b.StopTimer()
				if err := j.Close(context.Background()); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}
