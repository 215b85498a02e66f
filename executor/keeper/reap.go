package keeper

import (
	"runtime"
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
}

// child is one of them. Its pid cannot be reused while it is in byPID.
type child struct {
	pid  int
	dead func(syscall.WaitStatus, *syscall.Rusage) // called once, by the reaper
}

func newChildren() *children {
	c := &children{byPID: map[int]*child{}}
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
	runtime.LockOSThread()
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
		// si_pid: in the 64-bit siginfo_t of waitid it follows three words and padding.
		return int(*(*int32)(unsafe.Add(unsafe.Pointer(&info), 16))), err
	}
}

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
	got, err := syscall.Wait4(pid, &status, syscall.WNOHANG, &usage)
	k := c.byPID[pid]
	if got == pid {
		delete(c.byPID, pid)
	}
	c.mu.Unlock()
	if err == nil && got == pid && k != nil {
		k.dead(status, &usage)
	}
}
