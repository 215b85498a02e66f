package journal

import (
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"supd/journal/event"
)

// large makes a batch of n records of about size bytes each.
func (m *maker) large(n, size int) []event.Encoded {
	batch := make([]event.Encoded, n)
	for i := range batch {
		batch[i] = m.add(event.AccessDeniedData{Subject: strings.Repeat("x", size)})
	}
	return batch
}

func mustHold(t *testing.T, path string, end Link, records int) *runLog {
	t.Helper()
	l, got, err := openRunLog(path, "node", "boot")
	if err != nil {
		t.Fatal(err)
	}
	if l.last != end || len(got.records) != records || got.cut != "" {
		t.Fatalf("it ends at %d with %d records, want %d with %d; %s", l.last.Seq, len(got.records), end.Seq, records, got.cut)
	}
	return l
}

// A batch that is larger than the run log makes it larger: an engine that could
// not keep what it decided would die of it again and again. What was in it stays,
// and what is not durable is still known.
func TestLargeBatchGetsRoom(t *testing.T) {
	l, path := mustCreate(t, MinRunLog)
	m := &maker{link: Origin()}
	for range 5 {
		if err := l.append(m.next(4)); err != nil {
			t.Fatal(err)
		}
	}
	batch := m.next(2)
	durable := LinkOf(batch[1])
	if err := l.append(batch); err != nil {
		t.Fatal(err)
	}
	if err := l.markDurable(durable); err != nil {
		t.Fatal(err)
	}
	if err := l.append(m.large(3, 400<<10)); err != nil {
		t.Fatal(err)
	}
	if err := l.append(m.next(1)); err != nil {
		t.Fatal(err)
	}
	if l.mark != durable || len(l.pending) != 4 {
		t.Errorf("durable up to %d, %d pending", l.mark.Seq, len(l.pending))
	}
	l.close()
	l = mustHold(t, path, m.link, 26)
	if err := l.compact(m.base()); err != nil {
		t.Fatal(err)
	}
	l.close()
	mustHold(t, path, m.link, 4).close()
}

// What piles up in small batches never makes it grow.
func TestSmallBatchesAreBounded(t *testing.T) {
	l, _ := mustCreate(t, MinRunLog)
	defer l.close()
	m, region := &maker{link: Origin()}, l.region
	for {
		err := l.append(m.next(20))
		if errors.Is(err, ErrRunLogFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if l.region != region {
		t.Errorf("the region grew from %d to %d", region, l.region)
	}
}

// Without memory to grow, a batch that does not fit is refused and changes
// nothing: what fits is kept as before.
func TestNoMemoryToGrow(t *testing.T) {
	small := t.TempDir()
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=512k"); err != nil {
		t.Skipf("NOT RUN: needs root to mount a small tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(small, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	fd, err := unix.MemfdCreate("runlog", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for _, path := range []string{filepath.Join(small, "runlog"), memoryPrefix + strconv.Itoa(fd)} {
		m := &maker{link: Origin()}
		l, err := createRunLog(path, MinRunLog, "node", "boot", Base{Link: Origin(), State: []byte("{}")}, Origin(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.append(m.next(5)); err != nil {
			t.Fatal(err)
		}
		end := m.link
		if err := l.append(m.large(3, 400<<10)); !errors.Is(err, ErrRunLogFull) {
			t.Fatalf("%s: %v, want ErrRunLogFull", path, err)
		}
		if l.mayCompact() {
			t.Errorf("%s: it is tried again at once", path)
		}
		m.link = end
		if err := l.append(m.next(2)); err != nil {
			t.Fatal(err)
		}
		l.close()
		mustHold(t, path, m.link, 7).close()
		if left, _ := filepath.Glob(path + ".new"); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

// A batch that found no room is given up with the rest: the gap covers it, the
// base behind it has what it did.
func TestGapOverRefusedBatch(t *testing.T) {
	l, path := mustCreate(t, MinRunLog)
	m := &maker{link: Origin()}
	kept := m.next(50)
	if err := l.append(kept); err != nil {
		t.Fatal(err)
	}
	gap := gapOf(append(kept, m.next(7)...), 1<<10) // never appended
	batch := []event.Encoded{m.add(gap)}
	if err := l.replace(m.base(), batch); err != nil {
		t.Fatal(err)
	}
	if err := l.append(m.next(1)); err != nil {
		t.Fatal(err)
	}
	l.close()
	mustHold(t, path, m.link, 2).close()
}

// A state that has outgrown the run log, without memory for a larger one, takes
// its room from what the gap carries: Drop must not fail, or each next engine
// would die of it too (R10).
func TestGapLeavesRoomForTheState(t *testing.T) {
	l, _ := mustCreate(t, MinRunLog)
	defer l.close()
	m, region := &maker{link: Origin()}, l.region
	var recs []event.Encoded
	for {
		batch := []event.Encoded{m.add(event.CommandAcceptedData{Command: "0190aaaa-0000-7000-8000-00000000000a", Verb: "restart"})}
		if err := l.append(batch); errors.Is(err, ErrRunLogFull) {
			recs = append(recs, batch...)
			break
		} else if err != nil {
			t.Fatal(err)
		}
		recs = append(recs, batch...)
	}
	text := []byte(`[` + strings.Repeat(`"quoted",`, int(region*2/5)/9) + `""]`)
	gap := gapOf(recs, l.keptRoom(int64(len(text))))
	m.link = Link{Seq: gap.Last, Hash: gap.LastHash}
	batch := []event.Encoded{m.add(gap)}
	for part := range slices.Chunk(text, len(text)/2+1) {
		batch = append(batch, m.add(event.StateBaseData{Part: len(batch), Parts: 2, Version: 1, Chunk: string(part)}))
	}
	if err := l.replace(Base{Link: m.link, Version: 1, State: text}, batch); err != nil {
		t.Fatal(err)
	}
	if l.region != region || len(gap.Kept) > 0 && l.keptRoom(int64(len(text))) == 0 {
		t.Errorf("a region of %d became one of %d; %d records are carried", region, l.region, len(gap.Kept))
	}
}
