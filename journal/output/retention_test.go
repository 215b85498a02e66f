package output

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The rule of the package doc: whole lines below 64 KiB, segments at least
// max_size and less than max_size + 64 KiB.
func TestSegmentsEndAtLineEnds(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		maxSize := rapid.Int64Range(1, 20_000).Draw(rt, "max_size")
		lengths := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(0, 200), rapid.IntRange(0, 60_000)), 1, 60).Draw(rt, "lines")
		burst := rapid.IntRange(1, 10).Draw(rt, "lines per write")
		b := newBench(t, dir, Options{Tick: 50 * time.Microsecond})
		w := b.attach(t, "s", instA, Stdout, Settings{MaxSize: maxSize, MaxFiles: 1000})
		var all, chunk strings.Builder
		for i, n := range lengths {
			line := strings.Repeat(string(rune('a'+i%26)), n) + "\n"
			all.WriteString(line)
			chunk.WriteString(line)
			if (i+1)%burst == 0 || i == len(lengths)-1 {
				write(t, w, chunk.String())
				chunk.Reset()
			}
		}
		w.Close()
		b.waitDrained(t, 1)
		b.finish(t)
		if got := string(text(t, dir, "s", Stdout)); got != all.String() {
			rt.Fatalf("%d bytes, want %d", len(got), all.Len())
		}
		y, _ := readLayout(filepath.Join(dir, "s"), Stdout)
		for _, n := range y.closed {
			text, _ := os.ReadFile(closedPath(filepath.Join(dir, "s"), Stdout, n))
			idx, _ := os.Stat(indexPath(filepath.Join(dir, "s"), Stdout, n))
			if text[len(text)-1] != '\n' || int64(len(text)) >= maxSize+lineSlack ||
				int64(len(text)) < maxSize && idx.Size() < maxSize {
				rt.Fatalf("segment %d: %d bytes, index %d, max_size %d, ends %q", n, len(text), idx.Size(), maxSize, text[len(text)-1])
			}
		}
		if got := len(readAll(t, dir, Query{Service: "s", Tail: -1})); got != len(lengths) {
			rt.Fatalf("reader: %d lines, want %d", got, len(lengths))
		}
		os.RemoveAll(dir)
	})
}

func TestLongLineIsCutAtTheSlack(t *testing.T) {
	b := newBench(t, t.TempDir(), Options{})
	w := b.attach(t, "s", instA, Stdout, Settings{MaxSize: 1000, MaxFiles: 1000})
	line := strings.Repeat("0123456789", 30_000) + "\nshort\n"
	go func() { w.WriteString(line); w.Close() }()
	b.waitDrained(t, 1)
	waitText(t, b.dir, "s", Stdout, line)
	st, err := os.Stat(filepath.Join(b.dir, "s", "stdout.log.1"))
	if err != nil || st.Size() != 1000+lineSlack {
		t.Fatal(st, err)
	}
	var joined strings.Builder
	for _, l := range readAll(t, b.dir, Query{Service: "s", Tail: -1, MaxBytes: 4096}) {
		if len(l.Data) > 4096 {
			t.Fatalf("a piece of %d bytes", len(l.Data))
		}
		joined.Write(l.Data)
		if !l.Partial {
			joined.WriteByte('\n')
		}
	}
	if joined.String() != line {
		t.Fatal("pieces do not join to the line")
	}
}

