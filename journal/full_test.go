package journal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a small file system on dir.
func smallDisk(t *testing.T, dir, size string) {
	t.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("NOT RUN: needs root to mount a small tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// hog takes every byte of a disk as soon as it is free, in pieces of 256 KiB.
type hog struct {
	dir        string
	stop, done chan struct{}
	pieces     int
}

func startHog(dir string) *hog {
	h := &hog{dir: dir, stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(h.done)
		piece := make([]byte, 4096)
		for n := 0; ; n++ {
			f, err := os.Create(h.name(n))
			if err != nil {
				n--
			} else {
				for range 64 {
					for {
						if _, err = f.Write(piece); err == nil {
							break
						}
						select {
						case <-h.stop:
							f.Close()
							h.pieces = n
							return
						case <-time.After(100 * time.Microsecond):
						}
					}
				}
				f.Close()
			}
			select {
			case <-h.stop:
				h.pieces = n
				return
			default:
			}
		}
	}()
	return h
}

func (h *hog) name(n int) string { return filepath.Join(h.dir, fmt.Sprintf("hog-%06d", n)) }

// TestHogOnDisk: somebody takes every byte that comes free, for seconds. What is
// appended stays kept, no restart is tried in vain for ever, and when the hog
// ends all becomes durable (P3, P5, P9).
func TestHogOnDisk(t *testing.T) {
	cfg := testConfig(t)
	smallDisk(t, cfg.StateDir, "24m")
	told := listen(&cfg)
	e := openEngine(t, cfg)
	e.append(e.chain.Next(20)...)
	e.durable()
	h := startHog(cfg.StateDir)
	var before int
	freed := 0
	for until := time.Now().Add(4 * time.Second); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		e.append(e.chain.Next(2)...)
		if len(told.degraded) > 0 && before == 0 {
			before = runtime.NumGoroutine()
		}
		if before > 0 { // more than a restart asks for comes free, and is gone
			for range 6 {
				if os.Remove(h.name(freed)) == nil {
					freed++
				}
			}
		}
	}
	if n := runtime.NumGoroutine(); before == 0 || n > before+20 {
		t.Errorf("goroutines: %d when it degraded, then %d", before, n)
	} else {
		t.Logf("goroutines: %d when it degraded, then %d; %d pieces freed", before, n, freed)
	}
	close(h.stop)
	<-h.done
	for n := freed; n <= h.pieces; n++ {
		_ = os.Remove(h.name(n))
	}
	free := time.Now()
	e.durable()
	t.Logf("all durable %v after the hog", time.Since(free))
	hear(t, told.healed, "healed")
	e.close()
	if err := os.Remove(filepath.Join(cfg.RuntimeDir, "runlog")); err != nil {
		t.Fatal(err)
	}
	last := e.chain.Link
	e = openEngine(t, cfg)
	if e.rec.End != last {
		t.Errorf("JOURNAL ends at %d, want %d", e.rec.End.Seq, last.Seq)
	}
	e.close()
}

// TestBootOnFullDisk: after a reboot, and at the first start ever, an engine
// starts on a disk without a free byte, from what is in JOURNAL, and everything
// becomes durable once there is room (P5).
func TestBootOnFullDisk(t *testing.T) {
	for name, first := range map[string]bool{"first start": true, "reboot": false} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t)
			smallDisk(t, cfg.StateDir, "8m")
			e := openEngine(t, cfg)
			if !first {
				e.append(e.chain.Next(100)...)
				e.durable()
			}
			e.close()
			if first {
				if err := os.RemoveAll(filepath.Join(cfg.StateDir, "journal")); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Remove(filepath.Join(cfg.RuntimeDir, "runlog")); err != nil {
				t.Fatal(err)
			}
			ballast := filepath.Join(cfg.StateDir, "ballast")
			_ = os.WriteFile(ballast, make([]byte, 16<<20), 0o600)
			told := listen(&cfg)
			e = openEngine(t, cfg)
			if !first && len(e.read) != 100 {
				t.Errorf("%d records are read from a full disk, want 100", len(e.read))
			}
			for range 30 {
				e.append(e.chain.Next(20)...)
			}
			if first { // with something to discard from, a few may still fit
				t.Log(hear(t, told.degraded, "degraded"))
			}
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
			free := time.Now()
			e.durable()
			t.Logf("all durable %v after there was room", time.Since(free))
			e.close()
		})
	}
}
