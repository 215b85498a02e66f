package journal_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Requests of ioctl(2) on a mounted file system, from linux/fs.h.
const (
	fiFreeze = 0xC0045877
	fiThaw   = 0xC0045878
)

// frozenDisk mounts a file system of its own on dir and returns what freezes
// and thaws it: every write to it hangs in between.
func frozenDisk(t *testing.T, dir string) (freeze, thaw func()) {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 128<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", image).CombinedOutput(); err != nil {
		t.Skipf("NOT RUN: needs mkfs.ext4: %v %s", err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
		t.Skipf("NOT RUN: needs root and loop devices: %v %s", err, out)
	}
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	control := func(request uint) func() {
		return func() {
			if err := unix.IoctlSetInt(int(root.Fd()), request, 0); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(func() {
		_ = unix.IoctlSetInt(int(root.Fd()), fiThaw, 0) // in case the test ended early
		root.Close()
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
	return control(fiFreeze), control(fiThaw)
}

// TestFrozenDisk: while the disk hangs, records are kept at the usual speed,
// the number of goroutines and threads stays, and an engine starts from
// the run log. After the thaw everything becomes durable, once (P5, R2, R6).
// SUPD_FREEZE is how long it hangs; scripts/frozen takes 30 s.
func TestFrozenDisk(t *testing.T) {
	cfg := testConfig(t)
	cfg.RunLogSize = 32 << 20 // holds what a minute appends
	freeze, thaw := frozenDisk(t, cfg.StateDir)
	told := listen(&cfg)
	e := openEngine(t, cfg)
	e.append(e.chain.Next(20)...)
	e.durable()
	freeze()
	var slowest time.Duration
	idle := 0
	frozen := 4 * time.Second
	if text := os.Getenv("SUPD_FREEZE"); text != "" {
		var err error
		if frozen, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	for until := time.Now().Add(frozen); idle == 0 || time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		batch := e.chain.Next(3)
		began := time.Now()
		e.append(batch...)
		slowest = max(slowest, time.Since(began))
		if idle == 0 && len(told.degraded) > 0 {
			idle = runtime.NumGoroutine()
		}
	}
	t.Log("degraded:", hear(t, told.degraded, "degraded"))
	if n := runtime.NumGoroutine(); n > idle+4 {
		t.Errorf("goroutines grow while the disk hangs: %d, then %d", idle, n)
	}
	if slowest > frozen/2 { // who waits for the disk waits longer than a busy machine makes anybody wait
		t.Errorf("an append took %v while the disk hung", slowest)
	}
	thaw()
	thawed := time.Now()
	e.durable()
	t.Logf("durable again after %v, slowest append %v, healed: %s", time.Since(thawed), slowest, hear(t, told.healed, "healed"))
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

// TestStartsOnFrozenDisk: an engine of the same boot starts, keeps and ends
// while the disk hangs; what it kept is durable after the thaw.
func TestStartsOnFrozenDisk(t *testing.T) {
	cfg := testConfig(t)
	freeze, thaw := frozenDisk(t, cfg.StateDir)
	e := openEngine(t, cfg)
	e.append(e.chain.Next(20)...)
	e.durable()
	e.close()
	freeze()
	began := time.Now()
	e = openEngine(t, cfg)
	e.append(e.chain.Next(5)...)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("start took %v on a disk that hangs", took)
	}
	thaw()
	e.durable()
	e.close()
}
