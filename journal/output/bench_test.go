package output

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// benchDir prefers memory, so that the logger is measured and not the disk.
func benchDir(b *testing.B) string {
	b.Helper()
	where := "/dev/shm"
	if d := os.Getenv("OUTPUT_BENCH_DIR"); d != "" {
		where = d
	}
	dir, err := os.MkdirTemp(where, "supd-output-")
	if err != nil {
		return b.TempDir()
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func benchmarkWrite(b *testing.B, block int) {
	l := newBench(b, benchDir(b), Options{Tick: defaultTick})
	w := l.attach(b, "s", instA, Stdout, DefaultSettings())
	buf := bytes.Repeat([]byte(strings.Repeat("x", 99)+"\n"), max(1, block/100))
	b.SetBytes(int64(len(buf)))
	b.ResetTimer()
	for b.Loop() {
		if _, err := w.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
	w.Close()
	l.waitDrained(b, 1)
}

func BenchmarkWriteLines100B(b *testing.B)  { benchmarkWrite(b, 100) }
func BenchmarkWriteBlocks4K(b *testing.B)   { benchmarkWrite(b, 4096) }
func BenchmarkWriteBlocks128K(b *testing.B) { benchmarkWrite(b, 128<<10) }

// BenchmarkFloor is what the kernel allows: the same writer, and a loop that
// does nothing but splice from a pipe of 1 MiB into files of 16 MiB.
func BenchmarkFloor128K(b *testing.B) {
	dir := benchDir(b)
	r, w := rawPipe(b)
	if _, err := unix.FcntlInt(uintptr(r), unix.F_SETPIPE_SZ, pipeMax); err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		defer unix.Close(r)
		for n := 0; ; n = (n + 1) % 9 {
			f, err := os.Create(filepath.Join(dir, fmt.Sprint("floor.", n)))
			for off := int64(0); err == nil && off < defaultMaxSize; {
				var got int64
				if got, err = unix.Splice(r, nil, int(f.Fd()), &off, pipeMax, unix.SPLICE_F_MOVE); got == 0 {
					f.Close()
					done <- err
					return
				}
			}
			f.Close()
		}
	}()
	buf := bytes.Repeat([]byte(strings.Repeat("x", 99)+"\n"), 128<<10/100)
	b.SetBytes(int64(len(buf)))
	b.ResetTimer()
	for b.Loop() {
		if _, err := w.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
	w.Close()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

// BenchmarkSteady measures the CPU of a logger process at 100,000 lines of
// 100 bytes a second, in percent of one core.
func BenchmarkSteady100kLines(b *testing.B) {
	dir := benchDir(b)
	r, w := rawPipe(b)
	read := os.NewFile(uintptr(r), "read end")
	defer read.Close()
	c := startChild(b, dir, []*os.File{read}, "OUTPUT_MAX_FILES=8", "OUTPUT_TICK=10ms")
	line := []byte(strings.Repeat("x", 99) + "\n")
	eventually(b, "the child", func() bool { w.Write(line); return len(text(b, dir, "s0", Stdout)) > 0 })
	before, begin := cpuTime(b, c.Process.Pid), time.Now()
	sent := 0
	const seconds = 2
	for time.Since(begin) < seconds*time.Second {
		due := int(time.Since(begin).Seconds() * 100_000)
		for ; sent < due; sent++ {
			w.Write(line)
		}
		time.Sleep(100 * time.Microsecond)
	}
	took := time.Since(begin)
	cpu := cpuTime(b, c.Process.Pid) - before
	c.Process.Signal(unix.SIGKILL)
	c.Wait()
	b.ReportMetric(100*cpu.Seconds()/took.Seconds(), "%cpu")
	b.ReportMetric(float64(sent)/took.Seconds(), "lines/s")
	b.ReportMetric(0, "ns/op")
}

// cpuTime is what all threads of a process used so far.
func cpuTime(b *testing.B, pid int) (sum time.Duration) {
	b.Helper()
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, name := range files {
		text, _ := os.ReadFile(name)
		var ns int64
		fmt.Sscan(string(text), &ns)
		sum += time.Duration(ns)
	}
	if sum == 0 {
		b.Skip("NOT RUN: needs /proc/PID/task/*/schedstat")
	}
	return sum
}

func BenchmarkRead(b *testing.B) {
	dir := benchDir(b)
	folder := filepath.Join(dir, "s")
	os.Mkdir(folder, 0o755)
	text := bytes.Repeat([]byte(strings.Repeat("x", 99)+"\n"), 160_000)
	os.WriteFile(activePath(folder, Stdout), text, 0o644)
	b.Run("all", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			readAll(b, dir, Query{Service: "s", Tail: -1})
		}
	})
	b.Run("tail100", func(b *testing.B) {
		for b.Loop() {
			if c, err := Read(context.Background(), dir, Query{Service: "s", Tail: 100}); err != nil || len(c.Lines) != 100 {
				b.Fatal(len(c.Lines), err)
			}
		}
	})
}
