package keeper

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// cgroupFolder creates the folder of the instances' cgroups and returns its path
// and features, or why there can be none. root is where to make it; if empty,
// the keeper's own cgroup is tried, which is the part of the tree it was given,
// then the root of the mount.
func cgroupFolder(root, name string) (string, uint32, error) {
	roots := []string{root}
	if root == "" {
		mount, own, err := cgroupSelf()
		if err != nil {
			return "", 0, err
		}
		roots = slices.Compact([]string{filepath.Join(mount, own), mount})
	}
	var failed error
	for _, r := range roots {
		path := filepath.Join(r, name)
		err := makeCgroup(path)
		if err == nil {
			return path, cgroupFeatures(path), nil
		}
		if failed == nil {
			failed = err
		} else {
			failed = fmt.Errorf("%w; %w", failed, err) // people read it in one line
		}
	}
	return "", 0, failed
}

func makeCgroup(path string) error {
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if !isCgroup(path) {
		return fmt.Errorf("%s is not on a cgroup2 file system", path)
	}
	// Writable means: processes may be put there.
	return unix.Access(filepath.Join(path, "cgroup.procs"), unix.W_OK)
}

func isCgroup(path string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(path, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC
}

// cgroupFeatures looks at a cgroup that is not the root, where the files are.
func cgroupFeatures(path string) uint32 {
	features := wire.FeatureCgroup
	for file, bit := range map[string]uint32{
		"cgroup.kill": wire.FeatureCgroupKill, "cgroup.freeze": wire.FeatureCgroupFreeze,
	} {
		if unix.Access(filepath.Join(path, file), unix.W_OK) == nil {
			features |= bit
		}
	}
	return features
}

// cgroupSelf returns where cgroup2 is mounted and the keeper's own cgroup below it.
func cgroupSelf() (mount, own string, err error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", "", err
	}
	self, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", "", err
	}
	return parseCgroupSelf(string(mounts), string(self))
}

func parseCgroupSelf(mounts, self string) (mount, own string, err error) {
	var root string
	for line := range strings.Lines(mounts) {
		before, after, ok := strings.Cut(line, " - ")
		f := strings.Fields(before)
		if ok && len(f) >= 5 && strings.HasPrefix(after, "cgroup2 ") {
			root, mount = f[3], unescapeMount(f[4])
			break
		}
	}
	if mount == "" {
		return "", "", errors.New("cgroup2 is not mounted")
	}
	for line := range strings.Lines(self) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			own = path
		}
	}
	// A mount of a part of the tree shows only what is below its root.
	rel, err := filepath.Rel(root, own)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		rel = "."
	}
	return mount, rel, nil
}

// unescapeMount undoes the octal escapes of blanks in mountinfo.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// cgroup is one instance's own.
type cgroup struct {
	path     string
	features uint32
}

// populated tells whether any process lives in it or below; false if the cgroup
// does not exist. Where that cannot be seen, for want of descriptors or memory,
// somebody may (R4).
func (g cgroup) populated() bool {
	var b [256]byte
	n, err := readKernel(g.path+"/cgroup.events", b[:])
	if err != nil {
		return !isNoCgroup(err)
	}
	return bytes.Contains(b[:n], []byte("populated 1"))
}

// isNoCgroup tells that an error means that there is no such cgroup (any more).
func isNoCgroup(err error) bool {
	return err == unix.ENOENT || err == unix.ENODEV || err == unix.ENOTDIR
}

// pids lists the processes in it and below.
func (g cgroup) pids() []int {
	var out []int
	_ = filepath.WalkDir(g.path, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // gone meanwhile
		}
		b, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		for line := range bytes.Lines(b) {
			if pid, err := strconv.Atoi(string(bytes.TrimSpace(line))); err == nil && pid > 0 {
				out = append(out, pid)
			}
		}
		return nil
	})
	return out
}

// signal sends sig to every process, and to those forked meanwhile.
func (g cgroup) signal(sig syscall.Signal, r *report) {
	done := map[int]bool{}
	for range 4 {
		fresh := 0
		for _, pid := range g.pids() {
			if !done[pid] {
				done[pid] = true
				fresh++
				p := named(pid)
				r.add(p, g.signalOne(pid, sig))
			}
		}
		if fresh == 0 {
			return
		}
	}
}

// signalOne holds the process by a pidfd and then checks that it is a member, so
// that a reused pid is never signalled.
func (g cgroup) signalOne(pid int, sig syscall.Signal) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return unix.ESRCH
	}
	// The path is relative to a cgroup namespace we need not know; the instance id
	// in it is unique.
	if !bytes.Contains(b, []byte("/"+filepath.Base(g.path))) {
		return unix.ESRCH
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}

// kill sends SIGKILL to all: at once where the kernel can (5.14), else frozen so
// that none can fork (5.2), else one by one, again and again by its caller.
func (g cgroup) kill(r *report) wire.Method {
	if g.features&wire.FeatureCgroupKill != 0 {
		for _, pid := range g.pids() {
			r.add(named(pid), nil)
		}
		err := g.write("cgroup.kill", "1")
		if err == nil {
			return wire.MethodCgroupKill
		}
		*r = report{} // nobody was reached; the next rung of the ladder tells
	}
	if g.features&wire.FeatureCgroupFreeze != 0 && g.write("cgroup.freeze", "1") == nil {
		// Frozen processes cannot fork, and SIGKILL reaches them all the same.
		g.signal(unix.SIGKILL, r)
		_ = g.write("cgroup.freeze", "0")
		return wire.MethodFreezeKill
	}
	g.signal(unix.SIGKILL, r)
	return wire.MethodCgroupEach
}

// write writes a control file; unlike os.WriteFile it never creates one.
func (g cgroup) write(file, value string) error {
	fd, err := unix.Open(filepath.Join(g.path, file), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(value))
	return err
}

// events opens the file whose change EPOLLPRI tells.
func (g cgroup) events() (int, error) {
	return unix.Open(filepath.Join(g.path, "cgroup.events"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

// eventsPopulated reads an open events file, which also arms it anew.
func eventsPopulated(fd int) bool {
	var b [256]byte
	n, err := unix.Pread(fd, b[:], 0)
	// ENODEV: the cgroup was removed.
	return err == nil && bytes.Contains(b[:n], []byte("populated 1"))
}

// waitEmpty waits until no process is left, or for d; false if some are.
func (g cgroup) waitEmpty(d time.Duration) bool {
	fd, err := g.events()
	if err != nil {
		if isNoCgroup(err) {
			return true
		}
		time.Sleep(d)
		return !g.populated()
	}
	defer unix.Close(fd)
	for end := time.Now().Add(d); ; {
		if !eventsPopulated(fd) {
			return true
		}
		left := time.Until(end)
		if left <= 0 {
			return false
		}
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}}
		_, _ = unix.Poll(p, int(min(left, time.Second).Milliseconds())+1)
	}
}

// remove removes the cgroup and those below, as far as they are empty.
func (g cgroup) remove() {
	if err := unix.Rmdir(g.path); err == nil || err == unix.ENOENT {
		return
	}
	var dirs []string
	_ = filepath.WalkDir(g.path, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	for i := len(dirs) - 1; i >= 0; i-- {
		_ = unix.Rmdir(dirs[i])
	}
}
