package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"supd/journal/event"
)

// maker is journaltest.Chain for tests inside the package, which journaltest
// imports.
type maker struct{ link Link }

func (m *maker) add(data event.Data) event.Encoded {
	seq := m.link.Seq + 1
	e, err := event.Encode(event.Record{ID: fmt.Sprint("id-", seq), Kind: data.Kind(), Seq: seq, Prev: m.link.Hash, Actor: "supd", Data: data})
	if err != nil {
		panic(err)
	}
	m.link = LinkOf(e)
	return e
}

func (m *maker) next(n int) []event.Encoded {
	batch := make([]event.Encoded, n)
	for i := range batch {
		batch[i] = m.add(event.AccessDeniedData{Subject: "s", Count: int(m.link.Seq) + 1})
	}
	return batch
}

func (m *maker) base() Base {
	return Base{Link: m.link, Version: 1, State: []byte(fmt.Sprintf(`{"seq":%d}`, m.link.Seq))}
}

// shm is a folder on tmpfs, where run logs live.
func shm(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "supd-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func mustCreate(t testing.TB, size int64) (*runLog, string) {
	path := filepath.Join(shm(t), "runlog")
	l, err := createRunLog(path, size, "node", "boot", Base{Link: Origin(), State: []byte("{}")}, Origin(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.close() })
	return l, path
}

func mustOpen(t testing.TB, path string) (*runLog, found) {
	l, got, err := openRunLog(path, "node", "boot")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.close() })
	return l, got
}

// write is one pwrite that a run log did.
type write struct {
	off int64
	b   []byte
}

// tracer notes every write on its way to the file.
type tracer struct {
	f      io.WriterAt
	writes []write
}

func (t *tracer) WriteAt(b []byte, off int64) (int, error) {
	t.writes = append(t.writes, write{off, bytes.Clone(b)})
	return t.f.WriteAt(b, off)
}

// known is what must be found after a crash: the state before an operation
// or the one after it.
type known struct {
	writes  int // how many writes had been done when this was reached
	last    Link
	durable Link
	hand    string
}

// script does every kind of operation on a run log and notes what must be
// found after each.
func script(t *testing.T, l *runLog, tr *tracer) (*maker, []known) {
	m := &maker{link: Origin()}
	states := []known{{last: Origin(), durable: Origin()}}
	note := func(hand string, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		states = append(states, known{len(tr.writes), m.link, l.mark, hand})
	}
	note("", l.append(m.next(1)))
	note("a", l.noteInHand("a"))
	batch := m.next(7)
	note("a", l.append(batch))
	note("", l.noteInHand(""))
	note("", l.markDurable(LinkOf(batch[2])))
	note("", l.compact(m.base()))
	note("", l.append(m.next(3)))
	note("", l.compact(m.base()))
	note("", l.markDurable(m.link))
	note("", l.compact(m.base()))
	note("", l.append(m.next(2)))
	gap := m.add(event.JournalGapData{First: m.link.Seq - 1, Last: m.link.Seq, LastHash: m.link.Hash})
	dropped := []event.Encoded{gap, m.add(event.StateBaseData{Part: 1, Parts: 1, State: []byte("{}")})}
	note("", l.replace(m.base(), dropped))
	note("b", l.noteInHand("b"))
	note("b", l.append(m.next(40)))
	return m, states
}

// TestRunLogCrashAtEveryWrite: a kill before, in the middle of or after any
// write leaves the state before or after the operation, nothing else, and the
// log can go on from there.
func TestRunLogCrashAtEveryWrite(t *testing.T) {
	l, path := mustCreate(t, MinRunLog)
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	tr := &tracer{f: l.f}
	l.w = tr
	_, states := script(t, l, tr)
	cases := 0
	for k, w := range tr.writes {
		for _, n := range cuts(len(w.b)) {
			torn := filepath.Join(filepath.Dir(path), "torn")
			crashed := bytes.Clone(image)
			copy(crashed[w.off:], w.b[:n])
			if err := os.WriteFile(torn, crashed, 0o600); err != nil {
				t.Fatal(err)
			}
			checkCrash(t, torn, states, k, n == len(w.b))
			cases++
		}
		copy(image[w.off:], w.b)
	}
	t.Logf("%d writes, %d crashes", len(tr.writes), cases)
}

func cuts(n int) []int {
	all := []int{0, 1, 7, 8, 9, n / 3, n / 2, n - 9, n - 1, n}
	var in []int
	for _, c := range all {
		if c >= 0 && c <= n {
			in = append(in, c)
		}
	}
	return in
}

