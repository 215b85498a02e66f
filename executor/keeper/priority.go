package keeper

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// What the keeper asks for itself, its engine and its logger.
const (
	urgentNice = -10  // where real-time is not permitted
	keeperOOM  = -900 // oom_score_adj: not immune, but nearly last
	helperOOM  = -500
)

// urgent has the calling goroutine run on a thread of its own that goes before
// those of services: a machine full of busy ones must not delay the reaping and
// restarting of the others. It returns the feature that was obtained, 0 if none
// is permitted. What is forked from the thread is normal again, other threads
// of ours too, and so are services.
func urgent() uint32 {
	runtime.LockOSThread()
	for i, attr := range precedence(unix.SCHED_FLAG_RESET_ON_FORK) {
		if unix.SchedSetAttr(0, &attr, 0) == nil {
			return []uint32{wire.FeatureRealTime, wire.FeatureNice}[i]
		}
	}
	return 0
}

// urgentStubs is urgent for the processes that fork stubs: stubs go before others
// too, until they are at their gates (stub.c). Stubs forked into a scheduling
// group of their own must not: a kernel that gives real-time shares to groups
// (CONFIG_RT_GROUP_SCHED) would never let them run, nor the fork return.
func urgentStubs(folder string) []unix.SchedAttr {
	if slices.Contains(available(filepath.Join(folder, "cgroup.controllers")), "cpu") {
		return precedence(unix.SCHED_FLAG_RESET_ON_FORK)
	}
	return precedence(0)
}

// precedence is real-time with the flags given, and what is tried if that is not
// permitted.
func precedence(flags uint64) []unix.SchedAttr {
	return []unix.SchedAttr{
		{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Flags: flags, Priority: 1},
		{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL, Flags: unix.SCHED_FLAG_RESET_ON_FORK, Nice: urgentNice},
	}
}

// ownNice is the nice value that Prefer found, as setpriority(2) takes it.
var ownNice atomic.Pointer[int]

// Prefer lets this process, an engine, go before busy services, where that is
// permitted: their restarts wait for its decisions. Threads that are there get a
// better nice value, and those that come have it from them. It is no real-time
// process, for it also has the journal's long work.
func Prefer() {
	nice, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		return
	}
	nice = 20 - nice // the system call returns it so, to keep it from being negative
	if nice <= urgentNice {
		return
	}
	for range 2 { // who started while the first round went
		tasks, _ := os.ReadDir("/proc/self/task")
		for _, t := range tasks {
			id, _ := strconv.Atoi(t.Name())
			if unix.Setpriority(unix.PRIO_PROCESS, id, urgentNice) == nil {
				ownNice.Store(&nice)
			}
		}
	}
}

// plainly calls f on a thread as it was before Prefer: what f starts is no
// engine.
func plainly(f func()) {
	if nice := ownNice.Load(); nice != nil {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if unix.Setpriority(unix.PRIO_PROCESS, 0, *nice) == nil {
			defer func() { _ = unix.Setpriority(unix.PRIO_PROCESS, 0, urgentNice) }()
		}
	}
	f()
}

// protect lowers the chance that the kernel kills the keeper when memory runs
// out, where that is permitted and it was not lower before. It returns what
// engine and logger get; services always get their own.
func protect() int {
	const file = "/proc/self/oom_score_adj"
	read := func() int {
		b, _ := os.ReadFile(file)
		n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		return n
	}
	if read() > keeperOOM {
		if fd, err := unix.Open(file, unix.O_WRONLY|unix.O_CLOEXEC, 0); err == nil {
			_, _ = unix.Write(fd, []byte(strconv.Itoa(keeperOOM))) // needs CAP_SYS_RESOURCE
			unix.Close(fd)
		}
	}
	return max(read(), helperOOM)
}
