package keeper

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestUnseenIsNotEmpty: a cgroup that is not there is empty. One that cannot be
// looked at is not: what may live in it must not be forgotten (P1, R4).
func TestUnseenIsNotEmpty(t *testing.T) {
	dir := t.TempDir()
	none := cgroup{path: filepath.Join(dir, "none")}
	if none.populated() || !none.waitEmpty(time.Millisecond) {
		t.Error("a cgroup that does not exist is populated")
	}
	loop := filepath.Join(dir, "loop")
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	unseen := cgroup{path: loop}
	if !unseen.populated() || unseen.waitEmpty(time.Millisecond) {
		t.Error("a cgroup that cannot be looked at is empty")
	}
}

// TestBlindSearch: a search that cannot look for want of descriptors finds nothing,
// and knows that this proves nothing.
func TestBlindSearch(t *testing.T) {
	var s snapshot
	for _, err := range []error{nil, unix.ENOENT, unix.ESRCH, unix.EACCES, &os.PathError{Err: unix.EACCES}} {
		if s.look(err); s.blind {
			t.Fatalf("blind for %v", err)
		}
	}
	for _, err := range []error{unix.EMFILE, unix.ENFILE, unix.ENOMEM, &os.PathError{Err: unix.EMFILE}} {
		var s snapshot
		if s.look(err); !s.blind {
			t.Errorf("not blind for %v", err)
		}
	}
}
