package keeper

import (
	"sync"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// holdings are the copies of descriptors that an engine keeps for the case that
// its keeper dies: a pidfd tells a process's exit status even after somebody has
// reaped it, and a pipe's content lives as long as somebody holds its read end.
type holdings struct {
	mu         sync.Mutex
	byInstance map[string]*holding // guarded by mu
	services   byService[*holding] // guarded by mu: those whose service was told
	gone       bool                // guarded by mu: handed over
	common     [4]int              // control socket, memory, notify socket, socket of the heirs; set once, -1 if not kept
}

// holding is what is held of one instance, beside what the keeper said last.
type holding struct {
	slot   wire.Slot
	fds    [3]int // pidfd, stdout, stderr; -1 if not held
	main   uint64 // identity of the process of the last pidfd; 0: not known
	opened bool   // the keeper was asked to open the gate
	merged bool
	data   []byte
}

// of returns the holding of an instance. The caller holds mu.
func (h *holdings) of(instance string) *holding {
	x := h.byInstance[instance]
	if x == nil {
		x = &holding{fds: [3]int{-1, -1, -1}}
		h.byInstance[instance] = x
	}
	return x
}

// take keeps descriptors.
func (h *holdings) take(m *wire.Hold, fds []int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	x := h.of(m.Instance)
	x.merged, x.data = m.Merged, m.Settings
	for i := range x.fds {
		if m.Held&(wire.HeldProcess<<i) == 0 {
			continue
		}
		at := &x.fds[i]
		closeAll(at)
		*at, fds = fds[0], fds[1:]
		if i == 0 {
			x.main = identity(*at)
		}
		if h.gone {
			closeAll(at)
		}
	}
}

// identity names the process of a pidfd, dead or alive, among all of this boot;
// 0 where the kernel gives it no number of its own (before Linux 6.9).
func identity(pidfd int) uint64 {
	var fs unix.Statfs_t
	var st unix.Stat_t
	if unix.Fstatfs(pidfd, &fs) != nil || fs.Type != unix.PID_FS_MAGIC || unix.Fstat(pidfd, &st) != nil {
		return 0
	}
	return st.Ino
}

// IsMain tells whether a pidfd is of the main process that the instance has now,
// or had when it ended: of one that has ended and was reaped nothing else tells
// who it was.
func (c *Client) IsMain(instance string, pidfd int) bool {
	c.held.mu.Lock()
	defer c.held.mu.Unlock()
	x := c.held.byInstance[instance]
	return x != nil && x.main != 0 && x.main == identity(pidfd)
}

// opening notes that the gate may be open from now on.
func (h *holdings) opening(instance string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if x := h.byInstance[instance]; x != nil {
		x.opened = true
	}
}

func (h *holdings) settings(service string, data []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, x := range h.services[service] {
		x.data = data
	}
}

// follow gives up what is of no more use as a slot ends.
func (h *holdings) follow(m wire.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r, ok := m.(*wire.Released); ok {
		h.release(r.Instance)
	}
	s, ok := m.(*wire.Slot)
	if !ok {
		return
	}
	x := h.of(s.Instance)
	h.services.remove(x.slot.Service, s.Instance, x) // a slot that is not known any more has no service
	x.slot = *s
	h.services.add(s.Service, s.Instance, x)
	ran := s.OpenedAt != 0 || s.Adoption != 0
	if s.StdoutDrained || s.State == wire.StateExited && !ran {
		closeAll(&x.fds[1])
	}
	if s.StderrDrained || s.State == wire.StateExited && !ran {
		closeAll(&x.fds[2])
	}
	if s.State == wire.StateExited {
		closeAll(&x.fds[0]) // its status is in the slot
	}
	if over(s) {
		h.release(s.Instance)
	}
}

func (h *holdings) release(instance string) {
	if x := h.byInstance[instance]; x != nil {
		closeAll(&x.fds[0], &x.fds[1], &x.fds[2])
		delete(h.byInstance, instance)
		h.services.remove(x.slot.Service, instance, x)
	}
}

// over tells that the keeper has no slot any more once it has told this one.
func over(s *wire.Slot) bool {
	switch s.State {
	case wire.StateDropped, wire.StateGone, wire.StateUnknown:
		return true
	}
	return false
}

// Estate returns what this engine holds of its keeper, which is dead: the slots
// as they were told last, with the descriptors. It can be had once. Instances at
// a gate that was never to be opened are not in it: their stubs have seen the
// gate's end and nothing of the user's ran (R3).
func (c *Client) Estate() *Estate {
	h := &c.held
	h.mu.Lock()
	defer h.mu.Unlock()
	e := NewEstate()
	for _, x := range h.byInstance {
		if s, ok := x.left(); ok && !h.gone {
			e.Slots = append(e.Slots, s)
		} else {
			closeAll(&x.fds[0], &x.fds[1], &x.fds[2])
		}
	}
	h.byInstance, h.services, h.gone = map[string]*holding{}, byService[*holding]{}, true
	e.Listener, e.Memory, e.Notify, e.Heirs = h.common[0], h.common[1], h.common[2], h.common[3]
	return e
}

// left returns what a keeper leaves of an instance, as far as its engine knows;
// false if nothing that the next keeper could not find better by itself.
func (x *holding) left() (estateSlot, bool) {
	s := estateSlot{
		Slot: x.slot, Merged: x.merged, Data: x.data,
		Gate: -1, Status: -1, PIDFD: x.fds[0], Stdout: x.fds[1], Stderr: x.fds[2], Ready: -1,
	}
	if s.Slot.Task != wire.TaskNone {
		return s, false // its keeper bounded it; the next one ends what it left
	}
	switch x.slot.State {
	case wire.StateParking, wire.StateParked:
		s.Doubt = true
		return s, x.opened && s.PIDFD >= 0
	case wire.StateOpening, wire.StateOpen, wire.StateExecFailed:
		return s, s.PIDFD >= 0
	case wire.StateExited:
		return s, true
	}
	return s, false
}
