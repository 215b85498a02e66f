package probe

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// sender is who the kernel says has sent a datagram. It may have ended since,
// as a program like systemd-notify has; its pidfd is proof against a number
// that was given to somebody else meanwhile.
type sender struct {
	pid   int
	uid   uint32
	pidfd int // -1 on a kernel without SCM_PIDFD (before 6.5)
}

// maxAncestors bounds the search upwards from a sender to a main process.
const maxAncestors = 64

// tag is the variable that names the instance in the environment of a service's
// processes.
const tag = "SUPD_INSTANCE="

// belongs finds the watch of the instance that a sender is a process of; nil for
// a stranger. A cgroup is proof. Without one it is the main process or one of
// its descendants, or one that bears the tag. A sender that has ended, and whose
// cgroup the kernel does not tell any more, is a stranger unless it is the main
// process itself: uid alone would let one service speak for another.
func (p *Prober) belongs(s sender) *watch {
	if s.pid <= 0 {
		return nil // of another pid namespace
	}
	if s.pidfd >= 0 {
		if id, ok := cgroupOf(s.pidfd); ok {
			if w := p.byCgroup(id); w != nil {
				return w
			}
		}
	}
	found := p.byProc(s.pid)
	if s.pidfd >= 0 && unix.PidfdSendSignal(s.pidfd, 0, nil, 0) == unix.ESRCH {
		found = nil // what was read may be another process's
	}
	if found != nil {
		return found
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.byInstance {
		if w.PID == s.pid && s.pidfd < 0 {
			return w
		}
		if w.Cgroup == "" && s.pidfd >= 0 && p.cfg.IsMain != nil && p.cfg.IsMain(w.Instance, s.pidfd) {
			return w // it went into the background, and said who serves now
		}
	}
	return nil
}

// cgroupOf asks the kernel for the cgroup of a process, alive or dead: its id is
// the inode number of the cgroup's folder (Linux 6.13; of the dead 6.15).
func cgroupOf(pidfd int) (uint64, bool) {
	const wantCgroup, wantExit = 1 << 2, 1 << 3 // PIDFD_INFO_CGROUPID, PIDFD_INFO_EXIT
	info := unix.PidfdInfo{Mask: wantCgroup | wantExit}
	if err := unix.IoctlPidfdInfo(pidfd, &info); err != nil || info.Mask&wantCgroup == 0 {
		return 0, false
	}
	return info.Cgroupid, true
}

// byCgroup finds the instance whose own cgroup has the id.
func (p *Prober) byCgroup(id uint64) *watch {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.byInstance {
		if w.Cgroup == "" {
			continue
		}
		if w.cgroupID == 0 {
			var st unix.Stat_t
			if unix.Stat(w.Cgroup, &st) == nil {
				w.cgroupID = st.Ino
			}
		}
		if w.cgroupID == id {
			return w
		}
	}
	return nil
}

// byProc looks where a process stands now: in an instance's cgroup or below, or
// beneath its main process, or marked with its tag.
func (p *Prober) byProc(pid int) *watch {
	dir := "/proc/" + strconv.Itoa(pid)
	if b, err := os.ReadFile(dir + "/cgroup"); err == nil {
		if w := p.byPath(string(b)); w != nil {
			return w
		}
	}
	for up, n := pid, 0; up > 1 && n < maxAncestors; n++ {
		parent, start, ok := parentOf(up)
		if !ok {
			break
		}
		if w := p.byMain(up, start); w != nil {
			return w
		}
		up = parent
	}
	b, err := os.ReadFile(dir + "/environ")
	if err != nil {
		return nil
	}
	for v := range bytes.SplitSeq(b, []byte{0}) {
		if id, ok := bytes.CutPrefix(v, []byte(tag)); ok {
			return p.uncontained(string(id))
		}
	}
	return nil
}

// byPath finds an instance by the lines of /proc/PID/cgroup.
func (p *Prober) byPath(lines string) *watch {
	for line := range strings.Lines(lines) {
		path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::")
		if !ok {
			continue
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		// Relative to a cgroup namespace that we need not know; the id is unique.
		for part := range strings.SplitSeq(path, "/") {
			if w := p.byInstance[part]; w != nil && filepath.Base(w.Cgroup) == part {
				return w
			}
		}
	}
	return nil
}

// byMain finds the instance whose main process it is. One with a cgroup is not
// found so: who left the cgroup has left the service.
func (p *Prober) byMain(pid int, start uint64) *watch {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.byInstance {
		if w.PID == pid && w.StartTime == start && w.Cgroup == "" {
			return w
		}
	}
	return nil
}

// uncontained finds an instance that has no cgroup; the tag of one that has
// proves nothing.
func (p *Prober) uncontained(instance string) *watch {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.byInstance[instance]; w != nil && w.Cgroup == "" {
		return w
	}
	return nil
}

// parentOf reads the parent and the start time of a process.
func parentOf(pid int) (parent int, start uint64, ok bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0, false
	}
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 20 {
		return 0, 0, false
	}
	parent, err = strconv.Atoi(string(f[1]))
	if err != nil {
		return 0, 0, false
	}
	start, err = strconv.ParseUint(string(f[19]), 10, 64)
	return parent, start, err == nil
}

// readSender takes sender and descriptors out of control data. The descriptors
// belong to the caller.
func readSender(oob []byte) (s sender, fds []int) {
	s.pidfd = -1
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return s, nil
	}
	for i := range messages {
		m := &messages[i]
		if m.Header.Level != unix.SOL_SOCKET {
			continue
		}
		switch m.Header.Type {
		case unix.SCM_CREDENTIALS:
			if c, err := syscall.ParseUnixCredentials(m); err == nil {
				s.pid, s.uid = int(c.Pid), c.Uid
			}
		case unix.SCM_PIDFD:
			if len(m.Data) >= 4 {
				s.pidfd = int(int32(nativeUint32(m.Data)))
			}
		case unix.SCM_RIGHTS:
			if got, err := syscall.ParseUnixRights(m); err == nil {
				fds = append(fds, got...)
			}
		}
	}
	return s, fds
}
