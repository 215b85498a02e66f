package keeper

import (
	"encoding/binary"
	"fmt"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// template is a stub that forks itself: what it forks is the keeper's child, with
// the template's few descriptors and its one page of memory instead of the keeper's.
// It ends when its socket is closed, by whatever death.
type template struct {
	pid    int
	pidfd  int // -1 on a kernel without
	socket int
	ended  chan struct{} // closed when it is reaped
}

// A request, as stub.c reads it.
const (
	withStdout     = 1 << 0
	withStderr     = 1 << 1
	withCgroup     = 1 << 2
	templateName   = 64 // bytes for the name that ps shows, the last of them zero
	templateRights = 32 // descriptors at most
)

// templateLimit is how long a template may take to answer. It takes about 0.1 ms;
// one that somebody has halted is killed, and another one made.
const templateLimit = time.Second

// template returns one that nobody uses, a new one if there is none.
func (s *spawner) template() (*template, error) {
	if t := s.unused(); t != nil {
		return t, nil
	}
	return s.newTemplate()
}

func (s *spawner) unused() *template {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := len(s.idle); n > 0; n-- {
		t := s.idle[n-1]
		s.idle = s.idle[:n-1]
		select {
		case <-t.ended: // killed by somebody
			t.end()
		default:
			return t
		}
	}
	return nil
}

// leave gives a template back.
func (s *spawner) leave(t *template) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle = append(s.idle, t)
}

// retire ends the templates, and waits until they have. Those that come have the
// precedence given.
func (s *spawner) retire(precedence []unix.SchedAttr) {
	s.mu.Lock()
	idle := s.idle
	s.idle, s.precedence = nil, precedence
	s.mu.Unlock()
	for _, t := range idle {
		t.end()
		<-t.ended
	}
}

// newTemplate is called without mu: who forks holds children.forks when it gives its
// template back, and the reaper may stand in line for it in between.
func (s *spawner) newTemplate() (*template, error) {
	var pair [2]int
	err := s.spare(func() (err error) {
		pair, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	defer unix.Close(pair[1])
	t := &template{pidfd: -1, socket: pair[0], ended: make(chan struct{})}
	limit := unix.NsecToTimeval(int64(templateLimit))
	if err := unix.SetsockoptTimeval(t.socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		closeAll(&t.socket)
		return nil, err
	}
	null := uintptr(s.null)
	attr := &syscall.ProcAttr{
		Files: []uintptr{null, null, null, uintptr(pair[1])}, Env: []string{}, Sys: &syscall.SysProcAttr{PidFD: &t.pidfd},
	}
	argv := []string{"supd-stub", "template" + strings.Repeat(" ", templateName-1-len("template"))}
	s.children.forks.RLock()
	defer s.children.forks.RUnlock()
	err = s.spare(func() (err error) {
		t.pid, err = syscall.ForkExec(s.image, argv, attr)
		return err
	})
	if err != nil {
		closeAll(&t.socket, &t.pidfd)
		return nil, err
	}
	s.children.add(&child{pid: t.pid, dead: func(syscall.WaitStatus, *syscall.Rusage) { close(t.ended) }})
	s.mu.Lock()
	precedence := s.precedence
	s.mu.Unlock()
	for _, attr := range precedence { // a copy: the call writes to it
		if unix.SchedSetAttr(t.pid, &attr, 0) == nil {
			break
		}
	}
	return t, nil
}

// end has the template exit; a fork that it is busy with is answered to nobody,
// and what it forks finds its gate closed.
func (t *template) end() {
	if t.pidfd >= 0 {
		_ = unix.PidfdSendSignal(t.pidfd, unix.SIGKILL, nil, 0)
	}
	closeAll(&t.socket, &t.pidfd)
}

// fork has the template fork a stub with these descriptors, and returns its pid.
// An error that is no errno of the fork itself means that the template is lost.
func (t *template) fork(name string, flags, passed int, fds []int) (int, error) {
	if len(fds) > templateRights {
		return 0, unix.EINVAL
	}
	var b [12 + templateName]byte
	binary.NativeEndian.PutUint32(b[0:], uint32(flags))
	binary.NativeEndian.PutUint32(b[4:], uint32(passed))
	binary.NativeEndian.PutUint32(b[8:], uint32(len(fds)))
	copy(b[12:12+templateName-1], name)
	if err := unix.Sendmsg(t.socket, b[:], unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL); err != nil {
		return 0, templateLost{err}
	}
	for {
		n, err := unix.Read(t.socket, b[:4])
		switch {
		case err == unix.EINTR:
			continue
		case err == nil && n == 4:
			pid := int(int32(binary.NativeEndian.Uint32(b[:4])))
			if pid < 0 {
				return 0, syscall.Errno(-pid)
			}
			return pid, nil
		case err == nil:
			err = unix.EPIPE
		}
		return 0, templateLost{err}
	}
}

// templateLost tells that a template is of no use any more.
type templateLost struct{ err error }

func (e templateLost) Error() string { return fmt.Sprintf("the stubs' template is lost: %v", e.err) }

// fork starts one stub, or says why it could not.
func (s *spawner) fork(o order) (f wire.Failure) {
	gate, status := [2]int{-1, -1}, [2]int{-1, -1}
	defer func() {
		closeAll(&gate[0], &status[1])
		if f.Step != 0 {
			closeAll(&gate[1], &status[0])
		}
	}()
	if err := s.pipe(&gate, 0); err != nil {
		return failure(wire.StepPipe, err)
	}
	// The stub's one-byte words always fit, so its end may be non-blocking too.
	if err := s.pipe(&status, unix.O_NONBLOCK); err != nil {
		return failure(wire.StepPipe, err)
	}
	if o.cgroup == "" && o.limits != (Limits{}) {
		return failure(wire.StepCgroup, unix.EOPNOTSUPP)
	}
	flags, fds := 0, make([]int, 0, 8)
	fds = append(append(append(fds, status[1], o.launch), o.pass...), gate[0])
	for i, fd := range o.out {
		if fd >= 0 {
			fds, flags = append(fds, fd), flags|withStdout<<i
		}
	}
	if o.cgroup != "" {
		dir, err := s.enter(o.cgroup, o.limits)
		if err != nil {
			return failure(wire.StepCgroup, err)
		}
		defer unix.Close(dir)
		fds, flags = append(fds, dir), flags|withCgroup
	}
	t, err := s.template()
	if err != nil {
		return failure(wire.StepFork, err)
	}
	// Until the child is known to the reaper, it cannot be reaped: its pid is its
	// own, and what forked says comes before what dead says.
	s.children.forks.RLock()
	defer s.children.forks.RUnlock()
	pid, err := t.fork(o.name, flags, len(o.pass), fds)
	if _, lost := err.(templateLost); lost {
		t.end()
		return failure(wire.StepFork, unix.EAGAIN)
	}
	s.leave(t)
	if err != nil {
		return failure(wire.StepFork, err)
	}
	pidfd := -1
	_ = s.spare(func() (err error) {
		pidfd, err = unix.PidfdOpen(pid, 0)
		return err
	})
	var st stat
	_ = s.spare(func() (err error) { // a start that is not known cannot be adopted (P8)
		st, err = readStat(pid)
		return err
	})
	o.forked(process{pid: pid, start: st.start, pidfd: pidfd, gate: gate[1], status: status[0]})
	s.children.add(&child{pid: pid, dead: o.dead})
	return f
}
