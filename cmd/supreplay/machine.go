package main

import (
	"bufio"
	"bytes"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// machine is what of a machine explains how services behave on it; nothing of
// its environment, its users or its network.
type machine struct {
	Kernel  string `json:"kernel"`
	System  string `json:"system"` // as os-release calls it
	Arch    string `json:"arch"`
	Cores   int    `json:"cores"`
	Memory  int64  `json:"memory"`  // bytes
	Boot    string `json:"boot"`    // boot id: equal to that of records, it is the same machine
	Cgroups string `json:"cgroups"` // what is at /sys/fs/cgroup
}

func thisMachine() machine {
	m := machine{Arch: runtime.GOARCH, Cores: runtime.NumCPU()}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	for line := range strings.Lines(small("/etc/os-release")) {
		if v, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
			m.System = strings.Trim(strings.TrimSpace(v), `"`)
		}
	}
	for lines := bufio.NewScanner(strings.NewReader(small("/proc/meminfo"))); lines.Scan(); {
		var kib int64
		if _, err := fmt.Sscanf(lines.Text(), "MemTotal: %d kB", &kib); err == nil {
			m.Memory = kib << 10
		}
	}
	m.Boot = strings.TrimSpace(small("/proc/sys/kernel/random/boot_id"))
	var fs unix.Statfs_t
	if unix.Statfs("/sys/fs/cgroup", &fs) == nil {
		if m.Cgroups = "version 1 or mixed"; fs.Type == unix.CGROUP2_SUPER_MAGIC {
			m.Cgroups = "version 2"
		}
	}
	return m
}

// small reads a file of the system; what cannot be read is empty.
func small(path string) string {
	b, err := readUpTo(path, 64<<10)
	if err != nil {
		return ""
	}
	return string(bytes.ToValidUTF8(b, []byte("?")))
}
