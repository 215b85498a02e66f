package keeper

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// begin marks an operation in the slot before it acts, or has the stored result
// told again and returns nil: an id acts at most once (R4).
func (k *keeper) begin(s *slot, o wire.Operation) *operation {
	for _, known := range s.ops {
		if known.ID == o.ID {
			if known.Done {
				k.out.operation(s, known)
			}
			return nil
		}
	}
	if len(s.ops) >= maxOperations {
		s.ops = s.ops[1:]
	}
	op := &operation{Operation: o}
	s.ops = append(s.ops, op)
	return op
}

func (k *keeper) finish(s *slot, op *operation, began time.Time) {
	op.Done, op.Took = true, uint64(time.Since(began))
	k.out.operation(s, op)
}

// signal sends a signal to an instance.
func (k *keeper) signal(m *wire.Signal) {
	s := k.slots[m.Instance]
	if s == nil {
		s = k.add(newSlot("", m.Instance, wire.StateUnknown))
		s.mute, s.once = true, true
	}
	op := k.begin(s, wire.Operation{Instance: m.Instance, ID: m.Operation, Signal: m.Signal, Scope: m.Scope})
	if op == nil {
		return
	}
	began := time.Now()
	sig := syscall.Signal(m.Signal)
	switch {
	case s.PID == 0:
		op.Errno = unix.ESRCH
	case m.Scope == wire.ScopeTree && sig == unix.SIGKILL && s.Task == 0:
		k.tasksEnd(s.Instance, true)
		k.signalTree(s, op, sig)
		return
	case m.Scope == wire.ScopeMain:
		op.Method = wire.MethodPidfd
		op.result(s.PID, k.signalMain(s, sig))
	case m.Scope == wire.ScopeGroup:
		if err, ok := k.signalGroup(s, sig); ok {
			op.Method = wire.MethodGroup
			op.result(s.PID, err)
			if k.info.Features&wire.FeatureRoot == 0 {
				k.reportBeyond(s, sig)
			}
			break
		}
		fallthrough // the number is not ours any more: search for what is left
	default:
		k.signalTree(s, op, sig)
		return
	}
	k.finish(s, op, began)
}

func (o *operation) result(pid int, err error) {
	var r report
	r.add(named(pid), err)
	r.into(&o.Operation)
}

func (k *keeper) signalMain(s *slot, sig syscall.Signal) error {
	if s.pidfd >= 0 {
		return unix.PidfdSendSignal(s.pidfd, sig, nil, 0)
	}
	k.children.mu.Lock()
	defer k.children.mu.Unlock()
	if k.children.byPID[s.PID] == nil {
		return unix.ESRCH
	}
	return unix.Kill(s.PID, sig)
}

// pidfdProcessGroup makes pidfd_send_signal reach the group the process leads
// (Linux 6.9).
const pidfdProcessGroup = 1 << 2

// signalGroup signals the process group; false if that cannot be done without
// the risk of hitting a stranger.
func (k *keeper) signalGroup(s *slot, sig syscall.Signal) (error, bool) {
	if s.pidfd >= 0 {
		err := unix.PidfdSendSignal(s.pidfd, sig, nil, pidfdProcessGroup)
		if err == unix.ESRCH && s.mains > 0 && !pidfdExited(s.pidfd) {
			return nil, false // it leads no group of its own
		}
		if err != unix.EINVAL {
			return err, true
		}
	}
	return k.children.killGroup(s.PID, sig)
}

// signalTree hands the operation to a worker.
func (k *keeper) signalTree(s *slot, op *operation, sig syscall.Signal) {
	began := time.Now()
	g, r := s.cgroup(k.info.Features), s.root()
	main := s.dupPidfd()
	k.job(k.trees, func() {
		method, rep := signalTree(g, r, main, k.children, sig)
		closeAll(&main)
		k.poller.post(func() {
			op.Method = method
			rep.into(&op.Operation)
			k.finish(s, op, began)
		})
	})
}

