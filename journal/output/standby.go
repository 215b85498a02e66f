package output

import (
	"bytes"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// hangAfter is how long the logger may be at work without coming back to its
	// poll before its disk counts as hanging; it may be up to twice as long.
	hangAfter = 2 * time.Second
	// standbyEvery is how often pipes are emptied then. A pipe of 64 KiB lets its
	// service write 3 MB a second in this time, which is enough to live on.
	standbyEvery = 20 * time.Millisecond
	hangReason   = "the disk hangs"
)

// standby reads, while the logger's goroutine hangs in a call to the disk, what
// services with on_full = "drop" write, and counts it: they asked not to wait
// (P4). It sleeps until then and touches no disk.
//
// The pipe that hangs with the disk is read by a goroutine of its own, at most
// one: inside a splice the kernel may hold its lock, and then its service does
// wait for the disk, and so does whoever reads it. That is the limit of "drop".
type standby struct {
	l     *Logger
	after time.Duration // hangAfter; tests have less patience
	timer *time.Timer
	armed atomic.Bool   // the timer is set
	seen  uint64        // shift at the last look
	took  atomic.Int64  // bytes, in the hang that is or was last
	shift atomic.Uint64 // odd while the logger works; every change is one more

	mu    sync.Mutex // held while pipes are read: their descriptors stay open
	pipes map[*pipe]bool
	stuck atomic.Bool // the goroutine of the pipe that hangs has not come back
}

// aside is what the standby took from a pipe.
type aside struct {
	cut  atomic.Bool // something, since the logger's goroutine last looked
	mu   sync.Mutex
	gap  *Gap // that nobody told yet
	slot int  // in the tally; -1 none
}

func newStandby(l *Logger) *standby {
	s := &standby{l: l, after: hangAfter, pipes: map[*pipe]bool{}}
	s.timer = time.AfterFunc(time.Hour, s.run)
	s.timer.Stop()
	return s
}

// work and rest bracket what the logger's goroutine does beside waiting. They are
// called for each batch, so a timer is set only if none is.
func (s *standby) work() {
	s.shift.Add(1)
	s.arm()
}

func (s *standby) rest() { s.shift.Add(1) }

func (s *standby) arm() {
	if s.armed.CompareAndSwap(false, true) {
		s.timer.Reset(s.after)
	}
}

func (s *standby) add(p *pipe) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pipes[p] = true
}

func (s *standby) remove(p *pipe) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pipes, p)
}

// run looks whether the logger's goroutine still does what it did at the last
// look, and takes over in that case.
func (s *standby) run() {
	shift := s.shift.Load()
	if shift%2 == 1 && shift == s.seen {
		s.takeOver(shift)
	}
	s.seen = shift
	s.armed.Store(false)
	if s.shift.Load()%2 == 1 {
		s.arm()
	}
}

// takeOver empties pipes until the logger's goroutine comes back.
func (s *standby) takeOver(shift uint64) {
	began := time.Now()
	s.l.emit(KindPressed, "", Pressed{What: "disk", Limit: "the disk of the output does not answer"})
	s.took.Store(0)
	buf, told := make([]byte, 64<<10), began
	for s.shift.Load() == shift {
		s.round(buf)
		if time.Since(told) >= gapEvery {
			s.tell()
			told = time.Now()
		}
		time.Sleep(standbyEvery)
	}
	s.tell()
	s.l.emit(KindRelieved, "", Relieved{
		What: "disk", Duration: (s.after + time.Since(began)).Round(time.Millisecond).String(), Refused: s.took.Load(),
	})
}

// round empties the pipes once.
func (s *standby) round(buf []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.pipes {
		if !p.s.drops.Load() {
			continue
		}
		if p.turns.TryLock() {
			s.l.setAside(p, p.fd, buf)
			p.turns.Unlock()
		} else if s.stuck.CompareAndSwap(false, true) {
			s.besides(p)
		}
	}
}

// tell tells what was taken so far.
func (s *standby) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.pipes {
		s.l.emitAside(p)
	}
}

// besides reads the pipe that the logger's goroutine has in hand, through a
// descriptor that stays when that one comes back and closes its own.
func (s *standby) besides(p *pipe) {
	fd, err := unix.FcntlInt(uintptr(p.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		s.stuck.Store(false)
		return
	}
	go func() {
		s.l.setAside(p, fd, make([]byte, 64<<10))
		unix.Close(fd)
		s.mu.Lock()
		attached := s.pipes[p]
		s.mu.Unlock()
		if !attached || s.shift.Load()%2 == 0 {
			s.l.emitAside(p) // nobody else would
		}
		s.stuck.Store(false)
	}()
}

// setAside reads what a pipe holds now, as much as the largest can, and counts it.
func (l *Logger) setAside(p *pipe, fd int, buf []byte) {
	for took := 0; took < pipeMax; {
		n, err := unix.Read(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			break // empty, or ended, which the logger finds out itself
		}
		took += n
		l.standby.took.Add(int64(n))
		now := l.wall()
		p.aside.mu.Lock()
		if p.aside.gap == nil {
			p.aside.gap = &Gap{Stream: p.s.name, Instance: p.instance, From: now, Reason: hangReason}
		}
		g := p.aside.gap
		g.Lines += int64(bytes.Count(buf[:n], []byte{'\n'}))
		g.Bytes += int64(n)
		g.To = now
		l.tally.put(p.s.service, g, &p.aside.slot)
		p.aside.cut.Store(true)
		p.aside.mu.Unlock()
	}
}

// emitAside tells what the standby took from a pipe.
func (l *Logger) emitAside(p *pipe) {
	p.aside.mu.Lock()
	defer p.aside.mu.Unlock()
	if p.aside.gap == nil {
		return
	}
	l.emit(KindGap, p.s.service, *p.aside.gap)
	l.tally.clear(&p.aside.slot)
	p.aside.gap = nil
}
