package output

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// fixture writes segments as a logger would, with chosen times: what is one
// batch after the other.
type fixture struct {
	t   testing.TB
	dir string
	n   map[string]uint64
}

func newFixture(t testing.TB) *fixture {
	return &fixture{t: t, dir: t.TempDir(), n: map[string]uint64{Stdout: 1, Stderr: 1}}
}

var epoch = time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)

func (f *fixture) batch(stream, instance string, second int, text string, flags uint16) {
	f.t.Helper()
	folder := filepath.Join(f.dir, "s")
	os.MkdirAll(folder, 0o750)
	log, err := os.OpenFile(activePath(folder, stream), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o640)
	if err != nil {
		f.t.Fatal(err)
	}
	defer log.Close()
	st, _ := log.Stat()
	id, _ := parseInstance(instance)
	idx, err := os.OpenFile(indexPath(folder, stream, f.n[stream]), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		f.t.Fatal(err)
	}
	defer idx.Close()
	at := epoch.Add(time.Duration(second) * time.Second)
	idx.Write(mark{off: st.Size(), at: at.UnixNano(), instance: id, flags: flags}.encode())
	log.WriteString(text)
}

func (f *fixture) rotate(stream string) {
	folder := filepath.Join(f.dir, "s")
	if err := os.Rename(activePath(folder, stream), closedPath(folder, stream, f.n[stream])); err != nil {
		f.t.Fatal(err)
	}
	f.n[stream]++
	os.WriteFile(indexPath(folder, stream, f.n[stream]), nil, 0o640)
}

func sample(t testing.TB) *fixture {
	f := newFixture(t)
	f.batch(Stdout, instA, 1, "o1\no2\n", 0)
	f.batch(Stderr, instA, 2, "e1\n", 0)
	f.batch(Stdout, instA, 3, "o3\n", 0)
	f.rotate(Stdout)
	f.batch(Stderr, instB, 4, "e2\ne3\n", 0)
	f.batch(Stdout, instB, 5, "o4\n", 0)
	f.batch(Stderr, instB, 6, "e4 unfinished", 0)
	return f
}

func TestReadSelects(t *testing.T) {
	at := func(s int) time.Time { return epoch.Add(time.Duration(s) * time.Second) }
	for _, c := range []struct {
		name string
		q    Query
		want string
	}{
		{"all", Query{Tail: -1}, "o1 o2 e1 o3 e2 e3 o4 e4_unfinished"},
		{"tail", Query{Tail: 3}, "e3 o4 e4_unfinished"},
		{"tail over a segment", Query{Tail: 5, Stream: Stdout}, "o1 o2 o3 o4"},
		{"tail of one stream", Query{Tail: 2, Stream: Stdout}, "o3 o4"},
		{"tail none", Query{Tail: 0}, ""},
		{"tail more than there is", Query{Tail: 1000}, "o1 o2 e1 o3 e2 e3 o4 e4_unfinished"},
		{"tail beyond counting", Query{Tail: maxTail + 1}, "o1 o2 e1 o3 e2 e3 o4 e4_unfinished"},
		{"stderr", Query{Tail: -1, Stream: Stderr}, "e1 e2 e3 e4_unfinished"},
		{"instance", Query{Tail: -1, Instance: instA}, "o1 o2 e1 o3"},
		{"tail of an instance", Query{Tail: 2, Instance: instA}, "e1 o3"},
		{"since", Query{Tail: -1, Since: at(3)}, "o3 e2 e3 o4 e4_unfinished"},
		{"since and tail", Query{Tail: 2, Since: at(5)}, "o4 e4_unfinished"},
		{"since and a larger tail", Query{Tail: 50, Since: at(5)}, "o4 e4_unfinished"},
		{"since the future", Query{Tail: -1, Since: at(1000)}, ""},
		{"follow holds the unfinished", Query{Tail: -1, Stream: Stderr, Follow: true}, "e1 e2 e3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := sample(t)
			for _, maxBytes := range []int{0, 20, 4} {
				if c.q.Follow && maxBytes == 4 {
					continue // shorter than the line: pieces of it come
				}
				c.q.Service, c.q.MaxBytes = "s", maxBytes
				var got strings.Builder
				for _, l := range readAll(t, f.dir, c.q) {
					got.Write(l.Data)
					if !l.Partial {
						got.WriteByte(' ')
					}
				}
				if g := strings.ReplaceAll(strings.TrimSpace(got.String()), "4 u", "4_u"); g != c.want {
					t.Fatalf("max bytes %d:\n got %s\nwant %s", maxBytes, g, c.want)
				}
			}
		})
	}
}

