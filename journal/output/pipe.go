package output

import (
	"bytes"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// turnBytes is the most one pipe moves before the next one's turn. It is
	// less than a large pipe holds: the kernel lets only some be large, and
	// those must not get more than their share.
	turnBytes = 256 << 10
	// A crowd gets smaller turns, roundBytes for all of them together but at least
	// turnLeast each, so that nobody is far ahead of who comes last.
	roundBytes = 4 << 20
	turnLeast  = 64 << 10
	// pipeMax is the size a busy pipe grows to: what the kernel allows anyone.
	pipeMax = 1 << 20
	// gapEvery bounds how long a gap is counted before it is told.
	gapEvery = 10 * time.Second
)

// pipe is the read end of one stream of one instance.
type pipe struct {
	fd       int
	inode    uint64
	s        *stream
	id       instanceID
	instance string
	capacity int64
	ready    bool // has bytes or has ended, and is in the next batch
	waiting  bool // taken out of the poll set until its stream's next try
	gap      *Gap
	gapSince time.Time
	slot     int // of the gap in the tally; -1 none

	turns sync.Mutex // held while the logger's goroutine takes from it
	aside aside      // what the standby took
}

// source tells what a pipe is the output of: two descriptors of one are the same.
type source struct {
	inode    uint64
	instance string
	s        *stream
}

func (p *pipe) source() source { return source{p.inode, p.instance, p.s} }

// silent tells that the pipe holds nothing, and whether it has ended.
func (p *pipe) silent() (silent, eof bool) {
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
	if _, err := unix.Poll(fds, 0); err != nil {
		return false, false
	}
	return fds[0].Revents&unix.POLLIN == 0, fds[0].Revents&unix.POLLHUP != 0
}

// take moves up to budget bytes from the pipe to the active segment. It ends
// early when the pipe is empty, and reports the end of the pipe.
func (s *stream) take(p *pipe, budget int64) (moved int64, eof bool, err error) {
	if s.log == nil {
		// Most streams of most services never say anything: their end makes no files.
		if silent, eof := p.silent(); silent {
			return 0, eof, nil
		}
	}
	if err := s.ready(); err != nil {
		return 0, false, err
	}
	for moved < budget {
		s.cut = p.aside.cut.Swap(false) || s.cut
		n, err := s.room(p, budget-moved)
		if err != nil {
			return moved, false, err
		}
		now := s.l.wall()
		if err := s.mark(p.id, now); err != nil {
			return moved, false, err
		}
		s.reserveText()
		off := s.size
		got, err := unix.Splice(p.fd, nil, int(s.log.Fd()), &off, int(n), unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return moved, false, nil
		case err != nil:
			return moved, false, err
		case got == 0:
			return moved, true, nil
		}
		s.l.step("spliced")
		if s.size == 0 {
			s.first = now
		}
		s.size += got
		moved += got
		if got < n {
			return moved, false, nil // empty; polling tells of more
		}
	}
	return moved, false, nil
}

// turn gives the pipe its share of a batch, behind what earlier instances of its
// service have left: what a dead one wrote comes before what its successor writes.
func (l *Logger) turn(p *pipe, budget int64) (moved int64) {
	if len(p.s.pipes) > 1 {
		l.elders(p)
	}
	return l.take(p, budget)
}

// elders moves what the pipes of earlier instances hold now; their ids are in order
// of time. It is at most what fits into them, whoever writes on.
func (l *Logger) elders(p *pipe) {
	for _, q := range slices.Clone(p.s.pipes) {
		if l.pipes[q.fd] != q || q.waiting || bytes.Compare(q.id[:], p.id[:]) >= 0 {
			continue
		}
		if n, err := unix.IoctlGetInt(q.fd, unix.TIOCINQ); err == nil && n > 0 {
			l.turn(q, int64(n))
		}
	}
}

// take moves up to budget bytes of one pipe, or counts what cannot be kept.
func (l *Logger) take(p *pipe, budget int64) (moved int64) {
	p.turns.Lock()
	defer p.turns.Unlock()
	s := p.s
	var eof bool
	if s.trouble == nil || !time.Now().Before(s.trouble.retryAt) {
		var err error
		moved, eof, err = s.take(p, budget)
		if moved > 0 && l.opts.Moved != nil {
			l.opts.Moved(s.service)
		}
		if err != nil {
			s.fail(err)
		} else if moved > 0 {
			s.relieve()
		}
	}
	if s.trouble != nil && !eof {
		if s.set.OnFull != OnFullDrop {
			l.setWaiting(p, true)
			return moved
		}
		var n int64
		n, eof = l.discard(p, budget)
		moved += n
	}
	l.adapt(p, moved)
	if eof {
		l.drained(p)
	}
	return moved
}