func checkCrash(t *testing.T, path string, states []known, k int, whole bool) {
	t.Helper()
	l, got, err := openRunLog(path, "node", "boot")
	if err != nil {
		t.Fatalf("crash in write %d: %v", k, err)
	}
	defer l.close()
	done := k
	if whole {
		done++
	}
	before, after := states[0], states[0]
	for _, s := range states {
		if s.writes <= done {
			before = s
		}
		if after = s; s.writes > done {
			break
		}
	}
	now := known{last: l.last, durable: l.mark, hand: l.hand}
	if !same(now, before) && !same(now, after) {
		t.Fatalf("crash in write %d (whole %v): found %+v, want %+v or %+v", k, whole, now, before, after)
	}
	// The newest state must follow from the base and what comes behind it.
	if got.base.Seq > l.last.Seq {
		t.Fatalf("crash in write %d: base %d is newer than the newest record %d", k, got.base.Seq, l.last.Seq)
	}
	if n := len(got.records); l.last.Seq > got.base.Seq && (n == 0 || got.records[n-1].Record.Seq != l.last.Seq) {
		t.Fatalf("crash in write %d: records end before %d", k, l.last.Seq)
	}
	m := &maker{link: l.last}
	if err := l.append(m.next(2)); err != nil {
		t.Fatalf("crash in write %d: cannot go on: %v", k, err)
	}
	again, _, err := openRunLog(path, "node", "boot")
	if err != nil || again.last != m.link {
		t.Fatalf("crash in write %d: after going on: %v", k, err)
	}
	again.close()
}

func same(a, b known) bool { return a.last == b.last && a.durable == b.durable && a.hand == b.hand }

// TestRunLogCarriesWhatIsNotDurable: compaction keeps it, once for each record.
func TestRunLogCarriesWhatIsNotDurable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("/dev/shm", "supd-test-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "runlog")
		l, err := createRunLog(path, MinRunLog, "node", "boot", Base{Link: Origin()}, Origin(), nil)
		if err != nil {
			t.Fatal(err)
		}
		m := &maker{link: Origin()}
		var all []event.Encoded
		durable, base := 0, event.Seq(0)
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				batch := m.next(rapid.IntRange(1, 20).Draw(t, "n"))
				if err := l.append(batch); errors.Is(err, ErrRunLogFull) {
					m.link = l.last
					return
				} else if err != nil {
					t.Fatal(err)
				}
				all = append(all, batch...)
			},
			"durable": func(t *rapid.T) {
				if durable = rapid.IntRange(durable, len(all)).Draw(t, "durable"); durable > 0 {
					if err := l.markDurable(LinkOf(all[durable-1])); err != nil {
						t.Fatal(err)
					}
				}
			},
			"compact": func(t *rapid.T) {
				if err := l.compact(m.base()); err != nil && !errors.Is(err, ErrRunLogFull) {
					t.Fatal(err)
				} else if err == nil {
					base = m.link.Seq
				}
			},
			"reopen": func(t *rapid.T) {
				_ = l.close()
				var got found
				if l, got, err = openRunLog(path, "node", "boot"); err != nil {
					t.Fatal(err)
				}
				if got.base.Seq != base || got.cut != "" || l.last != m.link {
					t.Fatalf("base %d, cut %q, last %d; want base %d, last %d", got.base.Seq, got.cut, l.last.Seq, base, m.link.Seq)
				}
				need := min(durable, int(base))
				tail := all[len(all)-len(got.records):]
				if len(got.records) < len(all)-need && len(got.records) < len(all)-durable {
					t.Fatalf("%d records, %d are needed", len(got.records), len(all)-need)
				}
				for i, e := range got.records {
					if e.Hash != tail[i].Hash {
						t.Fatalf("record %d is another one", e.Record.Seq)
					}
				}
			},
		})
		_ = l.close()
	})
}

func TestRunLogFull(t *testing.T) {
	l, path := mustCreate(t, MinRunLog)
	m := &maker{link: Origin()}
	var err error
	for err == nil {
		batch := m.next(10)
		if err = l.append(batch); err != nil {
			m.link = l.last
		}
	}
	if !errors.Is(err, ErrRunLogFull) {
		t.Fatal(err)
	}
	if err := l.compact(m.base()); err != nil {
		t.Fatal(err)
	}
	if u := l.use(); u.used < u.size*9/10 || u.reclaimable > 100 {
		t.Fatalf("compaction freed records that are not durable: %+v", u)
	}
	if err := l.markDurable(m.link); err != nil {
		t.Fatal(err)
	}
	if u := l.use(); u.reclaimable < u.size/2 {
		t.Fatalf("durable records are not reclaimable: %+v", u)
	}
	if err := l.compact(m.base()); err != nil {
		t.Fatal(err)
	}
	if err := l.append(m.next(10)); err != nil {
		t.Fatal(err)
	}
	if again, _ := mustOpen(t, path); again.last != m.link {
		t.Fatalf("last = %+v, want %+v", again.last, m.link)
	}
}

