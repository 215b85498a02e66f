package output

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// P3: a logger SIGKILLed at any moment loses and repeats nothing, segments
// being closed all the time.
func TestKilledLoggersLoseNothing(t *testing.T) {
	const kills, writers = 50, 3
	dir := t.TempDir()
	stop := make(chan struct{})
	var pipes []*os.File
	var counts [writers]int
	var wg sync.WaitGroup
	for i := range writers {
		r, w := rawPipe(t)
		f := os.NewFile(uintptr(r), "read end")
		defer f.Close()
		pipes = append(pipes, f)
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer w.Close()
			for {
				select {
				case <-stop:
					return
				default:
				}
				n := 1 + counts[i]%40
				w.WriteString(numbered0(counts[i], counts[i]+n))
				counts[i] += n
				switch { // one fills its pipe, one speaks steadily, one trickles
				case i == 0 && counts[0] < 200_000:
				case i == 2:
					time.Sleep(time.Millisecond)
				default:
					time.Sleep(time.Millisecond / 4)
				}
			}
		}()
	}
	for k := range kills {
		c := startChild(t, dir, pipes, "OUTPUT_MAX_SIZE=300000", "OUTPUT_MAX_FILES=100000")
		time.Sleep(time.Duration(5+k*7%40) * time.Millisecond) // the moment of the kill is what varies
		c.Process.Signal(syscall.SIGKILL)
		c.Wait()
	}
	close(stop)
	last := startChild(t, dir, pipes, "OUTPUT_MAX_SIZE=300000", "OUTPUT_MAX_FILES=100000")
	wg.Wait()
	for i := range writers {
		service := fmt.Sprintf("s%d", i)
		want := int64(len(numbered0(0, 1))) * int64(counts[i])
		eventually(t, "the rest of "+service, func() bool { return int64(len(text(t, dir, service, Stdout))) >= want })
	}
	last.Process.Signal(syscall.SIGKILL)
	last.Wait()
	total := 0
	for i := range writers {
		service := fmt.Sprintf("s%d", i)
		checkNumbered(t, text(t, dir, service, Stdout), counts[i])
		lines := readAll(t, dir, Query{Service: service, Tail: -1})
		if len(lines) != counts[i] {
			t.Fatalf("reader: %d lines, want %d", len(lines), counts[i])
		}
		for k, l := range lines {
			if l.Instance != instA || l.Partial || k > 0 && l.Time.Before(lines[k-1].Time) {
				t.Fatalf("line %d of %s: %+v", k, service, l)
			}
		}
		y, _ := readLayout(filepath.Join(dir, service), Stdout)
		t.Logf("%s: %d lines over %d kills, %d segments", service, counts[i], kills, len(y.closed)+1)
		total += counts[i]
	}
	if total < 1000 {
		t.Fatalf("only %d lines: the test did not test", total)
	}
}

// Crash at every step: for k = 1, 2, … a logger dies after its k-th change to
// the file system, until one lives to its end. A successor completes each.
func TestCrashAtEveryStep(t *testing.T) {
	const lines = 60
	for k := 1; ; k++ {
		if k > 500 {
			t.Fatal("no run lived to its end")
		}
		dir := t.TempDir()
		r, w := rawPipe(t)
		f := os.NewFile(uintptr(r), "read end")
		write(t, w, numbered0(0, lines))
		w.Close()
		env := []string{"OUTPUT_MAX_SIZE=500", "OUTPUT_MAX_FILES=1000", "OUTPUT_FINISH=1"}
		first := startChild(t, dir, []*os.File{f}, append(env, fmt.Sprintf("OUTPUT_STEP=%d", k))...)
		first.Wait()
		killed := first.ProcessState.Sys().(syscall.WaitStatus).Signaled()
		if killed {
			second := startChild(t, dir, []*os.File{f}, env...)
			if err := second.Wait(); err != nil {
				t.Fatal(err)
			}
		}
		f.Close()
		checkNumbered(t, text(t, dir, "s0", Stdout), lines)
		for i, l := range readAll(t, dir, Query{Service: "s0", Tail: -1}) {
			if l.Partial || l.Instance != instA {
				t.Fatalf("step %d, line %d: %+v", k, i, l)
			}
		}
		checkFolder(t, filepath.Join(dir, "s0"), fmt.Sprintf("step %d", k))
		if !killed {
			t.Logf("%d steps", k-1)
			return
		}
	}
}

