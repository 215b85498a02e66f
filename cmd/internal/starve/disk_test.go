package starve_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// disk is a small file system of its own, to be filled or frozen.
type disk struct {
	t    testing.TB
	dir  string
	root *os.File // of an ext4, for freezing
	stop func()   // of the hog
	hog  *os.File
	took int64
}

// tmpfs mounts one of some megabytes.
func tmpfs(t testing.TB, dir, size string) *disk {
	t.Helper()
	d := &disk{t: t, dir: dir}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755,size="+size); err != nil {
		t.Skipf("NOT RUN: needs to mount a small tmpfs: %v", err)
	}
	t.Cleanup(d.unmount)
	return d
}

// ext4 mounts an image on a loop device, which goes when it is unmounted.
func ext4(t testing.TB, dir string, size int64) *disk {
	t.Helper()
	d := &disk{t: t, dir: dir}
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", "-m", "0", image).CombinedOutput(); err != nil {
		t.Skipf("NOT RUN: needs mkfs.ext4: %v %s", err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
		t.Skipf("NOT RUN: needs loop devices: %v %s", err, out)
	}
	t.Cleanup(d.unmount)
	_ = os.Remove(filepath.Join(dir, "lost+found"))
	var err error
	if d.root, err = os.Open(dir); err != nil {
		t.Fatal(err)
	}
	return d
}

// unmount comes before the rig's own cleanup, which removes the folders.
func (d *disk) unmount() {
	if d.stop != nil {
		d.stop()
	}
	if d.root != nil {
		d.thaw()
		d.root.Close()
	}
	if err := unix.Unmount(d.dir, unix.MNT_DETACH); err != nil {
		d.t.Error(err)
	}
}

const (
	fiFreeze = 0xc0045877
	fiThaw   = 0xc0045878
)

func (d *disk) freeze() {
	if err := unix.IoctlSetInt(int(d.root.Fd()), fiFreeze, 0); err != nil {
		d.t.Fatalf("cannot freeze: %v", err)
	}
}

func (d *disk) thaw() { _ = unix.IoctlSetInt(int(d.root.Fd()), fiThaw, 0) }

// fill lets a hog take every byte there is, and every byte that gets free
// until free is called.
func (d *disk) fill() {
	var err error
	if d.hog, err = os.OpenFile(filepath.Join(d.dir, "hog"), os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
		d.t.Fatal(err)
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	full := make(chan struct{})
	wg.Go(func() {
		told := false
		for block := make([]byte, 256<<10); ; {
			n, err := d.hog.WriteAt(block, d.took)
			if d.took += int64(n); err == nil && n == len(block) {
				continue
			}
			if len(block) > 4096 {
				block = block[:len(block)/2] // the last page too
				continue
			}
			if !told {
				close(full)
				told = true
			}
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	d.stop = func() { close(done); wg.Wait(); d.stop = nil }
	<-full
}

// crumb frees a little, for whoever is first.
func (d *disk) crumb() {
	_ = unix.Fallocate(int(d.hog.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 64<<10)
}

// free ends the hog and gives back what it took.
func (d *disk) free() {
	d.stop()
	d.hog.Close()
	if err := os.Remove(d.hog.Name()); err != nil {
		d.t.Error(err)
	}
}
