package keeper

import (
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// reapWait is how long the exit of an adopted process waits for its reaper, who
// alone makes its status known.
const reapWait = 2 * time.Second

// adopt takes over a process of an earlier keeper. It is no child of ours, so its
// pidfd tells of its death.
func (k *keeper) adopt(m *wire.Adopt) {
	if s := k.slots[m.Instance]; s != nil && !s.mute {
		k.changed(s)
		return
	}
	if k.children.has(m.PID) || len(k.slots) >= maxSlots {
		// Our own child under another name, or no room: not that process.
		k.reply(m.Service, m.Instance, wire.StateGone).Adoption = wire.AdoptionReused
		return
	}
	s := newSlot(m.Service, m.Instance, wire.StateOpen)
	s.PID, s.StartTime, s.Cgroup, s.Execed = m.PID, m.StartTime, m.Cgroup, true
	s.merged, s.data = m.MergeStderr, m.Settings
	k.holdMeant(s)
	k.add(s)
	if s.Adoption != wire.AdoptionOK {
		s.State, s.once = wire.StateGone, true
		if s.Cgroup != "" {
			s.OOM = s.Exit.Known && s.cgroup(0).oom()
			s.Leftovers = s.cgroup(0).populated()
			if !s.Leftovers && instanceCgroup(s.Cgroup, s.Instance) {
				s.cgroup(0).remove()
			}
		}
		s.Cgroup = "" // a sweep may be needed: removing the slot leaves it alone
		k.changed(s)
		return
	}
	if m.Capture {
		k.adoptOutput(s, m.MergeStderr)
	}
	k.pinSlot(s)
	k.watchForeign(s)
	k.attach(s)
	k.changed(s)
}

// holdMeant opens the pidfd of the process that the slot means, or finds out how
// it ended. Its pin is itself, whoever has its number now.
func (k *keeper) holdMeant(s *slot) {
	k.pins.claim(s.Instance)
	fd := k.pins.of(s.Instance)
	switch {
	case fd < 0:
		s.pidfd, s.Adoption = holdProcess(s.PID, s.StartTime)
	case pidfdExited(fd):
		s.Adoption = wire.AdoptionGone
		s.Exit.Status, s.Exit.Known = deathStatus(fd, s.PID, s.StartTime)
		unix.Close(fd)
	default:
		s.pidfd, s.Adoption = fd, wire.AdoptionOK
	}
}

// holdProcess opens a pidfd and only then looks whether it is the process meant:
// in this order a reused pid cannot be mistaken for it.
func holdProcess(pid int, start uint64) (int, wire.Adoption) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1, wire.AdoptionGone
	}
	st, err := readStat(pid)
	switch {
	case err != nil || pidfdExited(fd):
		unix.Close(fd)
		return -1, wire.AdoptionGone
	case st.start != start:
		unix.Close(fd)
		return -1, wire.AdoptionReused
	}
	return fd, wire.AdoptionOK
}

// adoptedExited takes the pidfd's word for the death, then waits a little for the
// status: it is there when the process has been reaped.
func (k *keeper) adoptedExited(s *slot, events uint32) {
	if !s.live() || s.gone {
		return
	}
	main := s.mains
	status := func() (syscall.WaitStatus, bool) {
		if k.info.Features&wire.FeaturePidfdExit == 0 {
			return 0, false // what older kernels have in stat is not the group's
		}
		return deathStatus(s.pidfd, s.PID, s.StartTime)
	}
	finish := func() {
		if !s.live() || s.gone || s.ExitedAt != 0 || s.mains != main {
			return
		}
		ws, known := status()
		known = known && !(s.doubt && ws == 0)
		k.exited(s, wire.Exit{Known: known, Status: ws})
	}
	if s.mains > 0 { // it may be our child by now: the reaper, if any, knows more
		atOnce := finish
		finish = func() {
			k.children.posted()
			k.poller.post(atOnce)
		}
	}
	_, known := status()
	if known || events&unix.EPOLLHUP != 0 || k.info.Features&wire.FeaturePidfdExit == 0 && s.mains == 0 {
		k.unwatchAdopted(s)
		finish()
		return
	}
	// From now on only the hang-up that follows the reaping wakes us.
	k.poller.change(s.pidfd, 0)
	k.after(reapWait, func() {
		if s.mains == main {
			k.unwatchAdopted(s)
			finish()
		}
	})
}

// unwatchAdopted keeps the pidfd for group signals but listens to it no more.
func (k *keeper) unwatchAdopted(s *slot) {
	if s.pidfd >= 0 {
		k.poller.unwatch(s.pidfd)
	}
}

func fdPath(pid, fd int) string { return fmt.Sprintf("/proc/%d/fd/%d", pid, fd) }
