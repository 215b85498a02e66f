package keeper

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// Limits are set in an instance's own cgroup; see wire.
type Limits = wire.Limits

// CPUPeriod is the period of a quota, in microseconds: Limits.CPU is what may be
// used of one core in it.
const CPUPeriod = 100000

// controllers are those that limits need, and the feature that tells of each.
var controllers = []struct {
	name    string
	feature uint32
}{{"memory", wire.FeatureMemory}, {"cpu", wire.FeatureCPU}, {"pids", wire.FeaturePIDs}}

// Controllers lists the cgroup controllers (cpu, memory, pids) that limits of
// services can use when a keeper is started in this process's place, sorted;
// root is the CgroupRoot of its Config. It changes nothing. Why there are none
// is the error.
func Controllers(root string) ([]string, error) {
	if root == "none" {
		return nil, fmt.Errorf("cgroups are switched off")
	}
	roots := []string{root}
	if root == "" {
		mount, own, err := cgroupSelf()
		if err != nil {
			return nil, err
		}
		roots = []string{filepath.Join(mount, own), mount}
	}
	for _, r := range roots {
		if unix.Access(r, unix.W_OK) != nil || unix.Access(filepath.Join(r, "cgroup.subtree_control"), unix.W_OK) != nil {
			continue
		}
		have := available(filepath.Join(r, "cgroup.controllers"))
		if len(have) == 0 {
			return nil, fmt.Errorf("%s has none of the controllers cpu, memory, pids; they may belong to cgroup v1 on this machine", r)
		}
		return have, nil
	}
	return nil, fmt.Errorf("no cgroup is writable: let the service manager delegate one (systemd: Delegate=yes)")
}

// available reads which of our controllers a file of controllers names, sorted.
func available(file string) []string {
	b, _ := os.ReadFile(file)
	var have []string
	for _, c := range controllers {
		if slices.Contains(strings.Fields(string(b)), c.name) {
			have = append(have, c.name)
		}
	}
	slices.Sort(have)
	return have
}

// enableControllers passes on to the folder of the instances' cgroups what its
// parent has, and returns what limits can use. A cgroup that has processes of its
// own cannot pass anything on, unless it is the root: supd then moves itself into
// one below it, which it may do only with a cgroup that is its own.
func enableControllers(folder string) (features uint32) {
	parent := filepath.Dir(folder)
	for _, name := range available(filepath.Join(parent, "cgroup.controllers")) {
		err := pass(parent, name)
		if err == unix.EBUSY && moveBelow(parent, folder+".self") {
			err = pass(parent, name)
		}
		if err == nil {
			_ = pass(folder, name)
		}
	}
	for _, c := range controllers {
		if slices.Contains(available(filepath.Join(folder, "cgroup.subtree_control")), c.name) {
			features |= c.feature
		}
	}
	return features
}

// pass lets the cgroups below one use a controller.
func pass(path, controller string) error {
	return cgroup{path: path}.write("cgroup.subtree_control", "+"+controller)
}

// moveBelow moves this process out of a cgroup in which nobody else is.
func moveBelow(from, to string) bool {
	b, err := os.ReadFile(filepath.Join(from, "cgroup.procs"))
	if err != nil || string(bytes.TrimSpace(b)) != strconv.Itoa(os.Getpid()) {
		return false
	}
	if err := unix.Mkdir(to, 0o755); err != nil && err != unix.EEXIST {
		return false
	}
	return cgroup{path: to}.write("cgroup.procs", strconv.Itoa(os.Getpid())) == nil
}

// limit writes the limits of a cgroup that nobody is in yet.
func (g cgroup) limit(l Limits) error {
	set := func(file string, n uint64, text string) error {
		if n == 0 {
			return nil
		}
		return g.write(file, text)
	}
	err := set("memory.max", l.Memory, strconv.FormatUint(l.Memory, 10))
	if err == nil {
		err = set("cpu.max", l.CPU, fmt.Sprintf("%d %d", l.CPU, CPUPeriod))
	}
	if err == nil {
		err = set("pids.max", l.PIDs, strconv.FormatUint(l.PIDs, 10))
	}
	if err == unix.ENOENT {
		err = unix.EOPNOTSUPP // no such controller
	}
	return err
}

// oom tells whether the kernel killed a process of the cgroup for want of memory.
func (g cgroup) oom() bool {
	b, _ := os.ReadFile(filepath.Join(g.path, "memory.events"))
	for line := range strings.Lines(string(b)) {
		if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
			return strings.TrimSpace(n) != "0"
		}
	}
	return false
}
