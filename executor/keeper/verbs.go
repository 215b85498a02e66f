package keeper

import (
	"cmp"
	"syscall"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// obey does what the engine asks. fds are the message's; an error means that the
// engine spoke nonsense.
func (k *keeper) obey(m wire.Message, fds []int) error {
	switch m := m.(type) {
	case *wire.Park:
		k.park(m, fds[0])
	case *wire.Adopt:
		k.adopt(m)
	case *wire.Sweep:
		k.sweep(m)
	case *wire.Settings:
		k.settings(m)
	case *wire.HostSignalDone:
		for len(k.hostSignals) > 0 && k.hostSignals[0].Number <= m.Number {
			k.hostSignals = k.hostSignals[1:]
		}
	case *wire.Quit:
		k.quit(m)
	case *wire.Upgrade:
		k.upgrade(m, fds[0])
	case *wire.Open:
		k.about(m.Instance, k.open)
	case *wire.Drop:
		k.about(m.Instance, k.drop)
	case *wire.Forget:
		k.about(m.Instance, k.forget)
		if s := k.slots[m.Instance]; s == nil || !s.live() {
			k.pins.unpin(m.Instance)
		}
	case *wire.Signal:
		k.signal(m)
	case *wire.Follow:
		k.about(m.Instance, func(s *slot) { k.follow(s, m) })
	case *wire.Grant:
		k.grant(m.UID)
	default:
		return wire.ErrMalformed
	}
	return nil
}

// about applies a verb to an instance's slot, or tells that there is none.
func (k *keeper) about(instance string, verb func(*slot)) {
	if s := k.slots[instance]; s != nil && !s.mute {
		verb(s)
		return
	}
	k.reply("", instance, wire.StateUnknown)
}

// park has a stub forked. The launch memfd is closed here or by the spawner.
func (k *keeper) park(m *wire.Park, launch int) {
	if s := k.slots[m.Instance]; s != nil && !s.mute {
		unix.Close(launch)
		k.changed(s)
		return
	}
	if len(k.slots) >= maxSlots {
		unix.Close(launch)
		s := k.reply(m.Service, m.Instance, wire.StateParkFailed)
		s.Failure = wire.Failure{Step: wire.StepFork, Errno: unix.EAGAIN}
		return
	}
	s := k.add(newSlot(m.Service, m.Instance, wire.StateParking))
	s.merged, s.data = m.MergeStderr, m.Settings
	if m.Cgroup && k.info.Cgroup != "" {
		s.Cgroup = k.info.Cgroup + "/" + m.Instance
		if m.Task != 0 {
			s.Cgroup = k.taskCgroup(m.Instance)
		}
	}
	if m.Task != 0 {
		k.taskParked(s, m)
	} else {
		k.pins.settled()
	}
	s.limits = m.Limits
	o := order{name: m.Service, launch: launch, out: [2]int{-1, -1}, cgroup: s.Cgroup, limits: m.Limits, ready: m.ReadyFD}
	o.dead = k.deathOf(s)
	capture, merged := m.Capture || m.Task == wire.TaskProbe, m.MergeStderr || m.Task != wire.TaskNone
	big := k.info.Features&wire.FeatureRoot != 0
	k.job(k.parks, func() { k.spawn(s, o, capture, merged, big) })
}

// deathOf is what the reaper calls when the slot's present main process is dead.
// The slot may have another one by then, or have been told by the pidfd.
func (k *keeper) deathOf(s *slot) func(syscall.WaitStatus, *syscall.Rusage) {
	main := s.mains
	return func(ws syscall.WaitStatus, u *syscall.Rusage) {
		e := toExit(ws, u)
		k.poller.post(func() {
			if s.mains == main && s.ExitedAt == 0 {
				k.exited(s, e)
			}
		})
	}
}

// spawn runs on a spawner's goroutine and touches nothing of the slot.
func (k *keeper) spawn(s *slot, o order, capture, merged, big bool) {
	ends, fail := [2]int{-1, -1}, wire.Failure{}
	if capture {
		ends, o.out, fail = k.outputs(merged, big)
		giveOutput(o.launch, o.out)
	}
	said := [2]int{-1, -1}
	if o.ready && fail.Step == 0 {
		if err := k.spawner.pipe(&said, unix.O_NONBLOCK); err != nil {
			fail = failure(wire.StepPipe, err)
		}
		o.pass = []int{said[1]}
	}
	o.forked = func(p process) {
		k.poller.post(func() {
			k.readyListen(s, said[0])
			k.spawned(s, p, ends)
		})
	}
	if fail.Step == 0 {
		fail = k.spawner.fork(o)
	}
	if fail.Step != 0 {
		read := said[0]
		closeAll(&ends[0], &ends[1], &read)
		k.poller.post(func() { k.spawnFailed(s, fail) })
	}
	write := o.out
	if write[1] == write[0] {
		write[1] = -1
	}
	closeAll(&o.launch, &write[0], &write[1], &said[1])
}

// outputs makes the pipes of stdout and stderr: read ends, then write ends. All
// are non-blocking; the stub opens its ends anew for the service, which blocks.
func (k *keeper) outputs(merged, big bool) (read, write [2]int, f wire.Failure) {
	read, write = [2]int{-1, -1}, [2]int{-1, -1}
	for i := range read {
		if i == 1 && merged {
			write[1] = write[0]
			break
		}
		var p [2]int
		err := k.spawner.pipe(&p, unix.O_NONBLOCK)
		read[i], write[i] = p[0], p[1]
		if err != nil {
			return read, write, failure(wire.StepPipe, err)
		}
		if big {
			// A larger pipe rides out a longer absence of the logger. Users without
			// privilege would soon exhaust their share and get tiny pipes instead.
			_, _ = unix.FcntlInt(uintptr(p[0]), unix.F_SETPIPE_SZ, 1<<20)
		}
	}
	return read, write, f
}

// spawnFailed takes the word that there is no stub.
func (k *keeper) spawnFailed(s *slot, f wire.Failure) {
	s.State, s.Failure = wire.StateParkFailed, f
	if s.dropping {
		s.State, s.once = wire.StateDropped, true
	}
	k.ended(s)
}

// spawned takes the stub, of which nothing was heard before.
func (k *keeper) spawned(s *slot, p process, ends [2]int) {
	s.pipes[0].fd, s.pipes[1].fd = ends[0], ends[1]
	if s.Task == wire.TaskHook && !s.merged { // what it says is no output of the service's own
		s.pipes[0].fd, s.pipes[1].fd = -1, ends[0]
	}
	s.StdoutPiped, s.StderrPiped = s.pipes[0].fd >= 0, s.pipes[1].fd >= 0
	s.PID, s.StartTime, s.pidfd, s.gate, s.status = p.pid, p.start, p.pidfd, p.gate, p.status
	if s.Task == wire.TaskProbe {
		k.taskListen(s)
	}
	if err := k.poller.watch(s.status, unix.EPOLLIN, func(uint32) { k.statusReady(s) }); err != nil {
		k.log.Error("a stub cannot be heard", "service", s.Service, "instance", s.Instance, "error", err)
		k.drop(s)
	}
	if s.dropping {
		k.drop(s)
	}
}

// open opens the gate, once. The slot says so before the byte is written (R3):
// a successor of ours that finds it parked may be sure that nothing ran.
func (k *keeper) open(s *slot) {
	if s.State == wire.StateParked && !s.dropping {
		s.State, s.OpenedAt = wire.StateOpening, bootTime()
		k.attach(s)
		_, _ = unix.Write(s.gate, []byte{1}) // EPIPE: the stub is dead, and its exit tells
		closeAll(&s.gate)
		return // what comes of it is told; that it was opened the engine knows
	}
	k.changed(s)
}

// drop ends a stub without exec: the closed gate is its order to exit, the
// signal is for one that hangs before it.
func (k *keeper) drop(s *slot) {
	if s.Task != 0 && !s.dropping {
		k.taskDrop(s)
		return
	}
	if s.State != wire.StateParking && s.State != wire.StateParked {
		k.changed(s)
		return
	}
	s.dropping = true
	if s.PID == 0 {
		return // not forked yet; spawned goes on
	}
	closeAll(&s.gate)
	if s.pidfd >= 0 {
		_ = unix.PidfdSendSignal(s.pidfd, unix.SIGKILL, nil, 0)
	}
}

// forget releases the slot of an ended instance.
func (k *keeper) forget(s *slot) {
	if s.live() {
		k.changed(s)
		return
	}
	s.Forgotten = true
	k.release(s)
}

// quit ends the keeper: first the logger finishes, its last words reach the
// engine, then the engine is let go.
func (k *keeper) quit(m *wire.Quit) {
	if k.quitting {
		return
	}
	if !m.Keep {
		refused := false
		for _, s := range k.slots {
			if s.live() && s.Task == 0 {
				refused = true
				k.changed(s)
			}
		}
		if refused {
			return
		}
	}
	k.quitting, k.quitCode = true, int(m.Code)
	for owner := range k.tasks {
		k.tasksEnd(owner, true)
	}
	k.poller.drop(&k.listener)
	_ = unix.Unlink(k.cfg.SocketPath)
	k.feed.finish = true
	k.after(cmp.Or(k.cfg.FinishLimit, finishLimit), func() {
		k.feed.over = true
		if k.logger.pid != 0 {
			k.logger.kill()
			return
		}
		k.loggerFinished()
	})
	if k.logger.pid == 0 && k.outputSafe() {
		k.loggerFinished()
	}
}

// outputSafe tells that no logger is needed any more: the last one finished,
// nothing is left in a pipe, or there is no more time. A logger that was killed
// while supd ends is started again until then, or what is in the pipes would be
// lost (P3).
func (k *keeper) outputSafe() bool {
	finished := k.feed.told && k.logger.death.Signal == 0 && k.logger.death.Code == 0
	return k.feed.over || finished || !k.undrained()
}

func (k *keeper) undrained() bool {
	for _, s := range k.slots {
		for i := range s.pipes {
			if s.pipes[i].fd >= 0 && (s.OpenedAt != 0 || s.Adoption != 0) {
				return true
			}
		}
	}
	return false
}

// loggerFinished lets the engine go when all it may have to hear was said.
func (k *keeper) loggerFinished() {
	k.flush()
	k.pinsEnd() // before the engine ends: it may remove the runtime folder
	if k.engine.socket >= 0 {
		_ = unix.Shutdown(k.engine.socket, unix.SHUT_RDWR)
	}
	k.after(quitLimit, k.engine.kill)
	if k.engine.pid == 0 {
		k.done = true
	}
}
