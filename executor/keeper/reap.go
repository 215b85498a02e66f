package keeper

import (
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// children are the processes forked by the keeper and not reaped yet. Others
// that end up as its children (orphans, for it is a subreaper) are reaped
// without a word.
type children struct {
	// reaping is held from a death until it is posted: who holds it and then reads
	// the mailbox knows of every death that was reaped.
	reaping sync.Mutex

	// forks is read-locked from before a fork until its pid is in byPID and its
	// birth is posted. The reaper locks it before it takes an unknown pid for an
	// orphan's: a stub may die before the fork that made it has returned.
	forks sync.RWMutex

	mu    sync.Mutex
	born  *sync.Cond     // a child was added
	byPID map[int]*child // guarded by mu
	// adopted are main processes that were not forked by us, and may become our
	// children: what a service names as its main process (Follow) often does.
	adopted map[int]adopted // guarded by mu
}

// child is one of them. Its pid cannot be reused while it is in byPID.
type child struct {
	pid  int
	dead func(syscall.WaitStatus, *syscall.Rusage) // called once, by the reaper
}

// adopted is one of them. Its pidfd is the slot's: release comes before its close.
type adopted struct {
	pidfd int
	dead  func(syscall.WaitStatus, *syscall.Rusage)
}

func newChildren() *children {
	c := &children{byPID: map[int]*child{}, adopted: map[int]adopted{}}
	c.born = sync.NewCond(&c.mu)
	return c
}

// add is called with forks read-locked.
func (c *children) add(k *child) {
	c.mu.Lock()
	c.byPID[k.pid] = k
	c.born.Signal()
	c.mu.Unlock()
}

// disown has a child reaped like an orphan from now on, if it is still that process.
func (c *children) disown(l leader) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if st, err := readStat(l.PID); c.byPID[l.PID] != nil && err == nil && st.start == l.Start {
		delete(c.byPID, l.PID)
	}
}

// adopt has dead called if the process of a pidfd becomes a child and is reaped.
func (c *children) adopt(pid, pidfd int, dead func(syscall.WaitStatus, *syscall.Rusage)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.adopted[pid] = adopted{pidfd, dead}
}

// release ends what adopt began.
func (c *children) release(pid, pidfd int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a, ok := c.adopted[pid]; ok && a.pidfd == pidfd {
		delete(c.adopted, pid)
	}
}

// claim finds who wants to know of the death of a zombie that is a child of ours.
// The caller holds mu.
func (c *children) claim(pid int) func(syscall.WaitStatus, *syscall.Rusage) {
	if k := c.byPID[pid]; k != nil {
		return k.dead
	}
	a, ok := c.adopted[pid]
	if !ok {
		return nil
	}
	// The number may be another process's by now: its own parent may have reaped it.
	var info unix.Siginfo
	if unix.Waitid(unix.P_PIDFD, a.pidfd, &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil) != nil || pidOf(&info) != pid {
		return nil
	}
	return a.dead
}

// posted waits until the last death that was reaped is posted.
func (c *children) posted() {
	c.reaping.Lock()
	defer c.reaping.Unlock()
}

func (c *children) has(pid int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byPID[pid] != nil
}

// killGroup signals the process group of an unreaped child; false if it was
// reaped already and its number may be anybody's (R4).
func (c *children) killGroup(pid int, sig syscall.Signal) (error, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byPID[pid] == nil {
		return nil, false
	}
	return unix.Kill(-pid, sig), true
}

// reap runs for the keeper's life on a thread of its own. It must always be able
// to run: orphans that are not reaped fill the process table, and then the
// runtime dies for want of a thread.
func (c *children) reap() {
	urgent()
	for {
		pid, err := peek()
		switch {
		case err == unix.ECHILD:
			// No child, so no descendant either that could become one.
			c.mu.Lock()
			for len(c.byPID) == 0 {
				c.born.Wait()
			}
			c.mu.Unlock()
		case err == nil:
			c.collect(pid)
		}
	}
}

// peek waits for a dead child and leaves it a zombie.
func peek() (int, error) {
	var info unix.Siginfo
	for {
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if err == unix.EINTR {
			continue
		}
		return pidOf(&info), err
	}
}

// pidOf is si_pid: in the 64-bit siginfo_t of waitid it follows three words and padding.
func pidOf(info *unix.Siginfo) int { return int(*(*int32)(unsafe.Add(unsafe.Pointer(info), 16))) }

func (c *children) collect(pid int) {
	c.reaping.Lock()
	defer c.reaping.Unlock()
	if !c.has(pid) {
		c.forks.Lock()
		defer c.forks.Unlock()
	}
	var status syscall.WaitStatus
	var usage syscall.Rusage
	c.mu.Lock()
	dead := c.claim(pid)
	got, err := syscall.Wait4(pid, &status, syscall.WNOHANG, &usage)
	if got == pid {
		delete(c.byPID, pid)
		delete(c.adopted, pid)
	}
	c.mu.Unlock()
	if err == nil && got == pid && dead != nil {
		dead(status, &usage)
	}
}