// adapt lets a pipe that is often full grow. The kernel charges for a pipe
// only what it holds, but limits how many may be big, so most stay as made.
func (l *Logger) adapt(p *pipe, moved int64) {
	if moved < p.capacity/2 || p.capacity >= pipeMax {
		return
	}
	want := min(p.capacity*4, pipeMax)
	got, err := unix.FcntlInt(uintptr(p.fd), unix.F_SETPIPE_SZ, int(want))
	if err != nil || int64(got) <= p.capacity {
		p.capacity = pipeMax // refused: never ask again
		return
	}
	p.capacity = int64(got)
}

// discard reads what cannot be kept and counts it (P4).
func (l *Logger) discard(p *pipe, budget int64) (moved int64, eof bool) {
	for moved < budget {
		n, err := unix.Read(p.fd, l.scratch)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return moved, false
		}
		if n == 0 {
			return moved, true
		}
		now := l.wall()
		if p.gap == nil {
			p.gap = &Gap{Stream: p.s.name, Instance: p.instance, From: now, Reason: p.s.trouble.reason}
			p.gapSince, l.uneasy = time.Now(), true
		}
		p.gap.Lines += int64(bytes.Count(l.scratch[:n], []byte{'\n'}))
		p.gap.Bytes += int64(n)
		p.gap.To = now
		p.s.trouble.refused += int64(n)
		p.s.cut = true
		moved += int64(n)
		l.tally.put(p.s.service, p.gap, &p.slot)
	}
	return moved, false
}

// flushGap tells what was counted so far.
func (l *Logger) flushGap(p *pipe) {
	if p.gap != nil {
		l.emit(KindGap, p.s.service, *p.gap)
		p.gap = nil
		l.tally.clear(&p.slot)
	}
}

// drained ends a pipe after its last byte.
func (l *Logger) drained(p *pipe) {
	l.detach(p)
	if l.opts.Drained != nil {
		l.opts.Drained(p.instance, p.s.name)
	}
}

// detach forgets a pipe, and closes the files of a stream without pipes.
func (l *Logger) detach(p *pipe) {
	l.standby.remove(p)
	l.flushGap(p)
	l.emitAside(p)
	if !p.waiting {
		_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, p.fd, nil)
	}
	delete(l.pipes, p.fd)
	delete(l.sources, p.source())
	unix.Close(p.fd)
	p.s.pipes = slices.DeleteFunc(p.s.pipes, func(q *pipe) bool { return q == p })
	if len(p.s.pipes) == 0 {
		p.s.relieve()
		p.s.release()
	}
}

// setWaiting takes a pipe out of the poll set or puts it back. Masking it is
// not enough: the end of a pipe is reported whatever the mask says, and the
// loop would spin on a dead service whose bytes cannot be written.
func (l *Logger) setWaiting(p *pipe, waiting bool) {
	if p.waiting == waiting {
		return
	}
	p.ready = false
	if waiting {
		_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, p.fd, nil)
		p.waiting, l.uneasy = true, true
		return
	}
	p.waiting = l.poll(p.fd) != nil // refused for want of memory: again later
}

func (l *Logger) poll(fd int) error {
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

// lookahead is a pipe of our own for looking into another one.
type lookahead struct {
	r, w int
	buf  []byte
}

// through returns the number of bytes waiting in fd up to and including the
// first newline, or all that could be seen if there is none; at least 1, so
// that the caller's next read finds out about an empty or ended pipe.
func (k *lookahead) through(fd int) int {
	n, err := unix.Tee(fd, k.w, len(k.buf), unix.SPLICE_F_NONBLOCK)
	if err != nil || n <= 0 {
		return 1
	}
	seen := 0
	for seen < int(n) {
		m, err := unix.Read(k.r, k.buf[seen:n])
		if err == unix.EINTR {
			continue
		}
		if err != nil || m <= 0 {
			break
		}
		seen += m
	}
	if i := bytes.IndexByte(k.buf[:seen], '\n'); i >= 0 {
		return i + 1
	}
	return max(seen, 1)
}
