package keeper

import (
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// feed is what the present logger is still to be told.
type feed struct {
	attach   []attachment
	settings []string          // services, in order of their first change
	data     map[string][]byte // by service: the newest settings not told yet
	finish   bool              // Finish is to be told
	told     bool              // Finish was told to the present logger
	over     bool              // the time to finish is over
}

type attachment struct {
	slot   *slot
	stream wire.Stream
}

// attach has the logger given the pipes of an instance whose gate opens.
func (k *keeper) attach(s *slot) {
	for i := range s.pipes {
		p := &s.pipes[i]
		if p.fd >= 0 && !p.queued && !p.attached {
			p.queued = true
			k.feed.attach = append(k.feed.attach, attachment{s, wire.Stream(i + 1)})
		}
	}
}

// loggerStarted gives a new logger every pipe that is not drained (R7), those of
// older instances first: ids are in order of time.
func (k *keeper) loggerStarted() {
	k.feed.attach, k.feed.told = nil, false
	for _, id := range slices.Sorted(maps.Keys(k.slots)) {
		s := k.slots[id]
		for i := range s.pipes {
			s.pipes[i].queued, s.pipes[i].attached = false, false
		}
		if s.OpenedAt != 0 || s.Adoption != 0 {
			k.attach(s)
		}
	}
	l := k.logger.describe()
	k.out.say(&l)
}

func (k *keeper) loggerEnded() {
	l := k.logger.describe()
	k.out.say(&l)
	if k.quitting && k.outputSafe() {
		k.loggerFinished()
	}
}

// settings relays new output settings, and keeps them for the next logger.
func (k *keeper) settings(m *wire.Settings) {
	if m.Service == "" && k.cfg.Settings != nil {
		k.cfg.Settings(m.Data)
	}
	for _, s := range k.services[m.Service] {
		s.data = m.Data
	}
	f := &k.feed
	if f.data == nil {
		f.data = map[string][]byte{}
	}
	if _, waiting := f.data[m.Service]; !waiting {
		if len(f.data) >= maxSlots {
			k.log.Error("too many services have new output settings for a logger that takes none", "service", m.Service)
			return
		}
		f.settings = append(f.settings, m.Service)
	}
	f.data[m.Service] = m.Data
}

// flushLogger returns true if the socket is full.
func (k *keeper) flushLogger() bool {
	f := &k.feed
	for len(f.attach) > 0 {
		a := f.attach[0]
		p := &a.slot.pipes[a.stream-1]
		if p.fd >= 0 && !a.slot.gone {
			m := &wire.Attach{
				Instance: a.slot.Instance, Service: a.slot.Service, Stream: a.stream,
				Merged: a.slot.merged && a.stream == wire.Stdout, Settings: a.slot.data,
			}
			if !k.logger.tell(k, m, p.fd) {
				return true
			}
			p.queued, p.attached = false, true
		}
		f.attach[0] = attachment{}
		f.attach = f.attach[1:]
	}
	for len(f.settings) > 0 {
		service := f.settings[0]
		if !k.logger.tell(k, &wire.Settings{Service: service, Data: f.data[service]}) {
			return true
		}
		delete(f.data, service)
		f.settings = f.settings[1:]
	}
	if f.finish && !f.told {
		if !k.logger.tell(k, &wire.Finish{}) {
			return true
		}
		f.told = true
	}
	return false
}

// heed takes what the logger says.
func (k *keeper) heed(m wire.Message, _ []int) error {
	switch m := m.(type) {
	case *wire.Drained:
		k.drained(m)
	case *wire.LoggerEvent:
		k.out.event(m)
	default:
		return wire.ErrMalformed
	}
	return nil
}

// drained gives up the pipe that the logger has read to its end.
func (k *keeper) drained(m *wire.Drained) {
	s := k.slots[m.Instance]
	if s == nil {
		return
	}
	p := &s.pipes[m.Stream-1]
	if p.fd < 0 || !p.attached {
		return // said before, and heard
	}
	closeAll(&p.fd)
	if m.Stream == wire.Stdout {
		s.StdoutDrained = true
	} else {
		s.StderrDrained = true
	}
	k.changed(s)
	k.release(s)
}

// giveUpEmpty gives up pipes that nobody can write to any more and that hold
// nothing: there is nothing to wait for, and a logger that hangs with its disk
// must not hold up the restart of a service that is silent (P5, R7).
func (k *keeper) giveUpEmpty(s *slot) {
	for i := range s.pipes {
		p := &s.pipes[i]
		if p.fd < 0 {
			continue
		}
		fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, 0); err != nil || n != 1 || fds[0].Revents != unix.POLLHUP {
			continue
		}
		closeAll(&p.fd)
		if wire.Stream(i+1) == wire.Stdout {
			s.StdoutDrained = true
		} else {
			s.StderrDrained = true
		}
	}
}

// adoptOutput opens the pipes of an adopted process again; the process itself
// holds them open for reading, so nothing was lost (P8).
func (k *keeper) adoptOutput(s *slot, merged bool) {
	for i := range s.pipes {
		if i == 1 && merged {
			break
		}
		fd, err := openPipe(s.PID, i+1)
		if err != nil {
			s.OutputLost = true
			k.log.Warn("the output of a running service is lost to us; restart it to have it recorded",
				"service", s.Service, "instance", s.Instance, "stream", wire.Stream(i+1).String(), "error", err)
			continue
		}
		s.pipes[i].fd = fd
	}
	s.StdoutPiped, s.StderrPiped = s.pipes[0].fd >= 0, s.pipes[1].fd >= 0
}

// openPipe opens an output of another process if it still is a pipe. Anything
// else could hang in open.
func openPipe(pid, fd int) (int, error) {
	path := fdPath(pid, fd)
	var b [8]byte
	n, err := unix.Readlink(path, b[:])
	if err != nil {
		return -1, err
	}
	if string(b[:n])[:min(n, 5)] != "pipe:" {
		return -1, unix.ENOSTR
	}
	return unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
}
