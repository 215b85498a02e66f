package output

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestBytesArriveRaw(t *testing.T) {
	b := newBench(t, t.TempDir(), Options{})
	out := b.attach(t, "web@1.x:+-", instA, Stdout, DefaultSettings())
	errs := b.attach(t, "web@1.x:+-", instA, Stderr, DefaultSettings())
	write(t, out, "a\x00b\xff\xfe\r\nno newline")
	write(t, errs, "oops\n")
	waitText(t, b.dir, "web@1.x:+-", Stdout, "a\x00b\xff\xfe\r\nno newline")
	waitText(t, b.dir, "web@1.x:+-", Stderr, "oops\n")
	out.Close()
	errs.Close()
	b.waitDrained(t, 2)
	for _, name := range []string{"stdout.log", "stdout.idx.1"} {
		st, err := os.Stat(filepath.Join(b.dir, "web@1.x:+-", name))
		if err != nil || st.Mode().Perm() != 0o640 {
			t.Fatalf("%s: %v %v", name, st, err)
		}
	}
	if len(b.all()) != 0 {
		t.Fatalf("events for an ordinary life: %v", b.all())
	}
}

func TestSilentStreamLeavesNothing(t *testing.T) {
	b := newBench(t, t.TempDir(), Options{})
	b.attach(t, "quiet", instA, Stdout, DefaultSettings()).Close()
	b.waitDrained(t, 1)
	b.finish(t)
	if _, err := os.Stat(filepath.Join(b.dir, "quiet")); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a stream that said nothing made files: %v", err)
	}
}

