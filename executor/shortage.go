package executor

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"supd/executor/keeper"
	"supd/executor/policy"
	"supd/journal/event"
)

// shortageCalm is how long nothing may be refused before a start that works
// counts as the end of a shortage: else one that lets every other start through
// would be told with each of them.
const shortageCalm = 2 * time.Second

// shortage is a time in which starts or connections fail because the machine, or supd, has no
// more of something.
type shortage struct {
	since, last int64 // CLOCK_BOOTTIME
	refused     int64
}

// shortOf names what an error means there is too little of; empty if nothing.
func shortOf(e syscall.Errno) string {
	switch e {
	case unix.EMFILE, unix.ENFILE:
		return "fds"
	case unix.EAGAIN:
		return "processes" // or threads: the kernel counts them alike
	case unix.ENOMEM:
		return "memory"
	}
	return ""
}

// refused notes a start that failed for want of something.
func (l *Loop) refused(s keeper.Slot) error {
	return l.short(s.Failure.Errno, fmt.Sprintf("%s of %s", s.Failure.Error(), s.Service))
}

// Short notes that something else than a start failed for want of what errno
// names; other errors are none of it. It never blocks: while the loop is busy it
// may be lost, so it should be told of each failure.
func (l *Loop) Short(errno syscall.Errno, limit string) {
	select {
	case l.calls <- func(*Core) error { return l.short(errno, limit) }:
	default:
	}
}

// Eased tells that what Short told of has worked again. The shortage ends when
// nothing was refused for a while.
func (l *Loop) Eased() {
	time.AfterFunc(shortageCalm, func() {
		_ = l.Do(context.Background(), func(*Core) error { return l.relieved() })
	})
}

// short records the first refusal of a shortage and counts the others.
func (l *Loop) short(errno syscall.Errno, limit string) error {
	what := shortOf(errno)
	if what == "" || !l.core.settled || l.core.State().Supd.Stopped {
		return nil
	}
	now := l.core.Clock.Now()
	if open := l.shortages[what]; open != nil {
		open.refused++
		open.last = now.Mono
		return nil
	}
	l.shortages[what] = &shortage{since: now.Mono, last: now.Mono, refused: 1}
	return l.core.Step(policy.Note{Data: event.ResourcePressedData{
		What: what, Errno: unix.ErrnoName(errno), Limit: limit,
	}})
}

// relieved ends the shortages that a success has shown to be over.
func (l *Loop) relieved() error {
	if len(l.shortages) == 0 || l.core.State().Supd.Stopped {
		return nil
	}
	now := l.core.Clock.Now().Mono
	var over []string
	for what, s := range l.shortages {
		if now-s.last >= int64(shortageCalm) {
			over = append(over, what)
		}
	}
	slices.Sort(over)
	for _, what := range over {
		s := l.shortages[what]
		delete(l.shortages, what)
		d := event.ResourceRelievedData{What: what, Duration: time.Duration(now - s.since).String(), Refused: s.refused}
		if err := l.core.Step(policy.Note{Data: d}); err != nil {
			return err
		}
	}
	return nil
}
