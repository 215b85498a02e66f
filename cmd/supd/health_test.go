package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What info says of the journal: the worst that is known, at once.
func TestHealth(t *testing.T) {
	dir := t.TempDir()
	h := &health{}
	for _, step := range []struct {
		what     string
		do       func()
		degraded bool
		kept     int
		want     string
	}{
		{"at first", func() {}, false, 3, "opening"},
		{"the first record is durable", h.open, false, 0, "ok"},
		{"some are on their way", func() {}, false, 2, "ok"},
		{"they did not wait for the disk", func() {}, true, 2, "degraded: 2 records are kept and not durable yet"},
		{"it was a hiccup", func() {}, true, 0, "ok"},
		{"the publisher fails", func() { h.say("degraded: no space") }, true, 2, "degraded: no space"},
		{"one of them went through", h.open, true, 1, "degraded: no space"},
		{"none waits, and it is not over", func() {}, true, 0, "degraded: no space"},
		{"healed", func() { h.say("") }, false, 0, "ok"},
		{"forked", func() { h.say("off: another hash") }, false, 0, "off: another hash"},
	} {
		step.do()
		if got := h.text(step.degraded, step.kept, dir); got != step.want {
			t.Errorf("%s: %q, want %q", step.what, got, step.want)
		}
	}
}

// A full disk is told although nothing was written to it since.
func TestHealthFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("NOT RUN: needs to mount a small tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	h := &health{}
	h.open()
	if got := h.text(false, 0, dir); got != "ok" {
		t.Errorf("empty: %q", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "hog"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := h.text(false, 0, dir); !strings.HasPrefix(got, "degraded: the disk of "+dir+" is full") {
		t.Errorf("full: %q", got)
	}
	if err := os.Remove(filepath.Join(dir, "hog")); err != nil {
		t.Fatal(err)
	}
	if got := h.text(false, 0, dir); got != "ok" {
		t.Errorf("free again: %q", got)
	}
}

// Whoever waits for the journal at the end hears that it is in vain, whether it
// is known before or comes to light then.
func TestWhenSick(t *testing.T) {
	for name, steps := range map[string][]string{"before": {"no space", "", "no space"}, "later": {"", "no space", "no space"}} {
		var h health
		told := 0
		h.say(steps[0])
		stop := h.whenSick(func() { told++ })
		for _, s := range steps[1:] {
			h.say(s)
		}
		stop()
		h.say("again")
		if told != 1 {
			t.Errorf("%s: told %d times", name, told)
		}
	}
}