// reportBeyond names the members of an instance's group that a signal of ours
// cannot have reached since they belong to another user: the kernel reports
// success as long as one member could be signalled.
func (k *keeper) reportBeyond(s *slot, sig syscall.Signal) {
	group, log := s.PID, k.log.With("service", s.Service, "instance", s.Instance)
	k.job(k.trees, func() {
		for _, p := range beyond(group) {
			log.Warn("a process of another user in the service's group was not signalled; it stays until it ends by itself or its user ends it",
				"signal", unix.SignalName(sig), "pid", p.PID, "command", p.Comm)
		}
	})
}

// beyond lists the members of a process group that this process may not signal.
func beyond(group int) (out []wire.Process) {
	for pid, st := range takeSnapshot().procs {
		if st.group == group && !st.zombie && unix.Kill(pid, 0) == unix.EPERM {
			out = append(out, wire.Process{PID: pid, Comm: st.comm})
		}
	}
	return out
}

// dupPidfd is for a worker: the slot's own may be closed before it gets there.
func (s *slot) dupPidfd() int {
	if s.pidfd < 0 {
		return -1
	}
	fd, err := unix.FcntlInt(uintptr(s.pidfd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return fd
}

// sweep ends what is left of a dead instance, known or not.
func (k *keeper) sweep(m *wire.Sweep) {
	s := k.slots[m.Instance]
	if s == nil {
		s = k.add(newSlot("", m.Instance, wire.StateUnknown))
		s.mute, s.once = true, true
		s.Cgroup = m.Cgroup
	}
	op := k.begin(s, wire.Operation{Instance: m.Instance, ID: m.Operation, Sweep: true})
	if op == nil {
		return
	}
	began := time.Now()
	switch {
	case s.live():
		op.Errno = unix.EBUSY
	case s.mute && s.Cgroup != "" && !instanceCgroup(s.Cgroup, s.Instance):
		op.Errno = unix.EINVAL
	default:
		k.tasksEnd(s.Instance, true)
		g, r := s.cgroup(k.info.Features), s.root()
		if s.mute && g.path != "" {
			g.features = cgroupFeatures(g.path)
		}
		main, log := s.dupPidfd(), k.log.With("service", s.Service, "instance", s.Instance)
		k.job(k.trees, func() {
			method, rep, survived := sweep(g, r, main, k.children)
			closeAll(&main)
			var left []wire.Process
			if survived > 0 {
				left = survivors(g, r, k.children)
				log.Error("processes of an ended instance survive KILL; the service is not started again before they end",
					"processes", described(left))
			}
			k.poller.post(func() {
				op.Method, op.Survived, op.Left = method, survived, left
				rep.into(&op.Operation)
				k.finish(s, op, began)
				if s.Leftovers && s.Cgroup != "" {
					k.checkEmpty(s) // also where its end could not be watched
				}
			})
		})
		return
	}
	k.finish(s, op, began)
}

// survivors names what is left of a tree.
func survivors(g cgroup, r root, own *children) (out []wire.Process) {
	pids := g.pids()
	if g.path == "" {
		s := takeSnapshot()
		pids = s.tree(r, s.tags(), own)
	}
	for _, pid := range pids[:min(len(pids), wire.MaxPIDs)] {
		out = append(out, named(pid))
	}
	return out
}

// described says of processes for people: pids, commands, states and users.
func described(processes []wire.Process) (out []string) {
	for _, p := range processes {
		state := ""
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID)); err == nil {
			_, state, _ = strings.Cut(string(b), "State:\t")
			state, _, _ = strings.Cut(state, "\n")
		}
		user, _ := userOf(p.PID)
		out = append(out, fmt.Sprintf("%d %s (%s, uid %d)", p.PID, p.Comm, state, user))
	}
	return out
}

// instanceCgroup tells whether path can be the own cgroup of an instance, of
// this keeper or an earlier one: whatever else it is must not be killed.
func instanceCgroup(path, instance string) bool {
	return filepath.IsAbs(path) && filepath.Clean(path) == path && filepath.Base(path) == instance &&
		strings.HasPrefix(filepath.Base(filepath.Dir(path)), "supd-") && (isCgroup(path) || isGone(path))
}

func isGone(path string) bool { return unix.Access(path, unix.F_OK) == unix.ENOENT }
