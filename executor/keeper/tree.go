package keeper

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// sweepLimit bounds the wait for a killed tree to be gone.
const sweepLimit = 10 * time.Second

// report gathers what an operation did.
type report struct {
	count     int
	processes []wire.Process
	errno     syscall.Errno
}

// add notes one process signalled, or why it could not be. A process that is
// gone already is no failure.
func (r *report) add(p wire.Process, err error) {
	if err == unix.ESRCH {
		return
	}
	r.fail(err)
	if err != nil {
		return
	}
	r.count++
	if len(r.processes) < wire.MaxPIDs {
		r.processes = append(r.processes, p)
	}
}

// named names a process while it is there.
func named(pid int) wire.Process {
	st, _ := readStat(pid)
	return wire.Process{PID: pid, Comm: st.comm}
}

func (r *report) fail(err error) {
	if e, ok := err.(syscall.Errno); ok && r.errno == 0 {
		r.errno = e
	}
}

// into fills the result of an operation in.
func (r *report) into(o *wire.Operation) {
	o.Count, o.Processes, o.Errno = r.count, r.processes, r.errno
	if r.count == 0 && r.errno == 0 && !o.Sweep {
		o.Errno = unix.ESRCH
	}
}

// signalTree sends sig to every process of an instance. It runs in a worker.
func signalTree(g cgroup, r root, main int, own *children, sig syscall.Signal) (wire.Method, report) {
	var rep report
	if g.path != "" {
		if sig == unix.SIGKILL {
			return g.kill(&rep), rep
		}
		g.signal(sig, &rep)
		return wire.MethodCgroupEach, rep
	}
	if main >= 0 && !pidfdExited(main) {
		rep.add(named(r.PID), unix.PidfdSendSignal(main, sig, nil, 0))
	}
	s := takeSnapshot()
	for _, pid := range s.tree(r, s.tags(), own) {
		rep.add(wire.Process{PID: pid, Comm: s.procs[pid].comm}, s.signalChecked(pid, sig))
	}
	return wire.MethodScan, rep
}

// sweep ends what is left of a dead instance's tree. It runs in a worker, which
// it occupies for sweepLimit at most, plus what a system call takes.
func sweep(g cgroup, r root, main int, own *children) (method wire.Method, rep report, survived int) {
	if g.path == "" {
		return sweepScan(r, main, own)
	}
	if g.populated() {
		method = g.kill(&rep)
		for end := time.Now().Add(sweepLimit); !g.waitEmpty(50 * time.Millisecond); {
			if time.Now().After(end) {
				return method, rep, max(1, len(g.pids()))
			}
			if method != wire.MethodCgroupKill { // a fork may have escaped
				var again report
				g.kill(&again)
			}
		}
	}
	g.remove()
	return method, rep, 0
}

// quiet is how many searches in a row must find nothing before a tree without a
// cgroup counts as ended.
const quiet = 3

// sweepScan kills without a cgroup: search and kill until searches find nothing.
// No fork escapes the group's signal; the search is for those that left the
// group. Stopping the processes first was tried and is worse.
func sweepScan(r root, main int, own *children) (method wire.Method, rep report, survived int) {
	counted := map[int]bool{}
	pause, empty, grouped := time.Millisecond, 0, 0
	for end := time.Now().Add(sweepLimit); ; time.Sleep(pause) {
		s := takeSnapshot()
		left := s.tree(r, s.tags(), own)
		switch {
		case len(left) > 0:
			empty, method = 0, wire.MethodScan
		case s.blind:
			empty = 0
		default:
			empty++
		}
		if empty == quiet {
			rep.count = max(rep.count, grouped)
			return method, rep, 0
		}
		if empty == 0 && time.Now().After(end) {
			return method, rep, max(1, len(left))
		}
		for _, pid := range left {
			err := s.signalChecked(pid, unix.SIGKILL)
			if !counted[pid] {
				counted[pid] = true
				rep.add(wire.Process{PID: pid, Comm: s.procs[pid].comm}, err)
			}
		}
		if main >= 0 {
			if unix.PidfdSendSignal(main, unix.SIGKILL, nil, pidfdProcessGroup) == nil {
				grouped = 1 // at least, if they changed too fast to be named
			}
		}
		pause = min(2*pause, 50*time.Millisecond)
	}
}
