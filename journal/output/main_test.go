package output

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

const (
	instA = "0190aaaa-0000-7000-8000-00000000000a"
	instB = "0190bbbb-0000-7000-8000-00000000000b"
)

func TestMain(m *testing.M) {
	if os.Getenv("OUTPUT_CHILD") != "" {
		childLogger()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// childLogger is a logger process of its own, to be killed. It drains
// descriptors 3, 4, … of services s0, s1, …, and with OUTPUT_STEP=k kills
// itself after the k-th change to the file system.
func childLogger() {
	k, _ := strconv.Atoi(os.Getenv("OUTPUT_STEP"))
	pipes, _ := strconv.Atoi(os.Getenv("OUTPUT_PIPES"))
	maxSize, _ := strconv.ParseInt(os.Getenv("OUTPUT_MAX_SIZE"), 10, 64)
	maxFiles, _ := strconv.Atoi(os.Getenv("OUTPUT_MAX_FILES"))
	tick, _ := time.ParseDuration(os.Getenv("OUTPUT_TICK"))
	o := Options{Tick: tick, Tally: os.Getenv("OUTPUT_TALLY")}
	if to := os.Getenv("OUTPUT_EVENTS"); to != "" {
		f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			panic(err)
		}
		o.Event = func(e Event) {
			b, _ := json.Marshal(e)
			f.Write(append(b, '\n'))
		}
	}
	var mu sync.Mutex // the compressor makes steps too
	if k > 0 {
		o.step = func(string) {
			mu.Lock()
			defer mu.Unlock()
			if k--; k == 0 {
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		}
	}
	l, err := NewLogger(os.Getenv("OUTPUT_CHILD"), o)
	if err != nil {
		panic(err)
	}
	set := Settings{MaxSize: maxSize, MaxFiles: maxFiles, OnFull: os.Getenv("OUTPUT_ON_FULL")}
	if os.Getenv("OUTPUT_COMPRESS") != "" {
		set.Compress = CompressGzip
		go finishCompressed(l)
	}
	if os.Getenv("OUTPUT_FINISH_IDLE") != "" {
		l.opts.Drained = func(string, string) { go l.Finish(context.Background()) }
	}
	for i := range pipes {
		if err := l.Attach(fmt.Sprintf("s%d", i), instA, Stdout, 3+i, set); err != nil {
			panic(err)
		}
	}
	if os.Getenv("OUTPUT_FINISH") != "" {
		go l.Finish(context.Background())
	}
	if err := l.Run(context.Background()); err != nil {
		panic(err)
	}
}

// finishCompressed ends a logger when its first pipe is empty and all that is
// closed is compressed.
func finishCompressed(l *Logger) {
	for done := false; !done; time.Sleep(time.Millisecond) {
		asked := make(chan bool, 1)
		if l.do(func() { asked <- l.idleCompressed() }) != nil {
			return
		}
		done = <-asked
	}
	l.Finish(context.Background())
}

func (l *Logger) idleCompressed() bool {
	if l.packing || l.packDue {
		return false
	}
	for _, p := range l.pipes {
		if n, err := unix.IoctlGetInt(p.fd, unix.TIOCINQ); err != nil || n > 0 {
			return false
		}
	}
	for _, s := range l.streams {
		for _, c := range s.closed {
			if c.plain {
				return false
			}
		}
	}
	return len(l.streams) > 0
}

func startChild(t testing.TB, dir string, pipes []*os.File, env ...string) *exec.Cmd {
	t.Helper()
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), "OUTPUT_CHILD="+dir, fmt.Sprintf("OUTPUT_PIPES=%d", len(pipes)), "GOMAXPROCS=1", "OUTPUT_TICK=2ms", "GORACE=atexit_sleep_ms=0")
	c.Env = append(c.Env, env...)
	c.ExtraFiles = pipes
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

// bench is a logger in this process, with what it told.
type bench struct {
	*Logger
	dir string

	mu      sync.Mutex
	events  []Event
	drained []string
}

func newBench(t testing.TB, dir string, o Options) *bench {
	t.Helper()
	b := &bench{dir: dir}
	if o.Tick == 0 {
		o.Tick = time.Millisecond
	}
	o.Event = func(e Event) { b.mu.Lock(); b.events = append(b.events, e); b.mu.Unlock() }
	o.Drained = func(i, s string) { b.mu.Lock(); b.drained = append(b.drained, i+" "+s); b.mu.Unlock() }
	l, err := NewLogger(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	b.Logger = l
	go l.Run(context.Background())
	t.Cleanup(func() { b.finish(t) })
	return b
}

func (b *bench) finish(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := b.Finish(ctx); err != nil {
		t.Error(err)
	}
}

// attach makes a pipe whose write end it returns.
func (b *bench) attach(t testing.TB, service, instance, stream string, s Settings) *os.File {
	t.Helper()
	r, w := rawPipe(t)
	if err := b.Attach(service, instance, stream, r, s); err != nil {
		t.Fatal(err)
	}
	return w
}

func rawPipe(t testing.TB) (int, *os.File) {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	w := os.NewFile(uintptr(p[1]), "pipe")
	t.Cleanup(func() { w.Close() })
	return p[0], w
}

func (b *bench) all() []Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Event(nil), b.events...)
}

