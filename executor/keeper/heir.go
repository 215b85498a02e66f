package keeper

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// takeOver makes what an earlier keeper left this one's. It comes before the
// reaper starts: a child that is dead already must be known to it.
func (k *keeper) takeOver(e *Estate) {
	for i := range e.Ending {
		// Crash-only: both may die at any instruction, and their successors wait for
		// their locks.
		_ = unix.PidfdSendSignal(e.Ending[i], unix.SIGKILL, nil, 0)
		closeAll(&e.Ending[i])
	}
	switch {
	case e.Keeper != nil && e.Keeper.Info.PID == os.Getpid():
		k.came = wire.CameUpgraded
	case e.Lock >= 0 && (e.Keeper != nil || e.Heirs >= 0):
		k.came = wire.CameInherited
	}
	if x := e.Keeper; x != nil {
		k.engine.starts, k.logger.starts = x.EngineStarts, x.LoggerStarts
		k.hostSignals, k.hostNumber = x.HostSignals, x.HostNumber
		k.out.events, k.out.dropped = x.Events, x.Dropped
	}
	for i := range e.Slots {
		k.inherit(&e.Slots[i])
	}
}

// inherit makes a slot of what is left of one.
func (k *keeper) inherit(l *estateSlot) {
	s := newSlot(l.Slot.Service, l.Slot.Instance, l.Slot.State)
	s.Slot, s.merged, s.data = l.Slot, l.Merged, l.Data
	s.gate, s.status, s.pidfd = l.Gate, l.Status, l.PIDFD
	s.pipes[0].fd, s.pipes[1].fd = l.Stdout, l.Stderr
	s.ready, s.limits = l.Ready, l.Limits
	s.executing, s.dropping, s.doubt = l.Executing, l.Dropping, l.Doubt
	s.mains, s.first = l.Mains, l.First
	for _, op := range l.Ops {
		s.ops = append(s.ops, &operation{Operation: op})
	}
	k.add(s)
	s.foreign = s.live() && !l.Child
	if s.foreign {
		s.held()
	}
	if l.Child && s.live() && s.ExitedAt == 0 {
		k.children.add(&child{pid: s.PID, dead: k.deathOf(s)})
	}
}

// resume has the loop go on with the slots that were inherited. It comes when
// cgroups and the reaper are there.
func (k *keeper) resume() {
	for _, s := range k.slots {
		if s.foreign {
			k.resumeForeign(s)
		}
		if s.Task != wire.TaskNone {
			k.taskWatched(s)
		}
		k.pins.claim(s.Instance)
		k.pinSlot(s)
		k.readyListen(s, s.ready)
		if s.status >= 0 {
			if err := k.poller.watch(s.status, unix.EPOLLIN, func(uint32) { k.statusReady(s) }); err != nil {
				k.log.Error("a stub cannot be heard", "service", s.Service, "instance", s.Instance, "error", err)
			}
		}
		switch {
		case s.live() && s.ExitedAt != 0:
			k.exited(s, s.Exit)
		case s.State == wire.StateExited && s.Leftovers && !s.TreeEmpty:
			k.watchTree(s)
		}
		k.release(s)
	}
}

// resumeForeign watches a process that is no child of this keeper. Where the
// gate was lost with its keeper, it has been opened, or the stub has ended.
func (k *keeper) resumeForeign(s *slot) {
	switch s.State {
	case wire.StateParking, wire.StateParked, wire.StateOpening:
		if s.gate >= 0 || s.status >= 0 {
			break // the stub still speaks for itself
		}
		s.State = wire.StateOpen
		if s.doubt && pidfdExited(s.pidfd) {
			// Perhaps it was the stub that ended, at the end of its gate: that the
			// program ran must not be told, nor signals be sent to it.
			s.OpenedAt = bootTime()
			break
		}
		s.Execed = true
		fallthrough
	default:
		if k.came == wire.CameUpgraded {
			break // nobody has lost it: it was named by its service (Follow)
		}
		s.Adoption = wire.AdoptionOK
		if s.OpenedAt == 0 {
			s.OpenedAt = bootTime()
		}
	}
	k.watchForeign(s)
}

func (k *keeper) watchForeign(s *slot) {
	s.foreign = true
	k.children.adopt(s.PID, s.pidfd, k.deathOf(s))
	err := k.poller.watch(s.pidfd, unix.EPOLLIN, func(events uint32) { k.adoptedExited(s, events) })
	if err != nil {
		k.log.Error("an adopted process cannot be watched", "service", s.Service, "instance", s.Instance, "error", err)
	}
}

// listenHeirs listens in dir, the runtime folder, for a supd run that takes over.
func listenHeirs(dir string) (int, error) {
	path := heirsPath(dir)
	_ = os.Remove(path)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: path}) // the umask is 077
	}
	if err == nil {
		err = unix.Listen(fd, 4)
	}
	if err != nil {
		closeAll(&fd)
		return -1, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	return fd, nil
}
