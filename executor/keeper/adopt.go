package keeper

import (
	"fmt"
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
	fd, outcome := holdProcess(m.PID, m.StartTime)
	s.pidfd, s.Adoption = fd, outcome
	k.add(s)
	if outcome != wire.AdoptionOK {
		s.State, s.once = wire.StateGone, true
		if s.Cgroup != "" {
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
	k.watchForeign(s)
	k.attach(s)
	k.changed(s)
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
	finish := func() {
		if !s.live() || s.gone || s.ExitedAt != 0 || s.mains != main {
			return
		}
		ws, known := pidfdStatus(s.pidfd)
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
	_, known := pidfdStatus(s.pidfd)
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