func of[T any](b *bench) (found []T) {
	for _, e := range b.all() {
		if d, ok := e.Data.(T); ok {
			found = append(found, d)
		}
	}
	return found
}

func (b *bench) waitDrained(t testing.TB, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d pipes drained", n), func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.drained) >= n
	})
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for: %s", what)
		}
	}
}

func write(t testing.TB, w *os.File, s string) {
	t.Helper()
	if _, err := w.WriteString(s); err != nil {
		t.Fatal(err)
	}
}

// text is all segments of a stream in order.
func text(t testing.TB, dir, service, stream string) []byte {
	t.Helper()
	folder := filepath.Join(dir, service)
	y, err := readLayout(folder, stream)
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, n := range y.closed {
		b, err := os.ReadFile(closedPath(folder, stream, n))
		if os.IsNotExist(err) {
			b, err = gunzip(t, packedPath(folder, stream, n)), nil
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	b, err := os.ReadFile(activePath(folder, stream))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return append(all, b...)
}

func waitText(t testing.TB, dir, service, stream, want string) {
	t.Helper()
	var got []byte
	deadline := time.Now().Add(time.Minute)
	for {
		if got = text(t, dir, service, stream); string(got) == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("text of %s:\n got %.300q\nwant %.300q", stream, got, want)
		}
		time.Sleep(time.Millisecond)
	}
}

func numbered0(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "line %07d of a service that has things to say\n", i)
	}
	return b.String()
}

// checkNumbered wants lines 0..n-1, each once, in order.
func checkNumbered(t testing.TB, got []byte, n int) {
	t.Helper()
	lines := bytes.Split(bytes.TrimSuffix(got, []byte("\n")), []byte("\n"))
	for i := range min(n, len(lines)) {
		if want := strings.TrimSuffix(numbered0(i, i+1), "\n"); string(lines[i]) != want {
			t.Fatalf("line %d: got %.200q, want %q", i, lines[i], want)
		}
	}
	if len(lines) != n {
		t.Fatalf("got %d lines, want %d", len(lines), n)
	}
}

// readAll follows cursors to the end.
func readAll(t testing.TB, dir string, q Query) []Line {
	t.Helper()
	var all []Line
	for {
		c, err := Read(context.Background(), dir, q)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c.Lines...)
		if c.EOF {
			return all
		}
		if c.Next == q.Cursor {
			t.Fatalf("cursor %v does not move", q.Cursor)
		}
		q.Cursor = c.Next
	}
}

func datas(lines []Line) (s []string) {
	for _, l := range lines {
		s = append(s, string(l.Data))
	}
	return s
}
