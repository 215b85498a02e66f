package keeper

import (
	"encoding/binary"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// slot is an instance. The embedded part is what the engine is told.
type slot struct {
	wire.Slot
	ops []*operation // oldest first, at most maxOperations

	gate   int // write end while the gate is closed, else -1
	status int // read end while the stub may still speak, else -1
	pidfd  int
	events int // watched cgroup.events while leftovers live, else -1
	pipes  [2]pipe
	merged bool
	data   []byte // output settings
	limits Limits
	ready  int // read end of the pipe for the newline that means ready, else -1
	words  int // read end of a probe's output, else -1

	given     [3]bool // the present engine holds pidfd, stdout, stderr
	executing bool    // the stub said it was about to execute
	dropping  bool    // Drop was asked for
	foreign   bool    // not forked by us: its pidfd tells of its death
	mains     int     // main processes it has had before this one
	first     leader  // the first of them, if it has had others
	doubt     bool    // see estateSlot
	// mute keeps the slot itself from being told: only its operations are an answer.
	mute bool
	// once lets the slot go when it has been told.
	once  bool
	dirty bool // in the outbox
	gone  bool // no longer in the table
}

// operation is one act and whether its result is still to be told.
type operation struct {
	wire.Operation
	dirty bool
}

// pipe is one output's read end, which the logger has a copy of.
type pipe struct {
	fd       int // -1 if there is none, or it is drained
	queued   bool
	attached bool // the present logger has it
}

func newSlot(service, instance string, state wire.State) *slot {
	return &slot{
		Slot: wire.Slot{Service: service, Instance: instance, State: state},
		gate: -1, status: -1, pidfd: -1, events: -1, ready: -1, words: -1, pipes: [2]pipe{{fd: -1}, {fd: -1}},
	}
}

// live tells whether a process of the slot may live, its stub included.
func (s *slot) live() bool {
	switch s.State {
	case wire.StateParking, wire.StateParked, wire.StateOpening, wire.StateOpen, wire.StateExecFailed:
		return true
	}
	return false
}

func (s *slot) cgroup(features uint32) cgroup { return cgroup{s.Cgroup, features} }

// closePipes gives up the output of a stub that never ran anything.
func (s *slot) closePipes() {
	closeAll(&s.pipes[0].fd, &s.pipes[1].fd)
	s.StdoutPiped, s.StderrPiped = false, false
}

func (s *slot) root() root { return root{s.Instance, leader{s.PID, s.StartTime}, s.first} }

// add puts a slot into the table.
func (k *keeper) add(s *slot) *slot {
	k.slots[s.Instance] = s
	k.services.add(s.Service, s.Instance, s)
	return s
}

// reply tells about an instance without a slot, through one that lives until then.
func (k *keeper) reply(service, instance string, state wire.State) *slot {
	s := k.add(newSlot(service, instance, state))
	s.once = true
	k.changed(s)
	return s
}

// changed has the slot told to the engine.
func (k *keeper) changed(s *slot) { k.out.slot(s) }

// statusReady reads what the stub says.
func (k *keeper) statusReady(s *slot) {
	var b [16]byte
	for s.status >= 0 {
		n, err := unix.Read(s.status, b[:])
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return
		case n <= 0:
			k.poller.drop(&s.status)
			// The end of file after 'X', without 'E': the program runs.
			if s.State == wire.StateOpening && s.Failure.Step == 0 && s.executing {
				s.State, s.Execed = wire.StateOpen, true
				k.pinSlot(s)
				k.changed(s)
			}
			return
		}
		k.hear(s, b[:n])
	}
}

// hear takes words of the stub: each is written whole, and pipes keep them in order.
func (k *keeper) hear(s *slot, b []byte) {
	for len(b) > 0 {
		switch {
		case b[0] == 'R' && s.State == wire.StateParking:
			s.State, s.ParkedAt = wire.StateParked, bootTime()
			k.changed(s)
			if s.dropping {
				k.drop(s)
			} else if s.Task != 0 {
				k.open(s)
			}
		case b[0] == 'X':
			s.executing = true
		case b[0] == 'E' && len(b) >= 10:
			s.Failure = parseFailure(b)
			if s.State == wire.StateOpening {
				s.State = wire.StateExecFailed
				k.changed(s)
			}
			return
		}
		b = b[1:]
	}
}

// exited takes the proof of the main process's death.
func (k *keeper) exited(s *slot, e wire.Exit) {
	k.statusReady(s) // its last words came before its end
	k.poller.drop(&s.status)
	closeAll(&s.gate)
	if s.State == wire.StateOpening && s.Failure.Step == 0 && s.executing {
		s.Execed = true // the pipe's end may be hidden by a fork under way
	}
	s.Exit, s.ExitedAt = e, bootTime()
	// Of one that was adopted nobody told this keeper whether it has a limit.
	s.OOM = (s.limits.Memory != 0 || s.foreign && s.Cgroup != "") && s.cgroup(0).oom()
	if s.ready >= 0 {
		k.readyHeard(s) // its last word came before its end
	}
	k.poller.drop(&s.ready)
	k.tasksEnd(s.Instance, false)
	switch {
	case s.dropping && s.OpenedAt == 0:
		s.State, s.once = wire.StateDropped, true
		k.ended(s)
	case s.ParkedAt == 0 && s.Adoption == 0:
		s.State = wire.StateParkFailed
		if s.Failure.Step == 0 {
			s.Failure.Step = wire.StepLost
		}
		k.ended(s)
	case s.Cgroup != "":
		k.exitedTree(s, s.cgroup(k.info.Features).populated())
	default:
		k.scanner.exits = append(k.scanner.exits, s)
		k.scan()
	}
}