func TestLinesCarryTimeAndInstance(t *testing.T) {
	lines := readAll(t, sample(t).dir, Query{Service: "s", Tail: -1})
	if l := lines[2]; !l.Time.Equal(epoch.Add(2*time.Second)) || l.Instance != instA || l.Stream != Stderr || l.Partial {
		t.Fatalf("%+v", l)
	}
	if l := lines[7]; !l.Time.Equal(epoch.Add(6*time.Second)) || l.Instance != instB || !l.Partial {
		t.Fatalf("%+v", l)
	}
}

func TestACutIsNoLine(t *testing.T) {
	f := newFixture(t)
	f.batch(Stdout, instA, 1, "one\nbefo", 0)
	f.batch(Stdout, instA, 2, "after\n", flagCut)
	f.batch(Stdout, instA, 3, "sl", 0)
	f.batch(Stdout, instA, 4, "ow\n", 0)
	lines := readAll(t, f.dir, Query{Service: "s", Tail: -1})
	if d := cmp.Diff([]string{"one", "befo", "after", "slow"}, datas(lines)); d != "" {
		t.Fatal(d)
	}
	if !lines[1].Partial || lines[2].Partial || !lines[3].Time.Equal(epoch.Add(3*time.Second)) {
		t.Fatalf("%+v", lines)
	}
	if d := cmp.Diff([]string{"befo", "after", "slow"}, datas(readAll(t, f.dir, Query{Service: "s", Tail: 3}))); d != "" {
		t.Fatal(d)
	}
}

