package keeper

import (
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// quietLimit is how long a keeper waits until no fork and no end of a tree is
// under way, before it gives everything to a successor.
const quietLimit = 12 * time.Second

// job hands work to others and counts it until its results are posted to the
// loop, which is woken for the count only if it waits for that.
func (k *keeper) job(to *crew, f func()) {
	k.jobs.Add(1)
	to.add(func() {
		f()
		if k.jobs.Add(-1) == 0 && k.hush.Load() {
			k.poller.post(func() {})
		}
	})
}

// quieten has act called when nothing is under way; nothing new begins until
// then, and the engine is not listened to. fail is called if that takes too long.
func (k *keeper) quieten(act func(), fail func(error)) {
	if k.quiet != nil || k.quitting {
		fail(unix.EBUSY)
		return
	}
	k.quiet = act
	k.hush.Store(true)
	k.quietEnd = func() { fail(fmt.Errorf("work on services did not end within %v; try again", quietLimit)) }
	k.probesEnd() // they were for this engine
	number := k.quietCount
	k.after(quietLimit, func() {
		if k.quiet != nil && k.quietCount == number {
			give := k.quietEnd
			k.loud()
			give()
		}
	})
}

// probing tells that a probe has not ended yet.
func (k *keeper) probing() bool {
	for _, list := range k.tasks {
		if slices.ContainsFunc(list, func(s *slot) bool { return s.Task == wire.TaskProbe }) {
			return true
		}
	}
	return false
}

// loud goes back to work.
func (k *keeper) loud() {
	k.quiet, k.quietEnd = nil, nil
	k.hush.Store(false)
	k.quietCount++
}

// pass is called after each round of the loop: it carries out what waits for quiet.
func (k *keeper) pass() {
	if k.quiet == nil || k.jobs.Load() > 0 || k.probing() {
		return
	}
	// No death may be between the reaper and its slot, or it would be lost.
	k.children.reaping.Lock()
	defer k.children.reaping.Unlock()
	k.poller.read()
	if k.jobs.Load() > 0 || k.probing() {
		return
	}
	act := k.quiet
	act()
	k.loud()
}

// estate lists all that this keeper holds. child tells that the reader will be
// this process.
func (k *keeper) estate(child bool) *Estate {
	e := NewEstate()
	e.Lock, e.Listener, e.Heirs, e.Memory, e.Notify = int(k.cfg.Lock.Fd()), k.listener, k.heirs, k.memory, k.notify
	for _, h := range []*helper{&k.engine, &k.logger} {
		if h.pidfd >= 0 {
			e.Ending = append(e.Ending, h.pidfd)
		}
	}
	for _, s := range k.slots {
		if s.mute || s.once && !s.Forgotten {
			continue // an answer to an engine that will be gone
		}
		l := estateSlot{
			Slot: s.Slot, Merged: s.merged, Data: s.data, Gate: s.gate, Status: s.status, PIDFD: s.pidfd,
			Stdout: s.pipes[0].fd, Stderr: s.pipes[1].fd, Ready: s.ready, Limits: s.limits,
			Child: child && !s.foreign, Executing: s.executing, Dropping: s.dropping, Doubt: s.doubt,
			Mains: s.mains, First: s.first,
		}
		switch {
		case s.PID == 0, !l.Child && s.live() && s.pidfd < 0:
			continue
		case s.Task != wire.TaskNone && !child:
			continue // bounded by this keeper; the next one ends what it left
		}
		for _, op := range s.ops {
			l.Ops = append(l.Ops, op.Operation)
		}
		e.Slots = append(e.Slots, l)
	}
	e.Keeper = &estateKeeper{
		Info: k.info, Umask: k.umask, EngineStarts: k.engine.starts, LoggerStarts: k.logger.starts,
		HostSignals: k.hostSignals, HostNumber: k.hostNumber, Events: k.out.events, Dropped: k.out.dropped,
	}
	return e
}

// heirsReady lets a supd run take over from a keeper that no person started.
func (k *keeper) heirsReady() {
	conn, err := AcceptHeir(k.heirs)
	if err != nil {
		if err != unix.EAGAIN {
			k.log.Warn("somebody may not take over", "error", err)
		}
		return
	}
	k.quieten(func() {
		if err := k.estate(false).Give(conn); err != nil {
			k.log.Warn("goes on", "error", err)
			return
		}
		k.log.Info("a supd that was started by a person takes over")
		os.Exit(0) // what this process has is the heir's now: nothing may be given back
	}, func(err error) {
		k.log.Warn("cannot hand over now", "error", err)
		unix.Close(conn)
	})
}

// upgrade replaces this process by another program, in place: same pid, same
// children, same descriptors.
func (k *keeper) upgrade(m *wire.Upgrade, binary int) {
	fail := func(err error) {
		unix.Close(binary)
		k.log.Error("the upgrade failed, and all goes on as before", "error", err)
		k.out.say(&wire.UpgradeFailed{ID: m.ID, Error: truncate(err.Error(), wire.MaxText)})
	}
	if k.cfg.Boot.Args == nil {
		fail(unix.ENOTSUP)
		return
	}
	k.quieten(func() { fail(k.execute(m.ID, binary)) }, fail)
}

// execute returns only if it failed.
func (k *keeper) execute(id string, binary int) error {
	// Go cannot keep signals blocked across execve, and an unexpected one would end
	// us before the new program listens. Ignored ones are lost instead.
	signal.Ignore(hostSignals...)
	k.poller.read()
	e := k.estate(true)
	e.Keeper.Info.Upgrade = id
	err := (Boot{k.cfg.Boot.Args, e}).write(BootFD)
	if err == nil {
		keep := append(e.descriptors(), new(int))
		*keep[len(keep)-1] = BootFD
		inherited(keep, true)
		err = syscall.Exec("/proc/self/fd/"+strconv.Itoa(binary), os.Args, os.Environ())
		inherited(keep, false)
	}
	signal.Notify(k.hostChannel, hostSignals...)
	return fmt.Errorf("cannot execute the new program: %w", err)
}

// inherited sets whether descriptors survive execve.
func inherited(fds []*int, yes bool) {
	flags := unix.FD_CLOEXEC
	if yes {
		flags = 0
	}
	for _, fd := range fds {
		_, _ = unix.FcntlInt(uintptr(*fd), unix.F_SETFD, flags)
	}
}
