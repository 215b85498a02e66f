package rig

import (
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// pins is the folder in the runtime folder that leads to the pinned pidfds.
const pins = "pidfds"

// Pins tells whether supd can pin pidfds here, so that exit codes are known even
// when all of it is dead.
func (r *Rig) Pins() bool {
	r.t.Helper()
	var info struct {
		Kernel map[string]string `json:"kernel"`
	}
	r.Supctl("info", "-o", "json").OK().JSON(&info)
	if info.Kernel["pidfd_pinned"] == "" {
		r.t.Fatalf("info does not say whether pidfds are pinned: %v", info)
	}
	return info.Kernel["pidfd_pinned"] == "yes"
}

// Pinned lists the instances whose pidfds are pinned now, supd alive or dead;
// nil where that cannot be.
func (r *Rig) Pinned() map[string]bool {
	done := make(chan map[string]bool)
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		ns, err := unix.Open(filepath.Join(r.Runtime, pins, "ns"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return
		}
		defer unix.Close(ns)
		if unix.Unshare(unix.CLONE_FS) != nil || unix.Setns(ns, unix.CLONE_NEWNS) != nil {
			return
		}
		there := map[string]bool{}
		entries, _ := os.ReadDir("/")
		for _, e := range entries {
			there[e.Name()] = true
		}
		done <- there
	}()
	return <-done
}