func TestRetention(t *testing.T) {
	line := strings.Repeat("x", 999) + "\n" // with max_size 1000: one line, one segment
	for _, c := range []struct {
		name   string
		set    Settings
		total  int64
		lines  int
		age    time.Duration // the clock jumps so far after all is written
		closed []uint64
		why    string
	}{
		{"count", Settings{MaxSize: 1000, MaxFiles: 3}, 0, 10, 0, []uint64{7, 8, 9}, WhyCount},
		{"keep none", Settings{MaxSize: 1000, MaxFiles: 0}, 0, 4, 0, nil, WhyCount},
		{"nothing to trim", Settings{MaxSize: 1000, MaxFiles: 8}, 0, 3, 0, []uint64{1, 2}, ""},
		{"age", Settings{MaxSize: 1000, MaxFiles: 8, MaxAge: time.Hour}, 0, 5, 2 * time.Hour, []uint64{5}, WhyAge},
		{"total", Settings{MaxSize: 1000, MaxFiles: 100}, 3500, 10, 0, []uint64{8, 9}, WhyTotal},
	} {
		t.Run(c.name, func(t *testing.T) {
			var ahead atomic.Int64
			clock := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
			b := newBench(t, t.TempDir(), Options{MaxTotal: c.total, Clock: clock})
			w := b.attach(t, "s", instA, Stdout, c.set)
			folder := filepath.Join(b.dir, "s")
			for i := range c.lines {
				write(t, w, line)
				eventually(t, fmt.Sprintf("line %d", i), func() bool {
					y, _ := readLayout(folder, Stdout)
					st, err := os.Stat(activePath(folder, Stdout))
					return err == nil && y.active() == uint64(i+1) && st.Size() == 1000
				})
			}
			ahead.Store(int64(c.age))
			if c.age > 0 { // any change of settings makes the loop look again
				c.set.MaxAge /= 2
				b.Settings("s", c.set)
				b.do(func() { b.sweep(time.Now()) })
			}
			var y layout
			eventually(t, "the trim", func() bool {
				y, _ = readLayout(folder, Stdout)
				return fmt.Sprint(y.closed) == fmt.Sprint(c.closed) && len(y.indexes) == len(c.closed)+1
			})
			var segments int
			var bytes int64
			for _, e := range of[Trimmed](b) {
				if e.Why != c.why || e.Oldest.After(e.Newest) || e.Stream != Stdout || e.Oldest.IsZero() {
					t.Fatalf("%+v", e)
				}
				segments += e.Segments
				bytes += e.Bytes
			}
			kept := len(c.closed)
			if made := int(y.active()) - 1; segments != made-kept || bytes != int64(1000*segments) {
				t.Fatalf("told of %d segments with %d bytes; made %d, kept %d", segments, bytes, made, kept)
			}
		})
	}
}

// The total limit concerns services of the past, and their settings, which
// nobody knows any more, do not: nothing of theirs goes while there is room.
func TestTotalTakesTheOldestOfAll(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "past")
	os.MkdirAll(old, 0o750)
	for n := uint64(1); n <= 20; n++ {
		os.WriteFile(closedPath(old, Stdout, n), make([]byte, 1000), 0o640)
		os.WriteFile(indexPath(old, Stdout, n), nil, 0o640)
		at := time.Now().Add(-time.Hour + time.Duration(n)*time.Second)
		os.Chtimes(closedPath(old, Stdout, n), at, at)
	}
	os.WriteFile(activePath(old, Stdout), make([]byte, 1000), 0o640)
	b := newBench(t, dir, Options{MaxTotal: 30_000})
	w := b.attach(t, "s", instA, Stdout, Settings{MaxSize: 1000, MaxFiles: 100})
	write(t, w, "small\n")
	waitText(t, dir, "s", Stdout, "small\n")
	if y, _ := readLayout(old, Stdout); len(y.closed) != 20 || len(b.all()) != 0 {
		t.Fatalf("trimmed without need: %+v %+v", y, b.all())
	}
	b.SetMaxTotal(5500)
	eventually(t, "half of the past gone", func() bool { y, _ := readLayout(old, Stdout); return len(y.closed) == 4 })
	b.SetMaxTotal(500)
	eventually(t, "the past gone, its number kept", func() bool {
		y, _ := readLayout(old, Stdout)
		_, err := os.Stat(activePath(old, Stdout))
		return len(y.closed) == 0 && y.active() == 22 && os.IsNotExist(err)
	})
	if got := string(text(t, dir, "s", Stdout)); got != "small\n" {
		t.Fatalf("the active segment in use went: %q", got)
	}
}

// Space is reserved while a stream speaks and given back when it ends, so
// that du tells the truth.
func TestReservedSpaceIsGivenBack(t *testing.T) {
	dir := t.TempDir()
	used := func(name string) int64 {
		st, err := os.Stat(filepath.Join(dir, "s", name))
		if err != nil {
			return -1
		}
		return st.Sys().(*syscall.Stat_t).Blocks * 512
	}
	b := newBench(t, dir, Options{})
	w := b.attach(t, "s", instA, Stdout, Settings{MaxSize: 8000, MaxFiles: 10})
	write(t, w, "one\n")
	waitText(t, dir, "s", Stdout, "one\n")
	if n := used("stdout.log"); n < reserveMin {
		t.Logf("this file system reserves nothing: %d", n)
	}
	write(t, w, numbered0(0, 200))
	w.Close()
	b.waitDrained(t, 1)
	b.finish(t)
	for _, name := range []string{"stdout.log", "stdout.log.1", "stdout.idx.1"} {
		if n := used(name); n > 3*4096 || n < 0 {
			t.Errorf("%s occupies %d bytes", name, n)
		}
	}
}
