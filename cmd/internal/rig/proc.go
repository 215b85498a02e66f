package rig

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Process is one process as /proc shows it. PID and Start together name it.
type Process struct {
	PID, Parent int
	Start       uint64 // clock ticks since boot
	State       byte   // Z is dead and not yet reaped
	Comm        string
}

// ReadProcess returns a process; false if there is none of this pid.
func ReadProcess(pid int) (Process, bool) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return Process{}, false
	}
	// The name is in parentheses and may contain anything, these too.
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return Process{}, false
	}
	w := strings.Fields(string(b[end+1:]))
	if len(w) < 20 {
		return Process{}, false
	}
	p := Process{PID: pid, State: w[0][0], Comm: string(b[open+1 : end])}
	p.Parent, _ = strconv.Atoi(w[1])
	p.Start, _ = strconv.ParseUint(w[19], 10, 64)
	return p, true
}

// Live tells whether the very same process still runs.
func (p Process) Live() bool {
	now, ok := ReadProcess(p.PID)
	return ok && now.Start == p.Start && now.State != 'Z' && now.State != 'X'
}

// Args is its command line; empty if it is gone or a zombie.
func (p Process) Args() []string {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.PID), "cmdline"))
	if err != nil || len(b) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
}

// Getenv is a variable of its environment as it was executed.
func (p Process) Getenv(name string) string {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.PID), "environ"))
	if err != nil {
		return ""
	}
	for _, v := range strings.Split(string(b), "\x00") {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// Processes lists all processes of the machine.
func Processes() []Process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var all []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, ok := ReadProcess(pid); ok {
			all = append(all, p)
		}
	}
	return all
}

// orphans are the names of what loses its parent when one of supd's processes
// is killed. Other children of the test are os/exec's to wait for.
var orphans = []string{"actor", "supd-stub", "supd-engine", "supd-logger"}

// ReapActors makes the test the reaper of processes whose keeper died, for the
// time of the test. The exit status of a process that is not supd's child can
// be known only when it has been reaped, and some machines' init takes seconds.
// A test that does this cannot run beside others: all their orphans would come.
func ReapActors(t testing.TB) {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			for _, p := range children() {
				if p.State == 'Z' && slices.Contains(orphans, p.Comm) {
					_, _ = unix.Wait4(p.PID, nil, unix.WNOHANG, nil)
				}
			}
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	t.Cleanup(func() {
		close(done)
		wg.Wait()
		_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	})
}

// children are the processes whose parent is the test, dead ones too. Most
// kernels list them; to look through /proc costs much more.
func children() (all []Process) {
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, list := range lists {
		b, _ := os.ReadFile(list) // a thread may have ended
		for _, word := range strings.Fields(string(b)) {
			pid, _ := strconv.Atoi(word)
			if p, ok := ReadProcess(pid); ok {
				all = append(all, p)
			}
		}
	}
	if len(lists) == 0 {
		me := os.Getpid()
		all = slices.DeleteFunc(Processes(), func(p Process) bool { return p.Parent != me })
	}
	return all
}
