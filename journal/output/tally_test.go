package output

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// gapsIn sums the gaps in a child's file of events. One that is there twice, to
// the byte, was told by a logger that was killed before it had cleared its slot.
func gapsIn(t *testing.T, path string) (lines, size int64, gaps int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for line := range bytes.Lines(b) {
		if told[string(line)] {
			continue
		}
		told[string(line)] = true
		var e struct {
			Kind string `json:"kind"`
			Data Gap    `json:"data"`
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if e.Kind == KindGap {
			lines, size, gaps = lines+e.Data.Lines, size+e.Data.Bytes, gaps+1
		}
	}
	return lines, size, gaps
}

// counts are the gaps in a tally's file.
func counts(b []byte) (all []tallied) {
	for slot := range slices.Chunk(b, tallySlot) {
		if len(slot) < tallySlot {
			break
		}
		if c, ok := decodeTally(slot); ok {
			all = append(all, c)
		}
	}
	return all
}

// P4: what was dropped stays counted when loggers are SIGKILLed while they
// drop, within one read for each kill.
func TestDropCountSurvivesKills(t *testing.T) {
	const kills = 12
	disk, scratch := smallDisk(t), t.TempDir()
	if err := os.WriteFile(filepath.Join(disk, "hog"), make([]byte, 960<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	events, tally := filepath.Join(scratch, "events"), filepath.Join(scratch, "tally")
	env := []string{
		"OUTPUT_ON_FULL=drop", "OUTPUT_TALLY=" + tally, "OUTPUT_EVENTS=" + events,
		"OUTPUT_MAX_SIZE=65536", "OUTPUT_MAX_FILES=1000",
	}
	r, w := rawPipe(t)
	f := os.NewFile(uintptr(r), "read end")
	defer f.Close()
	stop, done := make(chan struct{}), make(chan struct{})
	sent := 0
	go func() {
		defer close(done)
		defer w.Close()
		for {
			select {
			case <-stop:
				return
			default:
				w.WriteString(numbered0(sent, sent+20))
				sent += 20
			}
		}
	}()
	for k := range kills {
		before, _ := os.ReadFile(tally)
		c := startChild(t, disk, []*os.File{f}, env...)
		eventually(t, "it counts what it drops", func() bool {
			now, _ := os.ReadFile(tally)
			return !bytes.Equal(now, before) && len(counts(now)) > 0
		})
		time.Sleep(time.Duration(k*9%50) * time.Millisecond) // the moment of the kill is what varies
		c.Process.Signal(syscall.SIGKILL)
		c.Wait()
	}
	close(stop)
	last := startChild(t, disk, []*os.File{f}, append(env, "OUTPUT_FINISH_IDLE=1")...)
	<-done
	if err := last.Wait(); err != nil {
		t.Fatal(err)
	}
	kept := text(t, disk, "s0", Stdout)
	lines, size, gaps := gapsIn(t, events)
	written := int64(len(numbered0(0, 1))) * int64(sent)
	missing := written - int64(len(kept)) - size
	t.Logf("%d lines written, %d kept, %d in %d gaps; %d bytes uncounted", sent, bytes.Count(kept, []byte("\n")), lines, gaps, missing)
	if gaps < kills || missing < 0 || missing > kills*64<<10 {
		t.Fatalf("written %d bytes, kept %d, declared %d in %d gaps", written, len(kept), size, gaps)
	}
}

// A tally that cannot be had is said, and the logger works without.
func TestNoTally(t *testing.T) {
	b := newBench(t, t.TempDir(), Options{Tally: filepath.Join(t.TempDir(), "no", "such", "folder")})
	eventually(t, "a pressed event", func() bool { return len(of[Pressed](b)) == 1 })
	w := b.attach(t, "s", instA, Stdout, Settings{})
	write(t, w, "still here\n")
	waitText(t, b.dir, "s", Stdout, "still here\n")
}

// The total is never more than half of the file system, which is said, and
// follows when the file system changes.
func TestTotalIsAtMostHalfTheDisk(t *testing.T) {
	disk := smallDisk(t)
	lowered := make(chan int64, 10)
	b := newBench(t, disk, Options{MaxTotal: 1 << 30, Lowered: func(n int64) { lowered <- n }})
	if n := <-lowered; n != 512<<10 {
		t.Fatalf("lowered to %d", n)
	}
	const lines = 30_000 // more than fits
	w := b.attach(t, "s", instA, Stdout, Settings{MaxSize: 64 << 10, MaxFiles: 1000})
	for i := 0; i < lines; i += 500 {
		write(t, w, numbered0(i, i+500))
	}
	w.Close()
	b.waitDrained(t, 1)
	var size, trimmed int64
	size = int64(len(text(t, disk, "s", Stdout)))
	for _, e := range of[Trimmed](b) {
		if e.Why != WhyTotal {
			t.Fatalf("%+v", e)
		}
		trimmed += e.Bytes
	}
	if written := int64(len(numbered0(0, 1))) * lines; size+trimmed != written || size > 512<<10+128<<10 || len(of[Pressed](b)) > 0 {
		t.Fatalf("kept %d and trimmed %d of %d bytes; %+v", size, trimmed, written, of[Pressed](b))
	}
	if err := unix.Mount("tmpfs", disk, "tmpfs", unix.MS_REMOUNT, "size=8m"); err != nil {
		t.Fatal(err)
	}
	b.SetMaxTotal(2 << 30)
	if n := <-lowered; n != 4<<20 {
		t.Fatalf("then lowered to %d", n)
	}
}

func FuzzTally(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0, 0, 0, 0, 0, '{', '}'})
	f.Fuzz(func(t *testing.T, b []byte) {
		slot := make([]byte, tallySlot)
		copy(slot, b)
		if c, ok := decodeTally(slot); ok && c.Gap.Bytes <= 0 {
			t.Fatalf("%+v", c)
		}
	})
}