// ended finishes a slot in which nothing of the user's ran.
func (k *keeper) ended(s *slot) {
	s.closePipes()
	k.poller.drop(&s.ready)
	k.poller.drop(&s.words)
	if s.Cgroup != "" {
		s.cgroup(k.info.Features).remove()
	}
	if s.Task != 0 && s.mute {
		k.remove(s)
		return
	}
	k.changed(s)
}

// exitedTree completes an exit when it is known whether others of its tree live.
func (k *keeper) exitedTree(s *slot, leftovers bool) {
	if s.Task != 0 {
		k.taskExited(s, leftovers)
		return
	}
	s.State, s.Leftovers = wire.StateExited, leftovers
	if s.OpenedAt == 0 && s.Adoption == 0 {
		s.closePipes() // nobody else has them
	}
	k.giveUpEmpty(s)
	k.changed(s)
	k.watchTree(s)
	k.release(s)
}

// watchTree waits for the end of what a main process left.
func (k *keeper) watchTree(s *slot) {
	switch {
	case s.Cgroup == "" && s.Leftovers:
		k.scanner.leftovers = append(k.scanner.leftovers, s)
		k.scanLater()
	case s.Cgroup != "":
		k.watchEmpty(s)
	}
}

// watchEmpty removes the cgroup when it is empty, and tells so if it was not.
func (k *keeper) watchEmpty(s *slot) {
	g := s.cgroup(k.info.Features)
	if !s.Leftovers {
		g.remove()
		return
	}
	fd, err := g.events()
	if err == nil {
		s.events = fd
		err = k.poller.watch(fd, unix.EPOLLPRI, func(uint32) { k.checkEmpty(s) })
	}
	if err != nil {
		k.log.Warn("leftovers of an instance cannot be watched", "service", s.Service, "instance", s.Instance, "error", err)
	}
	k.checkEmpty(s)
}

func (k *keeper) checkEmpty(s *slot) {
	if s.TreeEmpty || s.events >= 0 && eventsPopulated(s.events) || s.events < 0 && s.cgroup(0).populated() {
		return
	}
	k.poller.drop(&s.events)
	s.cgroup(k.info.Features).remove()
	k.treeEmpty(s)
}

func (k *keeper) treeEmpty(s *slot) {
	s.TreeEmpty = true
	k.giveUpEmpty(s)
	k.changed(s)
	k.release(s)
}

// release lets a forgotten slot go when its output is drained and told, and
// what its main process left has ended: the engine waits for that, and may yet
// signal it.
func (k *keeper) release(s *slot) {
	drained := s.pipes[0].fd < 0 && s.pipes[1].fd < 0
	left := s.State == wire.StateExited && s.Leftovers && !s.TreeEmpty
	if s.gone || !s.Forgotten || s.live() || left || !drained {
		return
	}
	if s.dirty {
		s.once = true // after the last Drained is told
		return
	}
	k.remove(s)
}

// remove takes the slot out of the table.
func (k *keeper) remove(s *slot) {
	s.gone = true
	if s.Forgotten {
		k.out.sayLate(&wire.Released{Instance: s.Instance})
	}
	if k.slots[s.Instance] == s {
		delete(k.slots, s.Instance)
	}
	k.services.remove(s.Service, s.Instance, s)
	k.poller.drop(&s.status)
	k.children.release(s.PID, s.pidfd)
	k.poller.drop(&s.pidfd)
	k.poller.drop(&s.events)
	k.poller.drop(&s.ready)
	k.poller.drop(&s.words)
	closeAll(&s.gate, &s.pipes[0].fd, &s.pipes[1].fd)
	if s.Task != 0 {
		k.tasks[s.Owner] = slices.DeleteFunc(k.tasks[s.Owner], func(x *slot) bool { return x == s })
		if len(k.tasks[s.Owner]) == 0 {
			delete(k.tasks, s.Owner)
		}
	}
	if s.Cgroup != "" && !s.mute {
		_ = unix.Rmdir(s.Cgroup) // if a sweep was not needed it is gone already
	}
}

func parseFailure(b []byte) wire.Failure {
	return wire.Failure{
		Step:  wire.Step(min(b[1], byte(wire.StepLost))),
		Errno: syscall.Errno(binary.LittleEndian.Uint32(b[2:])),
		Index: int(binary.LittleEndian.Uint32(b[6:]) & (1<<31 - 1)),
	}
}

// toExit leaves out a peak of memory that is the keeper's: a process begins with
// the peak of the one that forked it, and keeps it across exec.
func toExit(ws syscall.WaitStatus, u *syscall.Rusage) wire.Exit {
	cpu := time.Duration(u.Utime.Nano() + u.Stime.Nano())
	e := wire.Exit{Known: true, Status: ws, CPU: uint64(cpu)}
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err == nil && u.Maxrss > own.Maxrss {
		e.MaxRSS = uint64(u.Maxrss)
	}
	return e
}