func TestIndexMissingOrDamaged(t *testing.T) {
	want := datas(readAll(t, sample(t).dir, Query{Service: "s", Tail: -1, Stream: Stdout}))
	for name, harm := range map[string]func(path string) error{
		"missing":   os.Remove,
		"empty":     func(p string) error { return os.Truncate(p, 0) },
		"torn":      func(p string) error { return os.Truncate(p, markSize/2) },
		"garbage":   func(p string) error { return os.WriteFile(p, bytes.Repeat([]byte{7}, 1000), 0o640) },
		"a folder":  func(p string) error { os.Remove(p); return os.Mkdir(p, 0o755) },
		"bad first": func(p string) error { b, _ := os.ReadFile(p); b[9] ^= 1; return os.WriteFile(p, b, 0o640) },
	} {
		f := sample(t)
		if err := harm(indexPath(filepath.Join(f.dir, "s"), Stdout, 1)); err != nil {
			t.Fatal(err)
		}
		lines := readAll(t, f.dir, Query{Service: "s", Tail: -1, Stream: Stdout})
		if d := cmp.Diff(want, datas(lines)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if l := lines[0]; l.Time.IsZero() || l.Instance != "" {
			t.Errorf("%s: %+v", name, l)
		}
	}
}

func TestTrimmedCursorResumesAtTheOldest(t *testing.T) {
	f := newFixture(t)
	for i := range 5 {
		f.batch(Stdout, instA, i, fmt.Sprintf("line %d\n", i), 0)
		f.rotate(Stdout)
	}
	q := Query{Service: "s", Cursor: Cursor{Out: Position{1, 3}}}
	folder := filepath.Join(f.dir, "s")
	for n := uint64(1); n <= 3; n++ {
		os.Remove(closedPath(folder, Stdout, n))
	}
	c, err := Read(context.Background(), f.dir, q)
	if err != nil || fmt.Sprint(datas(c.Lines)) != "[line 3 line 4]" {
		t.Fatal(c, err)
	}
	if d := cmp.Diff([]Skip{{Stdout, 3}}, c.Skipped); d != "" {
		t.Fatal(d)
	}
	// A cursor of a folder that is no more: everything there is, and told.
	q.Cursor.Out = Position{900, 5}
	if c, err = Read(context.Background(), f.dir, q); err != nil || len(c.Lines) != 2 || len(c.Skipped) != 1 {
		t.Fatal(c, err)
	}
}

func TestReadOfNothing(t *testing.T) {
	dir := t.TempDir()
	c, err := Read(context.Background(), dir, Query{Service: "none", Tail: 10})
	if err != nil || !c.EOF || len(c.Lines) != 0 || c.Next.IsZero() {
		t.Fatalf("%+v %v", c, err)
	}
	for _, q := range []Query{{Service: "../x"}, {Service: "a", Stream: "stdlog"}, {Service: "a", Instance: "x"}} {
		if _, err := Read(context.Background(), dir, q); err == nil {
			t.Errorf("read %+v", q)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Wait(ctx, dir, Query{Service: "none", Cursor: c.Next}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestFollowWhileSegmentsCloseAndGo(t *testing.T) {
	const lines = 20_000
	b := newBench(t, t.TempDir(), Options{})
	w := b.attach(t, "s", instA, Stdout, Settings{MaxSize: 20_000, MaxFiles: 1000})
	w2 := b.attach(t, "s", instA, Stderr, Settings{MaxSize: 20_000, MaxFiles: 1000})
	go func() {
		for i := 0; i < lines; i += 50 {
			w.WriteString(numbered0(i, i+50))
			w2.WriteString(numbered0(i, i+50))
		}
		w.Close()
		w2.Close()
	}()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	q := Query{Service: "s", Tail: -1, Follow: true, MaxBytes: 30_000, quiet: time.Hour} // a logger that does not get to run is no prompt
	got := map[string]*bytes.Buffer{Stdout: {}, Stderr: {}}
	for n := 0; n < 2*lines; {
		c, err := Read(ctx, b.dir, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range c.Lines {
			if l.Partial {
				t.Fatalf("a cut line: %+v", l)
			}
			got[l.Stream].Write(append(l.Data, '\n'))
			n++
		}
		if q.Cursor = c.Next; c.EOF && n < 2*lines {
			if err := Wait(ctx, b.dir, q); err != nil {
				t.Fatalf("after %d lines: %v", n, err)
			}
		}
		// A cursor survives being sent around.
		if q.Cursor, err = ParseCursor(q.Cursor.String()); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []string{Stdout, Stderr} {
		checkNumbered(t, got[s].Bytes(), lines)
	}
}

// Reading beside a logger that trims: lines may be skipped, never repeated,
// reordered, torn or made up, and a loss is flagged.
func TestReadBesideTrimming(t *testing.T) {
	const lines = 30_000
	b := newBench(t, t.TempDir(), Options{})
	w := b.attach(t, "s", instA, Stdout, Settings{MaxSize: 5000, MaxFiles: 2})
	go func() {
		for i := 0; i < lines; i += 20 {
			w.WriteString(numbered0(i, i+20))
		}
		w.Close()
	}()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	q := Query{Service: "s", Tail: -1, Follow: true, MaxBytes: 3000}
	last, lost, skips := -1, 0, 0
	for last < lines-1 {
		c, err := Read(ctx, b.dir, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range c.Lines {
			var n int
			if _, err := fmt.Sscanf(string(l.Data), "line %d of", &n); err != nil || n <= last || string(l.Data)+"\n" != numbered0(n, n+1) {
				t.Fatalf("after line %d: %q", last, l.Data)
			}
			lost += n - last - 1
			last = n
		}
		skips += len(c.Skipped)
		if q.Cursor = c.Next; c.EOF && last < lines-1 {
			if err := Wait(ctx, b.dir, q); err != nil {
				t.Fatalf("after line %d: %v", last, err)
			}
		}
	}
	if lost > 0 && skips == 0 {
		t.Fatalf("%d lines passed by and nothing said", lost)
	}
	t.Logf("%d lines trimmed before they were read, told %d times", lost, skips)
}

func TestAnUnfinishedLineShowsWhenQuiet(t *testing.T) {
	b := newBench(t, t.TempDir(), Options{})
	w := b.attach(t, "s", instA, Stdout, DefaultSettings())
	write(t, w, "password: ")
	waitText(t, b.dir, "s", Stdout, "password: ")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	q := Query{Service: "s", Tail: 10, Follow: true}
	c, err := Read(ctx, b.dir, q)
	if err != nil || len(c.Lines) != 0 || !c.EOF {
		t.Fatalf("%+v %v", c, err)
	}
	q.Cursor = c.Next
	if err := Wait(ctx, b.dir, q); err != nil {
		t.Fatal(err)
	}
	if c, err = Read(ctx, b.dir, q); err != nil || len(c.Lines) != 1 || !c.Lines[0].Partial {
		t.Fatalf("%+v %v", c, err)
	}
}

func TestTenMegabyteLine(t *testing.T) {
	f := newFixture(t)
	line := bytes.Repeat([]byte("\x00\xff0123456789"), 10<<20/12)
	f.batch(Stdout, instA, 1, "small\n", 0)
	f.batch(Stdout, instA, 2, string(line)+"\nlast\n", 0)
	f.batch(Stderr, instA, 3, "between\n", 0)
	var joined []byte
	pieces := 0
	for _, l := range readAll(t, f.dir, Query{Service: "s", Tail: 3}) {
		if l.Stream == Stdout && string(l.Data) != "last" {
			joined = append(joined, l.Data...)
			pieces++
		}
	}
	if !bytes.Equal(joined, line) || pieces != len(line)/defaultMaxBytes+1 {
		t.Fatalf("%d bytes in %d pieces", len(joined), pieces)
	}
}

// Any text, batches, instances, segments: the pieces are the text again, the
// tail is the end of the whole, and any split into chunks reads the same.
func TestReaderProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := newFixture(t)
		type op struct {
			Stream, Text string
			Inst         bool
			Rotate       bool
		}
		ops := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) op {
			return op{
				rapid.SampledFrom([]string{Stdout, Stderr}).Draw(rt, "stream"),
				rapid.StringMatching(`([a-c]{0,4}\n){0,3}[a-c]{0,3}`).Draw(rt, "text"),
				rapid.Bool().Draw(rt, "instance B"), rapid.IntRange(0, 4).Draw(rt, "rotate") == 0,
			}
		}), 1, 20).Draw(rt, "ops")
		want := map[string]string{}
		for i, o := range ops {
			inst := instA
			if o.Inst {
				inst = instB
			}
			f.batch(o.Stream, inst, i, o.Text, 0)
			want[o.Stream] += o.Text
			if o.Rotate {
				f.rotate(o.Stream)
			}
		}
		maxBytes := rapid.IntRange(1, 40).Draw(rt, "max bytes")
		whole := readAll(t, f.dir, Query{Service: "s", Tail: -1})
		got := map[string]string{}
		for _, l := range readAll(t, f.dir, Query{Service: "s", Tail: -1, MaxBytes: maxBytes}) {
			got[l.Stream] += string(l.Data)
			if !l.Partial {
				got[l.Stream] += "\n"
			}
		}
		if d := cmp.Diff(want, got); d != "" && len(want[Stdout]+want[Stderr]) > 0 && (want[Stdout] != got[Stdout] || want[Stderr] != got[Stderr]) {
			rt.Fatal(d)
		}
		n := rapid.IntRange(1, 30).Draw(rt, "tail")
		tail := readAll(t, f.dir, Query{Service: "s", Tail: n})
		if d := cmp.Diff(whole[max(0, len(whole)-n):], tail); d != "" {
			rt.Fatalf("tail %d: %s", n, d)
		}
		os.RemoveAll(filepath.Join(f.dir, "s"))
	})
}

// An unfinished line is a prompt only if it was quiet when it was looked at: a
// reader that does not get to run after that must not cut it.
func TestSlowReaderCutsNoLine(t *testing.T) {
	b := newBench(t, t.TempDir(), Options{})
	w := b.attach(t, "s", instA, Stdout, Settings{})
	write(t, w, "half a li")
	waitText(t, b.dir, "s", Stdout, "half a li")
	tape := newTape(filepath.Join(b.dir, "s"), Stdout, Position{Segment: 1}, 1000)
	defer tape.close()
	tape.quiet = time.Minute
	if err := tape.open(); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-time.Hour)
	tape.seg.seen, tape.seg.newest = long, long.Add(-time.Second) // written a second before the look
	if p, err := tape.next(context.Background()); p != nil || err != nil || !tape.held {
		t.Errorf("%+v, %v, held: %v", p, err, tape.held)
	}
	tape.seg.newest = long.Add(-time.Hour)
	if p, err := tape.next(context.Background()); p == nil || err != nil || !p.Partial {
		t.Errorf("a prompt: %+v, %v", p, err)
	}
}
