package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// descendants are all living processes below this one. The bench is a
// subreaper, so that what a peer puts into the background stays below it.
// A process whose first thread has ended looks like a zombie while the others
// still run: it leads to its children and is only not counted when it is alone.
func descendants() []int {
	parents, dead := map[int]int{}, map[int]bool{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) < 18 {
			continue
		}
		parents[pid], _ = strconv.Atoi(fields[1])
		dead[pid] = fields[0] == "Z" && fields[17] <= "1" // num_threads
	}
	var found []int
	for pid := range parents {
		for p := pid; p > 1; p = parents[p] {
			if p == os.Getpid() && pid != p && !dead[pid] {
				found = append(found, pid)
				break
			}
		}
	}
	return found
}

// endAll kills everything the bench has started, by pid, until nothing is left:
// the supervisors first, for they would start their services again. Twice in a
// row nothing has to be there: a process that is born while /proc is read is
// missed by one look.
func endAll() error {
	clean := 0
	for deadline := time.Now().Add(endBound); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		left := descendants()
		reap()
		if len(left) == 0 {
			if clean++; clean == 2 {
				return nil
			}
			continue
		}
		clean = 0
		for _, pid := range left {
			if !isBeacon(pid) {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
		for _, pid := range descendants() {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
	return fmt.Errorf("%d processes do not end", len(descendants()))
}

// endBound is how long what was killed may take to be gone.
const endBound = 30 * time.Second

func reap() {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if err != nil || pid <= 0 {
			return
		}
	}
}

func isBeacon(pid int) bool {
	exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return filepath.Base(exe) == "beacon"
}

// memory is the proportional set size of all processes of the peer, in MiB:
// everything below the bench but the services.
func memory() (mib float64) {
	for _, pid := range descendants() {
		if isBeacon(pid) {
			continue
		}
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		for line := range strings.Lines(string(text)) {
			var kib float64
			if _, err := fmt.Sscanf(line, "Pss: %f kB", &kib); err == nil {
				mib += kib / 1024
			}
		}
	}
	return mib
}

// cpu is the time on a processor so far of each thread of the peer, in
// nanoseconds, by its number.
func cpu() map[string]time.Duration {
	used := map[string]time.Duration{}
	for _, pid := range descendants() {
		if isBeacon(pid) {
			continue
		}
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		for _, t := range threads {
			text, _ := os.ReadFile(t)
			first, _, _ := strings.Cut(string(text), " ")
			n, _ := strconv.ParseInt(first, 10, 64)
			used[t] = time.Duration(n)
		}
	}
	return used
}

// since is what was used after before; a thread that has ended meanwhile is not
// in it.
func since(before map[string]time.Duration) (used time.Duration) {
	for t, n := range cpu() {
		used += n - before[t]
	}
	return used
}

// now is CLOCK_BOOTTIME in nanoseconds, the beacons' clock.
func now() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // cannot fail with a valid clock and pointer
	return ts.Nano()
}
