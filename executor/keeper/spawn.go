package keeper

import (
	"fmt"
	"os"
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

// spawner forks stubs. Its methods may be called from any goroutine; more than
// two at a time only makes each slower.
type spawner struct {
	children *children
	reserve  *reserve
	image    string // path of the stub
	null     int
	// freeze is the cgroup.freeze file of the folder of cgroups, or -1. A fork into
	// a frozen cgroup would hang, and with it the whole process.
	freeze atomic.Int32
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
	// Named by the keeper's pid: the child renumbers its own descriptors first.
	s := &spawner{children: c, reserve: r, image: fdPath(os.Getpid(), fd), null: null}
	s.freeze.Store(-1)
	return s, nil
}

// fork starts one stub, or says why it could not.
func (s *spawner) fork(o order) (f wire.Failure) {
	pidfd, gate, status := -1, [2]int{-1, -1}, [2]int{-1, -1}
	defer func() {
		closeAll(&gate[0], &status[1])
		if f.Step != 0 {
			closeAll(&gate[1], &status[0], &pidfd)
		}
	}()
	if err := s.pipe(&gate, 0); err != nil {
		return failure(wire.StepPipe, err)
	}
	// The stub's one-byte words always fit, so its end may be non-blocking too.
	if err := s.pipe(&status, unix.O_NONBLOCK); err != nil {
		return failure(wire.StepPipe, err)
	}
	attr := s.attributes(o, gate[0], status[1], &pidfd)
	if o.cgroup == "" && o.limits != (Limits{}) {
		return failure(wire.StepCgroup, unix.EOPNOTSUPP)
	}
	if o.cgroup != "" {
		dir, err := s.enter(o.cgroup, o.limits)
		if err != nil {
			return failure(wire.StepCgroup, err)
		}
		defer unix.Close(dir)
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, dir
	}
	// Until the child is known to the reaper, it cannot be reaped: its pid is its
	// own, and what forked says comes before what dead says.
	s.children.forks.RLock()
	defer s.children.forks.RUnlock()
	pid, err := s.start(o, attr)
	if err != nil {
		return failure(wire.StepFork, err)
	}
	st, err := readStat(pid)
	if err == unix.EMFILE || err == unix.ENFILE {
		s.reserve.release()
		st, _ = readStat(pid) // a start that is not known cannot be adopted (P8)
		s.reserve.fill()
	}
	o.forked(process{pid: pid, start: st.start, pidfd: pidfd, gate: gate[1], status: status[0]})
	s.children.add(&child{pid: pid, dead: o.dead})
	return f
}

func (s *spawner) attributes(o order, gate, status int, pidfd *int) *syscall.ProcAttr {
	files := []uintptr{uintptr(s.null), uintptr(s.null), uintptr(s.null), uintptr(gate), uintptr(status), uintptr(o.launch)}
	for i, fd := range o.out {
		if fd >= 0 {
			files[1+i] = uintptr(fd)
		}
	}
	for _, fd := range o.pass {
		files = append(files, uintptr(fd))
	}
	return &syscall.ProcAttr{Files: files, Env: []string{}, Sys: &syscall.SysProcAttr{PidFD: pidfd}}
}

func (s *spawner) start(o order, attr *syscall.ProcAttr) (int, error) {
	argv := []string{"supd-stub", o.name}
	pid, err := syscall.ForkExec(s.image, argv, attr)
	if err == syscall.EMFILE || err == syscall.ENFILE {
		s.reserve.release()
		pid, err = syscall.ForkExec(s.image, argv, attr)
		s.reserve.fill()
	}
	return pid, err
}

// pipe makes a close-on-exec pipe with the flags given.
func (s *spawner) pipe(p *[2]int, flags int) error {
	err := unix.Pipe2(p[:], unix.O_CLOEXEC|flags)
	if err == unix.EMFILE || err == unix.ENFILE {
		s.reserve.release()
		err = unix.Pipe2(p[:], unix.O_CLOEXEC|flags)
		s.reserve.fill()
	}
	if err != nil {
		*p = [2]int{-1, -1}
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
