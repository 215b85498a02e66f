package keeper

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// tag is the environment variable by which an instance's processes are known
// where there are no cgroups. A process can erase it; that is why it is not the
// only sign.
const tag = "SUPD_INSTANCE="

// snapshot is a look at all processes of the machine.
type snapshot struct {
	procs    map[int]stat
	children map[int][]int
	blind    bool // something could not be looked at for want of descriptors or memory
}

// look notes an error of a look at a process. That it is gone, or another user's,
// is what looking finds out; that we cannot look is no proof of anything (R4).
func (s *snapshot) look(err error) {
	for _, want := range []error{unix.EMFILE, unix.ENFILE, unix.ENOMEM} {
		s.blind = s.blind || errors.Is(err, want)
	}
}

// takeSnapshot lists until a listing shows nothing new and nobody vanished while
// it was read: a process that replaces itself by a child again and again would
// else be missed every other time.
func takeSnapshot() snapshot {
	s := snapshot{procs: map[int]stat{}, children: map[int][]int{}}
	seen := map[int]bool{}
	for range 16 {
		if !s.extend(seen) {
			break
		}
	}
	for pid, st := range s.procs {
		s.children[st.ppid] = append(s.children[st.ppid], pid)
	}
	return s
}

// extend adds the processes not seen before; false if there was none.
func (s *snapshot) extend(seen map[int]bool) bool {
	d, err := os.Open("/proc")
	if err != nil {
		s.look(err)
		return false
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	fresh := false
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || seen[pid] {
			continue
		}
		seen[pid], fresh = true, true
		st, err := readStat(pid)
		if s.look(err); err == nil {
			s.procs[pid] = st
		}
	}
	return fresh
}

// root identifies a tree without a cgroup.
type root struct {
	instance string
	leader          // the main process; 0 if not known
	first    leader // the one that was parked, if it is another
}

// leader is a main process, which leads the session that it was parked in.
type leader struct {
	PID   int    `json:"pid,omitempty"`
	Start uint64 `json:"start,omitempty"`
}

// tree lists the processes of r that live, the main process not among them: the
// members of its session and group, those with its tag, and all their
// descendants. The keeper and its own children do not count, whatever they show.
func (s snapshot) tree(r root, tags map[string][]int, own *children) []int {
	var queue []int
	seen := map[int]bool{os.Getpid(): true, 1: true, r.PID: true}
	add := func(pid int) {
		if !seen[pid] && !own.has(pid) {
			seen[pid] = true
			queue = append(queue, pid)
		}
	}
	for _, pid := range tags[r.instance] {
		add(pid)
	}
	for _, l := range []leader{r.leader, r.first} {
		// A number is not given to a new process while a group or session bears it. So
		// if another process has the leader's pid, nothing is left of its session.
		main, present := s.procs[l.PID]
		if l.PID <= 0 || present && main.start != l.Start {
			continue
		}
		if present {
			add(l.PID) // the first one, if it lives
			for _, pid := range s.children[l.PID] {
				add(pid)
			}
		}
		for pid, st := range s.procs {
			if st.start >= l.Start && (st.session == l.PID || st.group == l.PID) {
				add(pid)
			}
		}
	}
	for i := 0; i < len(queue); i++ {
		for _, pid := range s.children[queue[i]] {
			add(pid)
		}
	}
	// One that lived when seen counts though it may be dead by now: it may have left
	// a child that was not seen.
	live := queue[:0]
	for _, pid := range queue {
		if !s.procs[pid].zombie || alive(pid) {
			live = append(live, pid)
		}
	}
	return live
}

// alive is false for a zombie that only waits to be reaped. Its pidfd is the
// proof: state Z of a process with live threads is no death (R4).
func alive(pid int) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err != unix.ESRCH
	}
	defer unix.Close(fd)
	return !pidfdExited(fd)
}

// tags lists the processes that bear a tag, by instance.
func (s *snapshot) tags() map[string][]int {
	out := map[string][]int{}
	for pid := range s.procs {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if s.look(err); err != nil {
			continue // another user's, or gone
		}
		instance, task := "", ""
		for len(b) > 0 {
			var v []byte
			v, b, _ = bytes.Cut(b, []byte{0})
			if id, ok := bytes.CutPrefix(v, []byte(tag)); ok {
				instance = string(id)
			}
			if id, ok := bytes.CutPrefix(v, []byte(taskMark)); ok {
				task = string(id)
			}
		}
		if task != "" {
			instance = task // it runs beside the instance and ends without it
		}
		if instance != "" {
			out[instance] = append(out[instance], pid)
		}
	}
	return out
}

// signalChecked signals pid if it still is the process of the snapshot.
func (s snapshot) signalChecked(pid int, sig syscall.Signal) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	st, err := readStat(pid)
	if err != nil || st.start != s.procs[pid].start {
		return unix.ESRCH
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}
