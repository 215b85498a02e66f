package keeper

import (
	"cmp"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// outbox is what the present engine is still to be told. State is told as it is
// when the socket takes it; only words without a slot wait as they were said.
type outbox struct {
	engine bool           // there is one that can be told
	words  []wire.Message // the table, then host signals and the logger's state
	late   []wire.Message // that wake nobody: they go in front of the next one that does
	slots  []*slot        // dirty, in the order of their first change
	holds  []*slot        // of the table, whose descriptors are to be given

	// events of the logger, oldest first, kept while there is no engine.
	events  [][]byte
	dropped uint64 // dropped before the oldest
}

// slot has s told.
func (o *outbox) slot(s *slot) {
	if s.dirty || s.gone || s.mute {
		return
	}
	s.dirty = true
	o.slots = append(o.slots, s)
}

// operation has the result of op told.
func (o *outbox) operation(s *slot, op *operation) {
	op.dirty = true
	if !s.dirty && !s.gone {
		s.dirty = true
		o.slots = append(o.slots, s)
	}
}

// say has a message told after those said before, if there is an engine.
func (o *outbox) say(m wire.Message) {
	if o.engine {
		o.words = append(o.words, m)
	}
}

// sayLate has a message told with the next other one: nobody waits for it.
func (o *outbox) sayLate(m wire.Message) {
	if o.engine {
		o.late = append(o.late, m)
	}
}

// maxLate is how many of them are worth a message of their own.
const maxLate = 64

// event keeps opaque data of the logger.
func (o *outbox) event(e *wire.LoggerEvent) {
	if len(o.events) == maxLoggerEvents {
		o.events = o.events[1:]
		o.dropped++
	}
	o.dropped += e.Dropped
	o.events = append(o.events, e.Data)
}

// full tells that the engine does not take what it is told: it is not listened
// to until it does.
func (o *outbox) full() bool { return len(o.slots) > maxBacklog }

// table makes all that the keeper holds the first thing a new engine is told.
func (k *keeper) table() {
	o := &k.out
	for _, s := range o.slots {
		s.dirty = false
	}
	o.engine, o.slots, o.holds, o.late = true, nil, nil, nil
	info := k.info
	info.EngineStarts, info.EngineDeath = k.engine.starts, k.engine.death
	info.Safe = k.engine.safe()
	if k.came != wire.CameFresh {
		info.Came, k.came = k.came, wire.CameFresh
	}
	info.Logger = k.logger.describe()
	o.words = []wire.Message{&info}
	count := 0
	var ops []wire.Message
	order := slices.SortedFunc(maps.Values(k.slots), func(a, b *slot) int { return cmp.Compare(a.Instance, b.Instance) })
	for _, s := range order {
		if s.once && !s.mute {
			k.remove(s) // an answer to an engine that is dead, or told in full by its absence
			continue
		}
		if !s.mute {
			copied := s.Slot
			o.words = append(o.words, &copied)
			count++
			s.given = [3]bool{}
			o.holds = append(o.holds, s)
		}
		for _, op := range s.ops {
			copied := op.Operation
			ops = append(ops, &copied)
			op.dirty = false
		}
		if s.mute && s.settled() && !s.live() {
			k.remove(s)
		}
	}
	o.words = append(o.words, ops...)
	for i := range k.hostSignals {
		h := k.hostSignals[i]
		o.words = append(o.words, &h)
	}
	o.words = append(o.words, &wire.TableEnd{Slots: count})
}

// flush sends what engine and logger are to be told, as far as they take it.
func (k *keeper) flush() {
	if k.engine.socket >= 0 {
		blocked := k.flushEngine()
		want := uint32(unix.EPOLLIN)
		if k.deaf() {
			want = 0
		}
		if blocked {
			want |= unix.EPOLLOUT
		}
		k.engine.want(k.poller, want)
	}
	if k.logger.socket >= 0 {
		want := uint32(unix.EPOLLIN)
		if k.flushLogger() {
			want |= unix.EPOLLOUT
		}
		k.logger.want(k.poller, want)
	}
}

// flushEngine returns true if the socket is full.
func (k *keeper) flushEngine() bool {
	o := &k.out
	tell := func(m wire.Message) bool { return k.engine.tell(k, m) }
	if len(o.words)+len(o.slots)+len(o.events) > 0 || len(o.late) > maxLate {
		o.words, o.late = append(o.words, o.late...), nil
	}
	for len(o.words) > 0 {
		if !tell(o.words[0]) {
			return true
		}
		o.words[0] = nil
		o.words = o.words[1:]
	}
	for len(o.holds) > 0 {
		if !k.hand(o.holds[0]) {
			return true
		}
		o.holds[0] = nil
		o.holds = o.holds[1:]
	}
	for len(o.slots) > 0 {
		s := o.slots[0]
		if !k.flushSlot(s, tell) {
			return true
		}
		o.slots[0] = nil
		o.slots = o.slots[1:]
		s.dirty = false
		if s.once {
			if s.settled() {
				k.remove(s)
			}
		} else {
			k.release(s)
		}
	}
	for len(o.events) > 0 {
		if !tell(&wire.LoggerEvent{Data: o.events[0], Dropped: o.dropped}) {
			return true
		}
		o.events[0] = nil
		o.events, o.dropped = o.events[1:], 0
	}
	return false
}

// settled tells that no operation of the slot is under way or untold.
func (s *slot) settled() bool {
	for _, op := range s.ops {
		if !op.Done || op.dirty {
			return false
		}
	}
	return true
}

func (k *keeper) flushSlot(s *slot, tell func(wire.Message) bool) bool {
	if s.gone {
		return true
	}
	// Results first: a signal that was sent before its receiver's end must not
	// look as if it had come too late.
	for _, op := range s.ops {
		if op.dirty && op.Done {
			if !tell(&op.Operation) {
				return false
			}
			op.dirty = false
		}
	}
	return s.mute || k.hand(s) && tell(&s.Slot)
}

// hand gives the engine copies of the descriptors by which an instance's end and
// output can be known when the keeper is dead; false if the socket is full.
func (k *keeper) hand(s *slot) bool {
	fds := [3]int{s.pidfd, s.pipes[0].fd, s.pipes[1].fd}
	if s.Task != wire.TaskNone {
		return true // bounded by this keeper, and lost with it
	}
	if !s.live() {
		fds[0] = -1 // its status is in the slot
	}
	m := &wire.Hold{Instance: s.Instance, Merged: s.merged, Settings: s.data}
	give := fds[:0]
	for i, fd := range fds {
		if fd >= 0 && !s.given[i] && !s.gone {
			m.Held |= wire.HeldProcess << i
			give = append(give, fd)
		}
	}
	if m.Held == 0 {
		return true
	}
	if !k.engine.tell(k, m, give...) {
		return false
	}
	for i := range s.given {
		s.given[i] = s.given[i] || m.Held&(wire.HeldProcess<<i) != 0
	}
	return true
}