func TestAttachRefusesAndRepeats(t *testing.T) {
	b := newBench(t, t.TempDir(), Options{})
	r, w := rawPipe(t)
	file, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, c := range []struct {
		service, instance, stream string
		fd                        int
	}{
		{"../x", instA, Stdout, r},
		{"", instA, Stdout, r},
		{"..", instA, Stdout, r},
		{"a", "not a uuid", Stdout, r},
		{"a", instA, "stdlog", r},
		{"a", instA, Stdout, -1},
		{"a", instA, Stdout, int(file.Fd())},
	} {
		if err := b.Attach(c.service, c.instance, c.stream, c.fd, Settings{}); err == nil {
			t.Errorf("attached %+v", c)
		}
	}
	again, err := unix.FcntlInt(uintptr(r), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range []int{r, again} {
		if err := b.Attach("a", instA, Stdout, fd, Settings{}); err != nil {
			t.Fatal(err)
		}
	}
	write(t, w, "once\n")
	waitText(t, b.dir, "a", Stdout, "once\n")
	w.Close()
	b.waitDrained(t, 1)
	b.finish(t)
	if len(b.drained) != 1 {
		t.Fatalf("drained %v", b.drained)
	}
	r, _ = rawPipe(t)
	defer unix.Close(r)
	if err := b.Attach("a", instA, Stdout, r, Settings{}); !errors.Is(err, ErrClosed) {
		t.Fatalf("attach after the end: %v", err)
	}
}

func TestTwoInstancesShareAStream(t *testing.T) {
	b := newBench(t, t.TempDir(), Options{})
	w1 := b.attach(t, "s", instA, Stdout, DefaultSettings())
	w2 := b.attach(t, "s", instB, Stdout, DefaultSettings())
	write(t, w1, "old one\nhalf")
	waitText(t, b.dir, "s", Stdout, "old one\nhalf")
	write(t, w2, "new one\n")
	waitText(t, b.dir, "s", Stdout, "old one\nhalfnew one\n")
	write(t, w1, "rest\n")
	waitText(t, b.dir, "s", Stdout, "old one\nhalfnew one\nrest\n")
	got := readAll(t, b.dir, Query{Service: "s", Tail: -1})
	want := []struct {
		data, inst string
		partial    bool
	}{{"old one", instA, false}, {"half", instA, true}, {"new one", instB, false}, {"rest", instA, false}}
	for i, w := range want {
		if i >= len(got) || string(got[i].Data) != w.data || got[i].Instance != w.inst || got[i].Partial != w.partial {
			t.Fatalf("line %d: got %+v, want %+v", i, got, w)
		}
	}
	only := datas(readAll(t, b.dir, Query{Service: "s", Tail: 2, Instance: instA}))
	if d := cmp.Diff([]string{"half", "rest"}, only); d != "" {
		t.Fatal(d)
	}
}

// What a dead instance left comes before what its successor writes, also where a new
// logger is given the successor's pipe first and the other one holds more than a turn.
func TestDeadBeforeItsSuccessor(t *testing.T) {
	b := newBench(t, t.TempDir(), Options{})
	old, w1 := rawPipe(t)
	if _, err := unix.FcntlInt(uintptr(old), unix.F_SETPIPE_SZ, pipeMax); err != nil {
		t.Fatal(err)
	}
	left := strings.Repeat(strings.Repeat("x", 99)+"\n", pipeMax/128)
	write(t, w1, left)
	w1.Close()
	next, w2 := rawPipe(t)
	write(t, w2, "new one\n")
	if err := b.do(func() { // one look finds both
		for _, p := range []struct {
			fd       int
			instance string
		}{{next, instB}, {old, instA}} {
			id, err := parseInstance(p.instance)
			if err != nil {
				t.Error(err)
			}
			b.Logger.attach(&pipe{fd: p.fd, inode: uint64(p.fd), id: id, slot: -1, aside: aside{slot: -1}, instance: p.instance, s: b.stream("s", Stdout)})
		}
	}); err != nil {
		t.Fatal(err)
	}
	waitText(t, b.dir, "s", Stdout, left+"new one\n")
}

func TestFinishDrainsWhatIsThere(t *testing.T) {
	b := newBench(t, t.TempDir(), Options{Tick: 50 * time.Millisecond})
	w := b.attach(t, "s", instA, Stdout, Settings{MaxSize: 4096, MaxFiles: 100})
	write(t, w, numbered0(0, 1000))
	b.finish(t)
	checkNumbered(t, text(t, b.dir, "s", Stdout), 1000)
}

func TestRunEndsWithItsContext(t *testing.T) {
	l, err := NewLogger(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := l.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestManyWritersAreServedFairly(t *testing.T) {
	const writers, lines = 200, 200
	b := newBench(t, t.TempDir(), Options{})
	flood := b.attach(t, "flood", instA, Stdout, Settings{MaxSize: 1 << 20, MaxFiles: 2})
	stop := make(chan struct{})
	var wg, fl sync.WaitGroup
	fl.Add(1)
	go func() {
		defer fl.Done()
		defer flood.Close()
		block := []byte(strings.Repeat("flood of text without an end in sight\n", 1700))
		for {
			select {
			case <-stop:
				return
			default:
				flood.Write(block)
			}
		}
	}()
	begin := time.Now()
	for i := range writers {
		w := b.attach(t, fmt.Sprintf("s%d", i), instA, Stdout, DefaultSettings())
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer w.Close()
			for k := range lines {
				w.WriteString(numbered0(k, k+1))
			}
		}()
	}
	wg.Wait()
	b.waitDrained(t, writers)
	took := time.Since(begin)
	close(stop)
	fl.Wait()
	for i := range writers {
		checkNumbered(t, text(t, b.dir, fmt.Sprintf("s%d", i), Stdout), lines)
	}
	t.Logf("%d writers beside a flood: %v", writers, took)
	if took > 10*time.Second {
		t.Fatalf("the flood starved the others: %v", took)
	}
}

func TestRemovedAndEmptiedOutside(t *testing.T) {
	b := newBench(t, t.TempDir(), Options{})
	w := b.attach(t, "s", instA, Stdout, DefaultSettings())
	path := filepath.Join(b.dir, "s", "stdout.log")
	write(t, w, "one\ntwo\n")
	waitText(t, b.dir, "s", Stdout, "one\ntwo\n")
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	write(t, w, "three\n")
	waitText(t, b.dir, "s", Stdout, "three\n")
	if err := os.RemoveAll(filepath.Join(b.dir, "s")); err != nil {
		t.Fatal(err)
	}
	write(t, w, "four\n")
	waitText(t, b.dir, "s", Stdout, "four\n")
	if got := datas(readAll(t, b.dir, Query{Service: "s", Tail: -1})); !cmp.Equal(got, []string{"four"}) {
		t.Fatal(got)
	}
	if g := of[Trimmed](b); len(g) != 1 || g[0].Why != WhyOutside || g[0].Bytes != 6 {
		t.Fatalf("events %+v", g)
	}
}

// A folder in the place of a segment concerns that stream alone, and is told.
func TestStrangeFilesHurtOneStream(t *testing.T) {
	b := newBench(t, t.TempDir(), Options{})
	strange := filepath.Join(b.dir, "bad", "stdout.log")
	if err := os.MkdirAll(strange, 0o755); err != nil {
		t.Fatal(err)
	}
	bad := b.attach(t, "bad", instA, Stdout, DefaultSettings())
	good := b.attach(t, "good", instA, Stdout, DefaultSettings())
	write(t, bad, "waits\n")
	eventually(t, "a pressed event", func() bool { return len(of[Pressed](b)) == 1 })
	if p := of[Pressed](b)[0]; p.Errno != "EISDIR" || !strings.Contains(p.Limit, strange) {
		t.Fatalf("%+v", p)
	}
	write(t, good, "goes on\n")
	waitText(t, b.dir, "good", Stdout, "goes on\n")
	if _, err := Read(context.Background(), b.dir, Query{Service: "bad", Tail: -1}); err == nil {
		t.Fatal("read a folder as a segment")
	}
	bad.Close() // its end must not make the loop spin or lose the bytes
	if err := os.Remove(strange); err != nil {
		t.Fatal(err)
	}
	waitText(t, b.dir, "bad", Stdout, "waits\n")
	b.waitDrained(t, 1)
	if len(of[Relieved](b)) != 1 || len(of[Gap](b)) != 0 {
		t.Fatalf("events %+v", b.all())
	}
}

func TestDropCountsAndCuts(t *testing.T) {
	b := newBench(t, t.TempDir(), Options{})
	set := DefaultSettings()
	set.OnFull = OnFullDrop
	strange := filepath.Join(b.dir, "s", "stdout.log")
	if err := os.MkdirAll(strange, 0o755); err != nil {
		t.Fatal(err)
	}
	w := b.attach(t, "s", instA, Stdout, set)
	write(t, w, "lost 1\nlost 2\nlost ")
	eventually(t, "a pressed event", func() bool { return len(of[Pressed](b)) == 1 })
	if err := os.Remove(strange); err != nil {
		t.Fatal(err)
	}
	eventually(t, "writing again", func() bool {
		write(t, w, "kept\n")
		return len(of[Relieved](b)) == 1
	})
	gaps := of[Gap](b)
	if len(gaps) != 1 || gaps[0].Lines < 2 || gaps[0].Bytes < 19 || gaps[0].Instance != instA || gaps[0].Reason == "" ||
		gaps[0].To.Before(gaps[0].From) || of[Relieved](b)[0].Refused != gaps[0].Bytes {
		t.Fatalf("gaps %+v", gaps)
	}
}
