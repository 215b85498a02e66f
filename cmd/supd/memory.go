package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"reflect"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// How much memory, in bytes, the collector lets engine and logger take before it
// works harder. Both usually have a tenth of it; it is no hard limit, for an
// engine that needs more must not die of it.
const (
	engineMemory = 512 << 20
	loggerMemory = 128 << 20
)

// smallHeap is how much the heap of a process of supd may grow until it is
// collected, in percent: a small heap beats a fast collector here.
const smallHeap = 50

// limitMemory sets the limit unless the environment has set one (GOMEMLIMIT).
func limitMemory(bytes int64) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(bytes)
	}
}

// giveBack returns memory that is not needed at the moment to the system. It
// takes a few milliseconds and does not hold up other goroutines.
func giveBack() {
	debug.FreeOSMemory()
	debug.FreeOSMemory() // what the first one found in pools
	if maps, err := os.ReadFile("/proc/self/maps"); err == nil {
		for _, m := range program(maps, uint64(reflect.ValueOf(giveBack).Pointer())) {
			m.forget()
		}
	}
}

// mapping is a part of the address space.
type mapping struct{ from, to uint64 }

// program returns the mappings of the file that the code at an address comes
// from, as far as nothing of them can have been changed.
func program(maps []byte, code uint64) []mapping {
	type line struct {
		mapping
		perm, file string
	}
	var all []line
	file := ""
	for s := bufio.NewScanner(bytes.NewReader(maps)); s.Scan(); {
		var l line
		var offset, device, inode string
		if n, _ := fmt.Sscanf(s.Text(), "%x-%x %s %s %s %s", &l.from, &l.to, &l.perm, &offset, &device, &inode); n != 6 {
			continue
		}
		l.file = device + " " + inode
		if l.from <= code && code < l.to && inode != "0" {
			file = l.file
		}
		all = append(all, l)
	}
	var found []mapping
	for _, l := range all {
		if l.file == file && strings.HasPrefix(l.perm, "r") && l.perm[1] == '-' {
			found = append(found, l.mapping)
		}
	}
	return found
}

// forget takes the pages of a mapped file that cannot be changed out of this
// process's memory. Much of the program is used in starting and never again;
// what is used comes back from the page cache, 64 KiB at a time.
func (m mapping) forget() {
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(m.from), uintptr(m.to-m.from), unix.MADV_DONTNEED)
}
