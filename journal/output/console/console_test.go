package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"supd/journal/output"
)

const (
	instA = "0190aaaa-0000-7000-8000-00000000000a"
	instB = "0190bbbb-0000-7000-8000-00000000000b"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// screen is a reader that may be slow.
type screen struct {
	mu   sync.Mutex
	b    bytes.Buffer
	gate chan struct{} // if not nil, each write waits for a value, or for its end
	fail error
}

func (s *screen) Write(p []byte) (int, error) {
	if s.gate != nil {
		<-s.gate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return 0, s.fail
	}
	return s.b.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// stage is a real logger with a console beside it.
type stage struct {
	t       *testing.T
	dir     string
	logger  *output.Logger
	console *Console
	ran     chan error
}

func newStage(t *testing.T, o Options) *stage {
	t.Helper()
	s := &stage{t: t, dir: filepath.Join(t.TempDir(), "output"), ran: make(chan error, 1)}
	if o.Dir == "" {
		o.Dir = s.dir
	}
	s.dir = o.Dir
	var err error
	if s.console, err = New(o); err != nil {
		t.Fatal(err)
	}
	if s.logger, err = output.NewLogger(s.dir, output.Options{Tick: time.Millisecond, Moved: s.console.Moved}); err != nil {
		t.Fatal(err)
	}
	go func() { s.ran <- s.logger.Run(context.Background()) }()
	return s
}

// pipe attaches a stream; what is written to the file is the service's output.
func (s *stage) pipe(service, instance, stream string, set output.Settings) *os.File {
	s.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	fd, err := dup(r)
	if err != nil {
		s.t.Fatal(err)
	}
	s.console.Show(service, true)
	if err := s.logger.Attach(service, instance, stream, fd, set); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { w.Close() })
	return w
}

func (s *stage) finish(patience time.Duration) error {
	s.t.Helper()
	if err := s.logger.Finish(context.Background()); err != nil {
		s.t.Fatal(err)
	}
	if err := <-s.ran; err != nil {
		s.t.Fatal(err)
	}
	return s.console.Finish(context.Background(), patience)
}

func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func write(t *testing.T, w *os.File, text string) {
	t.Helper()
	if _, err := w.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func TestNamesAndAlignment(t *testing.T) {
	out := &screen{}
	s := newStage(t, Options{Out: out})
	web, worker := s.pipe("web-0", instA, output.Stdout, output.Settings{}), s.pipe("worker", instB, output.Stderr, output.Settings{})
	write(t, web, "one\n")
	until(t, "one", func() bool { return strings.Contains(out.String(), "one") })
	write(t, worker, "two\nthree\n")
	until(t, "three", func() bool { return strings.Contains(out.String(), "three") })
	if err := s.finish(time.Second); err != nil {
		t.Fatal(err)
	}
	want := "web-0  | one\nworker | two\nworker | three\n"
	if got := out.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestColor(t *testing.T) {
	out := &screen{}
	s := newStage(t, Options{Out: out, Color: true})
	write(t, s.pipe("web", instA, output.Stdout, output.Settings{}), "one\n")
	if err := s.finish(time.Second); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile("^\x1b\\[3[1-6]mweb \\| \x1b\\[0mone\n$").MatchString(out.String()) {
		t.Errorf("got %q", out.String())
	}
}

// A line that does not end is shown after a while; what comes between gets a
// line of its own, and the rest is still the same service's.
func TestUnfinishedLine(t *testing.T) {
	out := &screen{}
	s := newStage(t, Options{Out: out})
	a, b := s.pipe("a", instA, output.Stdout, output.Settings{}), s.pipe("b", instB, output.Stdout, output.Settings{})
	write(t, a, "name? ")
	until(t, "the prompt", func() bool { return out.String() == "a | name? " })
	write(t, b, "hello\n")
	until(t, "b", func() bool { return strings.HasSuffix(out.String(), "hello\n") })
	write(t, a, "ann\nlast")
	if err := s.finish(time.Second); err != nil {
		t.Fatal(err)
	}
	want := "a | name? \nb | hello\na | ann\na | last\n"
	if got := out.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// Plain output is the service's, byte for byte, across many segments.
func TestPlainIsExact(t *testing.T) {
	out, errOut := &screen{}, &screen{}
	s := newStage(t, Options{Out: out, Plain: true, Stream: output.Stdout})
	other, err := New(Options{Dir: s.dir, Out: errOut, Plain: true, Stream: output.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	set := output.Settings{MaxSize: 64 << 10, MaxFiles: 1000}
	w, e := s.pipe("main", instA, output.Stdout, set), s.pipe("main", instA, output.Stderr, set)
	var want bytes.Buffer
	for i := range 20000 {
		fmt.Fprintf(&want, "%d\x00%s", i, strings.Repeat("x", i%90))
		if i%7 != 0 {
			want.WriteByte('\n')
		}
	}
	write(t, e, "to stderr, without an end")
	write(t, w, want.String())
	if err := s.finish(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	other.Moved("main")
	if err := other.Finish(context.Background(), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != want.String() {
		t.Errorf("got %d bytes, want %d", len(got), want.Len())
	}
	if got := errOut.String(); got != "to stderr, without an end" {
		t.Errorf("stderr: got %q", got)
	}
}

// A reader that does not read holds back nobody; what it misses is counted.
func TestSlowReader(t *testing.T) {
	out := &screen{gate: make(chan struct{})}
	s := newStage(t, Options{Out: out, Backlog: 100 << 10})
	w := s.pipe("web", instA, output.Stdout, output.Settings{})
	const lines = 40000
	for i := range lines {
		write(t, w, fmt.Sprintf("line %d of a service that has much to say\n", i)) // more than its pipe holds
	}
	until(t, "all is on disk", func() bool {
		n, err := output.Behind(s.dir, output.Query{Service: "web", Cursor: output.Cursor{Out: output.Position{Segment: 1}}})
		return err == nil && n > lines*40
	})
	close(out.gate)
	if err := s.finish(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	shown, skipped := 0, 0
	for line := range strings.Lines(out.String()) {
		if m := regexp.MustCompile(`^web \| … (\d+) lines skipped`).FindStringSubmatch(line); m != nil {
			n, _ := strconv.Atoi(m[1])
			skipped += n
		} else {
			shown++
		}
	}
	if skipped == 0 || shown == 0 || shown+skipped != lines {
		t.Errorf("%d shown and %d skipped make %d, want %d", shown, skipped, shown+skipped, lines)
	}
	if !strings.HasSuffix(out.String(), fmt.Sprintf("line %d of a service that has much to say\n", lines-1)) {
		t.Error("the newest line is not the last one shown")
	}
}

// What retention took before it was shown is said, too.
func TestRemovedUnseen(t *testing.T) {
	out := &screen{gate: make(chan struct{})}
	s := newStage(t, Options{Out: out})
	w := s.pipe("web", instA, output.Stdout, output.Settings{MaxSize: 4096, MaxFiles: 1})
	write(t, w, "first\n")
	until(t, "the first line is on disk", func() bool {
		n, _ := output.Behind(s.dir, output.Query{Service: "web"})
		return n > 0
	})
	time.Sleep(3 * pause) // it is held by the reader now, most likely; both ways are right
	for i := range 5000 {
		write(t, w, fmt.Sprintf("line %d\n", i))
	}
	if err := s.logger.Finish(context.Background()); err != nil {
		t.Fatal(err)
	}
	close(out.gate)
	<-s.ran
	if err := s.console.Finish(context.Background(), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "output files were removed unseen") || !strings.HasSuffix(out.String(), "line 4999\n") {
		t.Errorf("got %q", out.String())
	}
}

func TestFinishGivesUp(t *testing.T) {
	out := &screen{gate: make(chan struct{})}
	s := newStage(t, Options{Out: out})
	write(t, s.pipe("web", instA, output.Stdout, output.Settings{}), "one\n")
	if err := s.finish(50 * time.Millisecond); err == nil || !strings.Contains(err.Error(), "reader is too slow") {
		t.Errorf("got %v", err)
	}
	close(out.gate)
	<-s.console.done
}

func TestReaderIsGone(t *testing.T) {
	out, failed := &screen{fail: errors.New("broken pipe")}, make(chan error, 9)
	s := newStage(t, Options{Out: out, Failed: func(err error) { failed <- err }})
	w := s.pipe("web", instA, output.Stdout, output.Settings{})
	write(t, w, "one\n")
	if err := <-failed; err == nil || !strings.Contains(err.Error(), "broken pipe") {
		t.Errorf("got %v", err)
	}
	write(t, w, "two\n")
	if err := s.finish(time.Second); err != nil {
		t.Fatal(err)
	}
	if len(failed) > 0 {
		t.Error("told twice")
	}
}

func TestHiddenAndBegun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "output")
	first := newStage(t, Options{Dir: dir, Out: &screen{}})
	write(t, first.pipe("web", instA, output.Stdout, output.Settings{}), "old\n")
	if err := first.finish(time.Second); err != nil {
		t.Fatal(err)
	}
	out := &screen{}
	s := newStage(t, Options{Dir: dir, Out: out})
	w, h := s.pipe("web", instA, output.Stdout, output.Settings{}), s.pipe("quiet", instB, output.Stdout, output.Settings{})
	s.console.Show("quiet", false)
	write(t, h, "nobody sees this\n")
	write(t, w, "new\n")
	until(t, "both were looked at", func() bool { return strings.Contains(out.String(), "new") })
	if err := s.finish(time.Second); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "web   | new\n" {
		t.Errorf("got %q", got)
	}
}
