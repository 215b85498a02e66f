package journal

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"supd/journal/event"
)

// TestRunLogNeverLosesSilently: whatever bit of a run log flips, it is either
// read whole, or an error says that it is damaged. Only the last append may be
// taken for a torn one, which nobody was told of.
func TestRunLogNeverLosesSilently(t *testing.T) {
	l, path := mustCreate(t, MinRunLog)
	m := &maker{link: Origin()}
	for i := range 6 {
		if err := l.append(m.next(3)); err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			if err := l.compact(m.base()); err != nil {
				t.Fatal(err)
			}
		}
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	used, start := int(l.end), int(l.offset(l.gen))
	var at []int
	for i := range regionStart {
		at = append(at, i)
	}
	for i := range used {
		at = append(at, start+i)
	}
	last := m.link.Seq
	for k, off := range at {
		if k%3 != 0 || whole[off] == 0 && k%64 != 0 { // much of the first pages is padding
			continue
		}
		b := bytes.Clone(whole)
		b[off] ^= 1 << (off % 8)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		r, got, err := openRunLog(path, "node", "boot")
		if err != nil {
			continue // said
		}
		if r.last.Seq < last && (got.cut == "" || r.last.Seq < last-3) {
			t.Fatalf("byte %d of the file: read up to %d of %d, cut %q", off, r.last.Seq, last, got.cut)
		}
		if r.mark.Seq > last {
			t.Fatalf("byte %d: durable %d of %d", off, r.mark.Seq, last)
		}
		_ = r.close()
	}
}

// TestDamagedRunLogIsSalvaged: what was kept and not durable lies in whole
// frames behind and before a bad one; what continues JOURNAL's end goes on.
func TestDamagedRunLogIsSalvaged(t *testing.T) {
	run := shm(t)
	cfg := Config{StateDir: t.TempDir(), RuntimeDir: run, Node: "test", RunLogSize: 4 << 20}
	j, _, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	m := &maker{link: Origin()}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(j.Compact(m.base()))
	must(j.Start())
	for range 4 {
		must(j.Append(m.next(5)))
	}
	must(j.Close(context.Background()))
	// As if an engine had died here: kept, not published.
	l, _, err := openRunLog(filepath.Join(run, runLogName), j.identity.NodeID, j.boot)
	must(err)
	place := l.offset(l.gen) + l.base()
	must(l.append(m.next(5)))
	must(l.append(m.next(5)))
	f, err := os.OpenFile(filepath.Join(run, runLogName), os.O_RDWR, 0)
	must(err)
	_, err = f.WriteAt([]byte{0xff}, place+frameHeader+40) // in the first batch, durable long ago
	must(errors.Join(err, f.Close(), l.close()))

	var told []event.JournalDamagedData
	cfg.Notify.Damaged = func(d event.JournalDamagedData) { told = append(told, d) }
	j, rec, err := Open(context.Background(), cfg)
	must(err)
	link := rec.Base.Link
	for e, err := range rec.Records {
		must(err)
		link, err = link.Next(e)
		must(err)
	}
	if link != m.link || rec.Source != FromJournal || rec.Lost == "" {
		t.Errorf("recovered up to %d of %d, source %s, lost %q", link.Seq, m.link.Seq, rec.Source, rec.Lost)
	}
	must(j.Compact(Base{Link: link}))
	must(j.Start())
	if len(told) != 1 || told[0].Salvaged != 10 || told[0].Evidence == "" {
		t.Errorf("told %+v", told)
	}
	must(j.WaitDurable(context.Background(), m.link.Seq))
	must(j.Close(context.Background()))
}

// base is where the first frame of records begins.
func (l *runLog) base() int64 { return l.fixed }

// TestLargeState: a state that is larger than the run log's region grows it,
// at creation, at compaction and when the undurable is dropped; a small one
// lets it shrink again at the next start.
func TestLargeState(t *testing.T) {
	l, path := mustCreate(t, MinRunLog)
	m := &maker{link: Origin()}
	if err := l.append(m.next(100)); err != nil {
		t.Fatal(err)
	}
	if err := l.noteInHand("x"); err != nil {
		t.Fatal(err)
	}
	big := Base{Link: m.link, Version: 1, State: bytes.Repeat([]byte("s"), 10<<20)}
	if err := l.compact(big); err != nil {
		t.Fatal(err)
	}
	if err := l.append(m.next(200)); err != nil {
		t.Fatal(err)
	}
	big.Link = m.link
	if err := l.compact(big); err != nil {
		t.Fatal(err)
	}
	if u := l.use(); u.size > 25<<20 || u.used < 10<<20 || u.reclaimable > 1000 {
		t.Errorf("use %+v", u)
	}
	r, got := mustOpen(t, path)
	if r.last != m.link || len(got.records) != 300 || len(got.base.State) != 10<<20 || r.hand != "x" {
		t.Errorf("reopened: last %d of %d, %d records, state of %d bytes, in hand %q", r.last.Seq, m.link.Seq, len(got.records), len(got.base.State), r.hand)
	}
	if _, err := os.Stat(path + ".new"); err == nil {
		t.Error("a half made run log is left")
	}
	if l, err := createRunLog(path, MinRunLog, "node", "boot", big, m.link, nil); err != nil {
		t.Errorf("creation with a large state: %v", err)
	} else if err := l.compact(big); err != nil {
		t.Errorf("compaction after it: %v", err)
	}
}

// TestRunLogInMemory: where no folder is tmpfs, the run log is in a memfd, which
// an engine's successor finds as it left it.
func TestRunLogInMemory(t *testing.T) {
	usual := isTmpfs
	isTmpfs = func(string) bool { return false }
	t.Cleanup(func() { isTmpfs = usual })
	fd, err := unix.MemfdCreate("run log", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	cfg := Config{StateDir: t.TempDir(), RuntimeDir: t.TempDir(), Node: "test", RunLogSize: 1 << 20}
	if _, _, err := Open(context.Background(), cfg); err == nil || !strings.Contains(err.Error(), "mount a tmpfs") {
		t.Fatalf("without any place: %v", err)
	}
	cfg.MemoryFD = fd
	m := &maker{link: Origin()}
	for round := range 3 {
		j, rec, err := Open(context.Background(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if round > 0 && (rec.Source != FromRunLog || rec.End != m.link || rec.Lost != "") {
			t.Fatalf("round %d: source %q, end %d of %d, lost %q", round, rec.Source, rec.End.Seq, m.link.Seq, rec.Lost)
		}
		if round == 0 {
			if err := j.Compact(Base{Link: m.link}); err != nil {
				t.Fatal(err)
			}
		}
		for range 30 {
			if err := j.Append(m.next(20)); err != nil {
				t.Fatal(err)
			}
			if j.NeedCompact() {
				if err := j.Compact(Base{Link: m.link, State: []byte("{}")}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if !strings.Contains(j.RunLogPath(), "memfd") {
			t.Errorf("place %q", j.RunLogPath())
		}
		j.abandon() // no publisher: all is kept, nothing durable
	}
	j, _, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Start(); err != nil {
		t.Fatal(err)
	}
	if err := j.Retire(context.Background()); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(memoryPrefix + strconv.Itoa(fd)); err != nil || info.Size() != 0 {
		t.Errorf("memory is held after an orderly end: %v", err)
	}
	j, rec, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if rec.Source != FromJournal || rec.End != m.link {
		t.Errorf("source %q, end %d of %d", rec.Source, rec.End.Seq, m.link.Seq)
	}
	j.abandon()
}
