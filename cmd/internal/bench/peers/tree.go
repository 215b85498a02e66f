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
func descendants() []int {
	parents := map[int]int{}
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
		if len(fields) > 2 && fields[0] != "Z" {
			parents[pid], _ = strconv.Atoi(fields[1])
		}
	}
	var found []int
	for pid := range parents {
		for p := pid; p > 1; p = parents[p] {
			if p == os.Getpid() && pid != p {
				found = append(found, pid)
				break
			}
		}
	}
	return found
}

// endAll kills everything the bench has started, by pid, until nothing is left:
// the supervisors first, for they would start their services again.
func endAll() error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		left := descendants()
		reap()
		if len(left) == 0 {
			return nil
		}
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

// cpu is the CPU time used so far by all processes of the peer, which the
// kernel counts in ticks of 10 ms.
func cpu() (used time.Duration) {
	for _, pid := range descendants() {
		if isBeacon(pid) {
			continue
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		for _, f := range fields[11:13] {
			n, _ := strconv.ParseInt(f, 10, 64)
			used += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return used
}

// now is CLOCK_BOOTTIME in nanoseconds, the beacons' clock.
func now() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // cannot fail with a valid clock and pointer
	return ts.Nano()
}
