package keeper

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// follow takes another process for the main one of an instance, or says in the
// slot why not. All that it reads is the kernel's memory.
func (k *keeper) follow(s *slot, m *wire.Follow) {
	s.Named, s.Refused = m.PID, wire.RefusalNone
	if m.PID != s.PID || s.ExitedAt != 0 {
		var pidfd int
		var start uint64
		if pidfd, start, s.Refused = k.candidate(s, m); s.Refused == wire.RefusalNone {
			k.log.Info("another process is the main one of a service now: it said so",
				"service", s.Service, "instance", s.Instance, "pid", m.PID, "before", s.PID)
			k.replaceMain(s, leader{m.PID, start}, pidfd)
		}
	}
	k.changed(s)
}

// candidate holds the process named by a pidfd, if it may become the main one.
func (k *keeper) candidate(s *slot, m *wire.Follow) (pidfd int, start uint64, why wire.Refusal) {
	switch {
	case s.Task != wire.TaskNone || !s.followable():
		return -1, 0, wire.RefusalEnded
	case m.PID < 2 || m.PID == os.Getpid() || k.children.has(m.PID) || k.isMain(m.PID):
		return -1, 0, wire.RefusalMain
	}
	pidfd, err := unix.PidfdOpen(m.PID, 0)
	if err != nil {
		return -1, 0, wire.RefusalGone
	}
	start, why = s.judge(m)
	if why == wire.RefusalNone && pidfdExited(pidfd) {
		why = wire.RefusalGone // what was read may be another process's
	}
	if why != wire.RefusalNone {
		closeAll(&pidfd)
	}
	return pidfd, start, why
}

// followable tells that the instance runs, or that the engine has not decided yet
// on the exit of its main process.
func (s *slot) followable() bool {
	switch s.State {
	case wire.StateOpen:
		return true
	case wire.StateExited:
		for _, op := range s.ops {
			if op.Sweep {
				return false
			}
		}
		return s.Leftovers && !s.TreeEmpty && !s.Forgotten
	}
	return false
}

// isMain tells that an instance has the process for its main one.
func (k *keeper) isMain(pid int) bool {
	for _, s := range k.slots {
		if s.PID == pid && s.live() && s.ExitedAt == 0 {
			return true
		}
	}
	return false
}

// judge reads about the process named what it may be followed for.
func (s *slot) judge(m *wire.Follow) (start uint64, why wire.Refusal) {
	st, err := readStat(m.PID)
	if err != nil {
		return 0, wire.RefusalGone
	}
	if !s.contains(st) {
		return 0, wire.RefusalStranger
	}
	if !s.ranks(m) {
		return 0, wire.RefusalRank
	}
	if user, ok := userOf(m.PID); !ok || m.Sender != 0 && user != m.Sender {
		return 0, wire.RefusalUser
	}
	return st.start, wire.RefusalNone
}

// contains tells that a process is one of the instance's, by its cgroup; where
// there is none, by its descent, its session or its tag.
func (s *slot) contains(st stat) bool {
	if s.Cgroup != "" {
		return inCgroup(st.pid, s.Cgroup)
	}
	if marked(st.pid, taskMark) {
		return false // a hook or a probe: it runs beside the instance
	}
	for up, n := st, 0; up.ppid > 1 && n < maxAncestors; n++ {
		parent, err := readStat(up.ppid)
		if err != nil {
			break
		}
		if parent.pid == s.PID && parent.start == s.StartTime {
			return true
		}
		up = parent
	}
	return st.session == s.PID && st.start >= s.StartTime || marked(st.pid, tag+s.Instance+"\x00")
}

// maxAncestors bounds the search upwards to a main process.
const maxAncestors = 64

// inCgroup tells that a process is in the cgroup or below it. The path in /proc is
// relative to a cgroup namespace we need not know; its end is the keeper's own.
func inCgroup(pid int, cgroup string) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return false
	}
	end := "/" + filepath.Base(filepath.Dir(cgroup)) + "/" + filepath.Base(cgroup) + "/"
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return strings.Contains(path+"/", end)
		}
	}
	return false
}

// marked tells that the environment of a process has a variable that begins so.
func marked(pid int, variable string) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return err == nil && bytes.Contains(append([]byte{0}, b...), []byte("\x00"+variable))
}

// ranks tells that who named the process may speak for the main one.
func (s *slot) ranks(m *wire.Follow) bool {
	if m.Sender == 0 || m.Sender == m.User {
		return true
	}
	user, ok := userOf(s.PID)
	return ok && s.ExitedAt == 0 && user == m.Sender
}

// userOf returns the real user id of a process. Who owns its folder says less: of
// one that may not be dumped that is root.
func userOf(pid int) (uint32, bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, false
	}
	_, after, ok := bytes.Cut(b, []byte("\nUid:"))
	if !ok {
		return 0, false
	}
	f := bytes.Fields(after[:min(len(after), 64)])
	if len(f) == 0 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(f[0]), 10, 32)
	return uint32(n), err == nil
}

// replaceMain makes the process that pidfd holds the main one. The one before it
// is one of the tree from now on, and its end nobody's exit.
func (k *keeper) replaceMain(s *slot, l leader, pidfd int) {
	before := leader{s.PID, s.StartTime}
	if s.mains++; s.first.PID == 0 {
		s.first = before
	}
	k.children.disown(before)
	k.children.release(s.PID, s.pidfd)
	k.poller.drop(&s.pidfd)
	if s.ExitedAt != 0 {
		k.revive(s)
	}
	s.PID, s.StartTime, s.pidfd, s.given[0] = l.PID, l.Start, pidfd, false
	k.watchForeign(s)
}

// revive takes an exit back on which nothing was decided yet.
func (k *keeper) revive(s *slot) {
	s.State, s.Exit, s.ExitedAt, s.OOM, s.Leftovers = wire.StateOpen, wire.Exit{}, 0, false, false
	k.poller.drop(&s.events)
	k.scanner.forget(s)
}

// held corrects an inherited slot whose engine was given the pidfd of another main
// process, and was not told more before their keeper died.
func (s *slot) held() {
	info := unix.PidfdInfo{}
	if s.pidfd < 0 || unix.IoctlPidfdInfo(s.pidfd, &info) != nil || int(info.Pid) == s.PID {
		return
	}
	if st, err := readStat(int(info.Pid)); err == nil && !pidfdExited(s.pidfd) {
		s.first = leader{s.PID, s.StartTime}
		s.PID, s.StartTime = st.pid, st.start
		s.mains++
	}
}
