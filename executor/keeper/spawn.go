package keeper

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/stub"
	"supd/executor/keeper/wire"
)

// order is what the spawner needs to fork one stub. All descriptors stay the
// caller's, except those of a cgroup and the null device.
type order struct {
	name   string // shown by ps while the stub waits
	launch int    // memfd with the launch block
	out    [2]int // stdout and stderr; -1 is /dev/null
	pass   []int  // further descriptors, which the program finds from 3
	cgroup string // absolute path of an empty cgroup, or ""
	limits Limits // of the cgroup
	ready  bool   // the program is given a pipe on which it says that it is ready
	// forked is called on the spawner's goroutine when there is a process, dead by
	// the reaper when it, or what it became, has ended: always in this order.
	forked func(process)
	dead   func(syscall.WaitStatus, *syscall.Rusage)
}

// process is a stub that was forked. The descriptors are the receiver's.
type process struct {
	pid    int
	start  uint64
	pidfd  int // -1 on a kernel without
	gate   int // write end: one byte lets the program run
	status int // read end, non-blocking
}

// spawner has templates fork stubs. Its methods may be called from any goroutine; more than
// two at a time only makes each slower.
type spawner struct {
	children *children
	reserve  *reserve
	image    string // path of the stub
	null     int
	// freeze is the cgroup.freeze file of the folder of cgroups, or -1. A fork into
	// a frozen cgroup would hang, and with it the whole process.
	freeze atomic.Int32

	mu         sync.Mutex
	idle       []*template      // guarded by mu
	precedence []unix.SchedAttr // of new templates: the first that is permitted; guarded by mu
}

func newSpawner(c *children, r *reserve) (*spawner, error) {
	fd, err := sealedMemory("supd-stub", []byte(stub.Binary), unix.MFD_EXEC)
	if err != nil { // MFD_EXEC is unknown before Linux 6.3
		fd, err = sealedMemory("supd-stub", []byte(stub.Binary), 0)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot hold the stub (is vm.memfd_noexec above 1?): %w", err)
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open /dev/null: %w", err)
	}
	// Named by the keeper's pid: a template renumbers its own descriptors first.
	s := &spawner{children: c, reserve: r, image: fdPath(os.Getpid(), fd), null: null}
	s.freeze.Store(-1)
	return s, nil
}

// pipe makes a close-on-exec pipe with the flags given.
func (s *spawner) pipe(p *[2]int, flags int) error {
	err := s.spare(func() error { return unix.Pipe2(p[:], unix.O_CLOEXEC|flags) })
	if err != nil {
		*p = [2]int{-1, -1}
	}
	return err
}

// spare opens something, with the descriptors in reserve if there are no others.
func (s *spawner) spare(open func() error) error {
	err := open()
	if err == unix.EMFILE || err == unix.ENFILE {
		s.reserve.release()
		err = open()
		s.reserve.fill()
	}
	return err
}

// enter creates a cgroup with its limits and opens it for a fork.
func (s *spawner) enter(path string, l Limits) (int, error) {
	if fd := s.freeze.Load(); fd >= 0 {
		var b [1]byte
		if n, err := unix.Pread(int(fd), b[:], 0); err == nil && n == 1 && b[0] != '0' {
			return -1, unix.EBUSY
		}
	}
	if err := unix.Mkdir(path, 0o755); err != nil && err != unix.EEXIST {
		return -1, err
	}
	if err := (cgroup{path: path}).limit(l); err != nil {
		_ = unix.Rmdir(path)
		return -1, err
	}
	return unix.Open(path, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

func failure(step wire.Step, err error) wire.Failure {
	e, ok := err.(syscall.Errno)
	if !ok {
		e = syscall.EIO
	}
	return wire.Failure{Step: step, Errno: e}
}