// The same with trimming: what is left is always a tail of what was written,
// numbers never go back, and no file is left over.
func TestCrashAtEveryStepOfTrimming(t *testing.T) {
	const lines = 40
	all := numbered0(0, lines)
	for k := 1; ; k++ {
		if k > 500 {
			t.Fatal("no run lived to its end")
		}
		dir := t.TempDir()
		r, w := rawPipe(t)
		f := os.NewFile(uintptr(r), "read end")
		write(t, w, all)
		w.Close()
		env := []string{"OUTPUT_MAX_SIZE=500", "OUTPUT_MAX_FILES=1", "OUTPUT_FINISH=1"}
		first := startChild(t, dir, []*os.File{f}, append(env, fmt.Sprintf("OUTPUT_STEP=%d", k))...)
		first.Wait()
		killed := first.ProcessState.Sys().(syscall.WaitStatus).Signaled()
		before, _ := readLayout(filepath.Join(dir, "s0"), Stdout)
		if killed {
			second := startChild(t, dir, []*os.File{f}, env...)
			if err := second.Wait(); err != nil {
				t.Fatal(err)
			}
		}
		f.Close()
		got := string(text(t, dir, "s0", Stdout))
		if !strings.HasSuffix(all, got) || len(got) == 0 {
			t.Fatalf("step %d: left %q", k, got)
		}
		after, _ := readLayout(filepath.Join(dir, "s0"), Stdout)
		if after.active() < before.active() {
			t.Fatalf("step %d: segment numbers went from %d back to %d", k, before.active(), after.active())
		}
		if !killed {
			return
		}
	}
}

// checkFolder wants exactly one index per segment and nothing else.
func checkFolder(t *testing.T, dir, when string) {
	t.Helper()
	y, err := readLayout(dir, Stdout)
	if err != nil {
		t.Fatal(err)
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != len(y.closed)+len(y.indexes)+1 || len(y.indexes) != len(y.closed)+1 {
		t.Fatalf("%s: folder %v", when, entries)
	}
	for i, n := range y.closed {
		if y.indexes[i] != n || n != uint64(i+1) {
			t.Fatalf("%s: layout %+v", when, y)
		}
	}
}

// NOT RUN without root: fills a tmpfs of its own.
func smallDisk(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: needs root to mount a small tmpfs")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("NOT RUN: needs to mount a small tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestFullDiskBlock(t *testing.T) {
	disk := smallDisk(t)
	b := newBench(t, disk, Options{})
	const lines = 60_000 // about 3 MB: more than disk and pipe hold
	w := b.attach(t, "s", instA, Stdout, Settings{MaxSize: 64 << 10, MaxFiles: 1000})
	done := make(chan struct{})
	go func() { defer close(done); w.WriteString(numbered0(0, lines)); w.Close() }()
	eventually(t, "a pressed event", func() bool { return len(of[Pressed](b)) > 0 })
	if p := of[Pressed](b)[0]; p.Errno != "ENOSPC" {
		t.Fatalf("%+v", p)
	}
	select {
	case <-done:
		t.Fatal("3 MB fit into 1 MB")
	case <-time.After(2 * retryEvery):
	}
	if n := len(of[Pressed](b)); n > 3 {
		t.Fatalf("%d pressed events for one full disk", n)
	}
	if err := unix.Mount("tmpfs", disk, "tmpfs", unix.MS_REMOUNT, "size=8m"); err != nil {
		t.Fatal(err)
	}
	<-done
	b.waitDrained(t, 1)
	checkNumbered(t, text(t, disk, "s", Stdout), lines)
	if len(of[Gap](b)) != 0 || len(of[Relieved](b)) != len(of[Pressed](b)) {
		t.Fatalf("events %+v", b.all())
	}
}

func TestFullDiskDrop(t *testing.T) {
	disk := smallDisk(t)
	b := newBench(t, disk, Options{})
	const lines = 40_000
	set := Settings{MaxSize: 64 << 10, MaxFiles: 1000, OnFull: OnFullDrop}
	w := b.attach(t, "s", instA, Stdout, set)
	write(t, w, numbered0(0, lines)) // never blocks for long
	eventually(t, "a pressed event", func() bool { return len(of[Pressed](b)) > 0 })
	if err := unix.Mount("tmpfs", disk, "tmpfs", unix.MS_REMOUNT, "size=8m"); err != nil {
		t.Fatal(err)
	}
	sent := lines
	eventually(t, "writing again", func() bool {
		write(t, w, numbered0(sent, sent+1))
		sent++
		return len(of[Relieved](b)) == len(of[Pressed](b))
	})
	w.Close()
	b.waitDrained(t, 1)
	var dropped, droppedLines int64
	for _, g := range of[Gap](b) {
		dropped += g.Bytes
		droppedLines += g.Lines
	}
	kept := text(t, disk, "s", Stdout)
	if want := int64(len(numbered0(0, 1))) * int64(sent); int64(len(kept))+dropped != want || dropped == 0 {
		t.Fatalf("kept %d + dropped %d bytes, written %d", len(kept), dropped, want)
	}
	if newlines := int64(strings.Count(string(kept), "\n")); newlines+droppedLines != int64(sent) {
		t.Fatalf("kept %d + dropped %d lines, written %d", newlines, droppedLines, sent)
	}
	// No line may be made of two halves that never met.
	for _, l := range readAll(t, disk, Query{Service: "s", Tail: -1}) {
		if s := string(l.Data) + "\n"; !l.Partial && len(s) > len(numbered0(0, 1)) {
			t.Fatalf("glued line %q", s)
		}
	}
}
