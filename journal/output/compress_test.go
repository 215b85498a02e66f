package output

import (
	"bytes"
	"compress/gzip" // not ours: what other programs read
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// packTo compresses a text into a file of its own.
func packTo(t testing.TB, text []byte) string {
	t.Helper()
	var out bytes.Buffer
	if err := pack(context.Background(), &out, bytes.NewReader(text), int64(len(text)), func(time.Duration) {}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "packed")
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// packClosed makes all closed segments of a stream compressed ones.
func packClosed(t testing.TB, folder, stream string) {
	t.Helper()
	y, err := readLayout(folder, stream)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range y.closed {
		plain := closedPath(folder, stream, n)
		st, err := os.Stat(plain)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := os.ReadFile(plain)
		packed, _ := os.ReadFile(packTo(t, text))
		os.WriteFile(packedPath(folder, stream, n), packed, 0o640)
		os.Chtimes(packedPath(folder, stream, n), st.ModTime(), st.ModTime())
		os.Remove(plain)
	}
}

// gunzip reads a compressed segment as any other program does.
func gunzip(t testing.TB, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(path, err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(path, err)
	}
	return b
}

// Any offset and length of a compressed text reads like the text itself, and
// the file is plain gzip.
func TestPackedTextReadsAnywhere(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 3*memberText+17)
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	for name, text := range map[string][]byte{
		"lines": []byte(numbered0(0, 20_000)), "noise": noise, "one byte": {0}, "one member": noise[:memberText],
		"zeros": make([]byte, 5*memberText),
	} {
		t.Run(name, func(t *testing.T) {
			path := packTo(t, text)
			if got := gunzip(t, path); !bytes.Equal(got, text) {
				t.Fatalf("gunzip gives %d bytes, want %d", len(got), len(text))
			}
			p, err := openPacked(path)
			if err != nil || p.size != int64(len(text)) {
				t.Fatal(p, err)
			}
			defer p.Close()
			rapid.Check(t, func(rt *rapid.T) {
				off := rapid.IntRange(0, len(text)+10).Draw(rt, "offset")
				b := make([]byte, rapid.IntRange(0, 2*memberText).Draw(rt, "length"))
				n, err := p.ReadAt(b, int64(off))
				want := text[min(off, len(text)):min(off+len(b), len(text))]
				if !bytes.Equal(b[:n], want) || (err == io.EOF) != (n < len(b)) {
					rt.Fatalf("%d bytes and %v at %d, want %d", n, err, off, len(want))
				}
			})
		})
	}
}

// Every query gives the same lines whether segments are plain or compressed.
func TestReadCompressedLikePlain(t *testing.T) {
	build := func() *fixture {
		f := newFixture(t)
		for i := range 12 {
			instance := []string{instA, instB}[i/5%2]
			f.batch(Stdout, instance, 2*i, strings.Repeat(fmt.Sprintf("out %d\n", i), 1+i*90), uint16(i%4/3))
			f.batch(Stderr, instance, 2*i+1, fmt.Sprintf("err %d\nand more", i), 0)
			if i%3 == 2 {
				f.rotate(Stdout)
			}
			if i%4 == 3 {
				f.rotate(Stderr)
			}
		}
		return f
	}
	f, g := build(), build()
	for _, name := range []string{Stdout, Stderr} {
		packClosed(t, filepath.Join(g.dir, "s"), name)
	}
	rapid.Check(t, func(rt *rapid.T) {
		q := Query{Service: "s"}
		q.Tail = rapid.SampledFrom([]int{-1, 0, 1, 5, 300, 5000, maxTail + 1}).Draw(rt, "tail")
		q.Instance = rapid.SampledFrom([]string{"", instA, instB}).Draw(rt, "instance")
		q.Stream = rapid.SampledFrom([]string{"", Stdout, Stderr}).Draw(rt, "stream")
		q.MaxBytes = rapid.SampledFrom([]int{0, 300, 10_000}).Draw(rt, "max bytes")
		if second := rapid.IntRange(-1, 30).Draw(rt, "since"); second >= 0 {
			q.Since = epoch.Add(time.Duration(second) * time.Second)
		}
		plain, packed := readAll(t, f.dir, q), readAll(t, g.dir, q)
		if len(plain) != len(packed) {
			rt.Fatalf("%d lines plain, %d compressed", len(plain), len(packed))
		}
		for i := range plain {
			a, b := plain[i], packed[i]
			if string(a.Data) != string(b.Data) || !a.Time.Equal(b.Time) || a.Instance != b.Instance || a.Stream != b.Stream {
				rt.Fatalf("line %d: plain %+v, compressed %+v", i, a, b)
			}
		}
		q.Cursor = Cursor{Out: Position{2, 700}, Err: Position{1, 3}}
		a, errA := Behind(f.dir, q)
		b, errB := Behind(g.dir, q)
		if a != b || errA != nil || errB != nil {
			rt.Fatalf("behind: %d plain, %d compressed (%v, %v)", a, b, errA, errB)
		}
	})
}

// The logger compresses what closes while it goes on writing; retention
// counts what the files occupy.
func TestClosedSegmentsAreCompressed(t *testing.T) {
	b := newBench(t, t.TempDir(), Options{MaxTotal: 200_000})
	const lines = 10_000 // 560 kB of text: more than the total, and a tenth of it once compressed
	set := Settings{MaxSize: 20_000, MaxFiles: 1000, Compress: CompressGzip}
	w := b.attach(t, "s", instA, Stdout, set)
	folder := filepath.Join(b.dir, "s")
	for i := 0; i < lines; i += 500 {
		write(t, w, numbered0(i, i+500))
		eventually(t, "all closed segments compressed", func() bool {
			y, _ := readLayout(folder, Stdout)
			plain := 0
			for _, n := range y.closed {
				if _, err := os.Stat(closedPath(folder, Stdout, n)); err == nil {
					plain++
				}
			}
			return len(y.closed) >= i/400 && plain == 0
		})
	}
	w.Close()
	b.waitDrained(t, 1)
	checkNumbered(t, text(t, b.dir, "s", Stdout), lines)
	if got := readAll(t, b.dir, Query{Service: "s", Tail: -1}); len(got) != lines {
		t.Fatalf("reader: %d lines, want %d", len(got), lines)
	}
	if e := b.all(); len(e) != 0 {
		t.Fatalf("events %+v", e)
	}
	// A total that even the compressed ones exceed takes the oldest.
	b.SetMaxTotal(30_000)
	eventually(t, "the total kept", func() bool {
		var sum int64
		files, _ := os.ReadDir(folder)
		for _, f := range files {
			if st, err := f.Info(); err == nil {
				sum += st.Size()
			}
		}
		return sum <= 30_000 && len(of[Trimmed](b)) > 0
	})
	if y, _ := readLayout(folder, Stdout); len(y.closed) == 0 {
		t.Fatal("nothing is left")
	}
	for _, e := range of[Trimmed](b) {
		if e.Why != WhyTotal || e.Bytes < 20_000*int64(e.Segments) {
			t.Fatalf("the trim counts compressed bytes: %+v", e)
		}
	}
}

// A segment that is trimmed while it is compressed does not come back.
func TestTrimWhileCompressing(t *testing.T) {
	hold, held := make(chan struct{}), make(chan struct{}, 100)
	b := newBench(t, t.TempDir(), Options{step: func(name string) {
		if name == "temporary file made" {
			held <- struct{}{}
			<-hold
		}
	}})
	set := Settings{MaxSize: 1000, MaxFiles: 2, Compress: CompressGzip}
	w := b.attach(t, "s", instA, Stdout, set)
	folder := filepath.Join(b.dir, "s")
	sent := 0
	for ; len(held) == 0; sent += 100 {
		write(t, w, numbered0(sent, sent+100))
		time.Sleep(time.Millisecond)
	}
	n := len(of[Trimmed](b))
	eventually(t, "a trim of the segment in hand", func() bool {
		write(t, w, numbered0(sent, sent+100))
		sent += 100
		return len(of[Trimmed](b)) > n+2
	})
	close(hold)
	w.Close()
	b.waitDrained(t, 1)
	eventually(t, "two compressed and no more", func() bool {
		files, _ := filepath.Glob(filepath.Join(folder, "*.gz"))
		temps, _ := filepath.Glob(filepath.Join(folder, "*.tmp.*"))
		y, _ := readLayout(folder, Stdout)
		return len(files) == 2 && len(temps) == 0 && len(y.closed) == 2
	})
	all := numbered0(0, sent)
	if got := string(text(t, b.dir, "s", Stdout)); !strings.HasSuffix(all, got) || got == "" {
		t.Fatalf("left %.300q", got)
	}
}

// Like TestCrashAtEveryStep, with compression: the folder reads the same
// whenever the logger dies, and the next one completes what was begun.
func TestCrashAtEveryStepOfCompressing(t *testing.T) {
	const lines = 40
	for k := 1; ; k++ {
		if k > 500 {
			t.Fatal("no run lived to its end")
		}
		dir := t.TempDir()
		r, w := rawPipe(t)
		f := os.NewFile(uintptr(r), "read end")
		write(t, w, numbered0(0, lines))
		env := []string{"OUTPUT_MAX_SIZE=700", "OUTPUT_MAX_FILES=1000", "OUTPUT_COMPRESS=1"}
		first := startChild(t, dir, []*os.File{f}, append(env, fmt.Sprintf("OUTPUT_STEP=%d", k))...)
		first.Wait()
		killed := first.ProcessState.Sys().(syscall.WaitStatus).Signaled()
		when := fmt.Sprintf("step %d", k)
		if killed {
			// What is there reads as a beginning of what was written.
			for i, l := range readAll(t, dir, Query{Service: "s0", Tail: -1}) {
				if want := strings.TrimSuffix(numbered0(i, i+1), "\n"); string(l.Data) != want && !l.Partial {
					t.Fatalf("%s: line %d is %q", when, i, l.Data)
				}
			}
			second := startChild(t, dir, []*os.File{f}, env...)
			if err := second.Wait(); err != nil {
				t.Fatal(err)
			}
		}
		w.Close()
		f.Close()
		checkNumbered(t, text(t, dir, "s0", Stdout), lines)
		if got := readAll(t, dir, Query{Service: "s0", Tail: -1}); len(got) != lines {
			t.Fatalf("%s: reader: %d lines", when, len(got))
		}
		folder := filepath.Join(dir, "s0")
		checkFolder(t, folder, when)
		if y, _ := readLayout(folder, Stdout); len(y.closed) < 2 {
			t.Fatalf("%s: the test does not test: %+v", when, y)
		}
		if plain, _ := filepath.Glob(filepath.Join(folder, "stdout.log.*[0-9]")); len(plain) != 0 {
			t.Fatalf("%s: left plain: %v", when, plain)
		}
		if !killed {
			t.Logf("%d steps", k-1)
			return
		}
	}
}

// A damaged compressed segment costs what it damages: it is counted as
// skipped, the rest is read.
func TestDamagedCompressedSegment(t *testing.T) {
	big := numbered0(0, 12_000) // three members
	for _, c := range []struct {
		name   string
		damage func(b []byte) []byte
		least  int // lines before the damage
	}{
		{"empty", func(b []byte) []byte { return nil }, 0},
		{"not ours", func(b []byte) []byte { b[12] = 'X'; return b }, 0},
		{"cut", func(b []byte) []byte { return b[:len(b)-10] }, 9000},
		{"wrong in the middle", func(b []byte) []byte { b[len(b)/2] ^= 0xff; return b }, 4000},
		{"wrong checksum", func(b []byte) []byte { b[len(b)-6] ^= 1; return b }, 9000},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			f.batch(Stdout, instA, 1, big, 0)
			f.rotate(Stdout)
			f.batch(Stdout, instA, 2, "after\n", 0)
			folder := filepath.Join(f.dir, "s")
			packClosed(t, folder, Stdout)
			path := packedPath(folder, Stdout, 1)
			b, _ := os.ReadFile(path)
			os.WriteFile(path, c.damage(b), 0o640)
			var lines []Line
			var skipped uint64
			q := Query{Service: "s", Tail: -1}
			for {
				chunk, err := Read(context.Background(), f.dir, q)
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range chunk.Skipped {
					skipped += s.Segments
				}
				lines = append(lines, chunk.Lines...)
				if q.Cursor = chunk.Next; chunk.EOF {
					break
				}
			}
			if n := len(lines); n < c.least || n > 12_000 || string(lines[n-1].Data) != "after" || skipped != 1 {
				t.Fatalf("%d lines, the last %q, %d skipped", n, lines[n-1].Data, skipped)
			}
			if got := readAll(t, f.dir, Query{Service: "s", Tail: 5}); string(got[len(got)-1].Data) != "after" {
				t.Fatalf("tail %v", datas(got))
			}
		})
	}
}

// FuzzPacked reads any bytes as a compressed segment: it never gives more
// than the file says, nor takes more memory than a member.
func FuzzPacked(f *testing.F) {
	for _, text := range []string{"a\n", numbered0(0, 6000)} {
		b, _ := os.ReadFile(packTo(f, []byte(text)))
		f.Add(b, uint32(0))
		f.Add(b[:len(b)-5], uint32(300))
	}
	f.Fuzz(func(t *testing.T, b []byte, off uint32) {
		path := filepath.Join(t.TempDir(), "packed")
		os.WriteFile(path, b, 0o600)
		p, err := openPacked(path)
		if err != nil {
			if !errors.Is(err, errDamaged) {
				t.Fatal(err)
			}
			return
		}
		defer p.Close()
		to := make([]byte, 4096)
		n, err := p.ReadAt(to, int64(off))
		if n < len(to) && err == nil || int64(off)+int64(n) > max(p.size, int64(off)) || cap(p.text) > memberText {
			t.Fatalf("%d bytes at %d of %d: %v", n, off, p.size, err)
		}
	})
}