func TestRunLogRefuses(t *testing.T) {
	l, path := mustCreate(t, MinRunLog)
	m := &maker{link: Origin()}
	if err := l.append(m.next(3)); err != nil {
		t.Fatal(err)
	}
	other := &maker{link: Link{Seq: 3, Hash: event.Hash([]byte("x"))}}
	if err := l.append(other.next(1)); !errors.Is(err, ErrChain) {
		t.Errorf("append of a record with another prev: %v, want ErrChain", err)
	}
	skip := &maker{link: Link{Seq: 4, Hash: m.link.Hash}}
	if err := l.append(skip.next(1)); !errors.Is(err, ErrChain) {
		t.Errorf("append behind a hole: %v, want ErrChain", err)
	}
	for _, who := range [][2]string{{"node", "later"}, {"other", "boot"}} {
		if _, _, err := openRunLog(path, who[0], who[1]); !errors.Is(err, ErrOtherBoot) {
			t.Errorf("open as %v: %v, want ErrOtherBoot", who, err)
		}
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openRunLog(path, "node", "boot"); err == nil || !strings.Contains(err.Error(), "private") {
		t.Errorf("open of a file that others may read: %v", err)
	}
	link := path + "-link"
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openRunLog(link, "node", "boot"); err == nil {
		t.Error("a symbolic link was followed")
	}
}

func TestOwnFolder(t *testing.T) {
	dir := shm(t)
	if err := ownFolder(filepath.Join(dir, "new")); err != nil {
		t.Error(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "open"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "new"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"open", "link"} {
		if err := ownFolder(filepath.Join(dir, name)); err == nil {
			t.Errorf("folder %q was accepted", name)
		}
	}
}

// TestPoisonCounts: deaths are counted for the input in hand, and only for it (R12).
func TestPoisonCounts(t *testing.T) {
	l, path := mustCreate(t, MinRunLog)
	for deaths := range 3 {
		if err := l.noteInHand("bad"); err != nil {
			t.Fatal(err)
		}
		var got *runLog
		if got, _ = mustOpen(t, path); got.hand != "bad" || got.deaths != deaths+1 {
			t.Fatalf("in hand %q, %d deaths; want bad, %d", got.hand, got.deaths, deaths+1)
		}
		l = got
	}
	if err := errors.Join(l.noteInHand("good"), l.noteInHand("")); err != nil {
		t.Fatal(err)
	}
	if got, _ := mustOpen(t, path); got.hand != "" || got.deaths != 0 {
		t.Fatalf("in hand %q, %d deaths after all was done", got.hand, got.deaths)
	}
}

// FuzzRunLogReader: whatever bytes are found, the reader ends, with what is
// whole or with an error.
func FuzzRunLogReader(f *testing.F) {
	m := &maker{link: Origin()}
	b, err := appendBase(make([]byte, frameHeader), Base{Link: Origin(), State: []byte("{}")})
	if err != nil {
		f.Fatal(err)
	}
	b = sealFrame(b, 1, 0)
	off := int64(len(b)) - frameEnd
	var recs []rawRecord
	for _, e := range m.next(3) {
		recs = append(recs, rawRecord{uint64(e.Record.Seq), e.Bytes})
	}
	whole := append(b[:off], sealFrame(appendRecords(make([]byte, frameHeader), recs), 1, off)...)
	head, err := header{region: 4096, node: "n", boot: "b"}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole, head)
	f.Add(whole[:len(whole)-20], head[:10])
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, region, page []byte) {
		_, _ = decodeHeader(page)
		if c, err := decodeRegion(region, 1); err == nil && c.end > int64(len(region)) {
			t.Fatalf("end %d is beyond %d bytes", c.end, len(region))
		}
		// Past the checksum, which a fuzzer does not guess.
		_, _ = decodeRecords(append([]byte{frameRecords}, region...))
		_, _ = decodeBase(append([]byte{frameBase}, region...))
		slots := make([]byte, pageSize)
		copy(slots, page)
		s := slot{off: slotDurable}
		s.read(slots)
	})
}

func TestGuardRunsOneCall(t *testing.T) {
	g := newGuard()
	hang, ctx := make(chan struct{}), context.Background()
	short, cancel := context.WithCancel(ctx)
	cancel()
	if err := g.do(short, func() error { <-hang; return nil }); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := g.do(ctx, func() error { t.Error("a second call ran"); return nil }); !errors.Is(err, ErrHanging) {
		t.Fatal(err)
	}
	if err := g.doAfter(short, func() error { t.Error("a second call ran"); return nil }); !errors.Is(err, ErrHanging) {
		t.Fatal(err)
	}
	close(hang)
	if err := g.doAfter(ctx, func() error { return io.EOF }); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
}

func BenchmarkKept(b *testing.B) {
	for _, n := range []int{1, 3, 20, 200} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l, _ := mustCreate(b, 16<<20)
			m := &maker{link: Origin()}
			batches := make([][]event.Encoded, b.N)
			for i := range batches {
				batches[i] = m.next(n)
			}
			b.ResetTimer()
			for _, batch := range batches {
				err := l.append(batch)
				if errors.Is(err, ErrRunLogFull) {
					b.StopTimer()
					if err = l.markDurable(l.last); err == nil {
						err = l.compact(Base{Link: l.last})
					}
					if err == nil {
						err = l.append(batch)
					}
					b.StartTimer()
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
