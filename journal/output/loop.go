package output

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// wait polls until a pipe is ready, a command came or a timer is due. With
// bytes waiting it then lets them gather: one splice per batch and pipe
// instead of one per line is what makes 100,000 lines a second cheap.
func (l *Logger) wait() error {
	l.standby.rest()
	n, err := unix.EpollWait(l.epoll, l.events, l.timeout())
	l.standby.work()
	if err == unix.EINTR {
		return nil
	}
	if err != nil {
		return err
	}
	woken, ready := false, false
	for _, e := range l.events[:n] {
		if int(e.Fd) == l.wakefd {
			var b [8]byte
			_, _ = unix.Read(l.wakefd, b[:])
			woken = true
			continue
		}
		if p := l.pipes[int(e.Fd)]; p != nil {
			if !p.ready {
				l.readies = append(l.readies, p)
			}
			p.ready, ready = true, true
		}
	}
	if n == len(l.events) {
		l.events = make([]unix.EpollEvent, 2*n)
	}
	if !ready {
		return nil
	}
	now := time.Now()
	if l.batchAt.IsZero() {
		l.batchAt = now.Add(l.pause)
	}
	if !woken {
		time.Sleep(l.batchAt.Sub(now))
	}
	return nil
}

// batch moves what the ready pipes hold once the batch is due, and adapts how
// long the next one gathers: less when a pipe was found half full, since a
// full pipe stops its service, more again when all were nearly empty.
func (l *Logger) batch() {
	if l.batchAt.IsZero() || time.Now().Before(l.batchAt) {
		return
	}
	l.batchAt = time.Time{}
	busy, calm, more := false, true, false
	for _, e := range l.readies {
		if !e.ready || l.pipes[e.fd] != e {
			continue // taken out meanwhile
		}
		e.ready = false
		moved := l.turn(e, turnBytes)
		more = more || moved >= turnBytes
		busy = busy || moved >= min(e.capacity, turnBytes)/2 // after turn has made it larger
		calm = calm && moved < e.capacity/4
	}
	clear(l.readies)
	l.readies = l.readies[:0]
	if more {
		l.batchAt = time.Now() // the next round at once: polling finds the rest
	}
	switch {
	case busy:
		l.pause /= 2
	case calm:
		l.pause = min(max(2*l.pause, time.Millisecond/4), l.opts.Tick)
	}
}

// timeout is how long the poll may last, in milliseconds.
func (l *Logger) timeout() int {
	d := l.sweepEach
	if l.uneasy {
		d = min(d, retryEvery/4)
	}
	return int(d / time.Millisecond)
}

// timers does what is due by time.
func (l *Logger) timers() {
	now := time.Now()
	if l.uneasy {
		l.retry(now)
	}
	if now.Sub(l.sweptAt) >= l.sweepEach {
		l.sweepEach = sweepEvery
		for _, s := range l.streams {
			l.sweepSooner(s.set)
		}
		l.sweep(now)
	}
	if l.totalDue {
		l.trimTotal()
	}
	if l.packDue {
		l.packNext(now)
	}
}

// sweepSooner has ages looked at as often as the settings of a stream need it.
func (l *Logger) sweepSooner(set Settings) {
	if set.MaxAge > 0 {
		l.sweepEach = min(l.sweepEach, max(set.MaxAge/10, 10*time.Millisecond))
	}
}

// retry gives those that wait another chance and tells gaps that are old enough.
// With nothing of the kind left there is nothing to look at until the next
// trouble: a thousand services in order cost no look each time one speaks.
func (l *Logger) retry(now time.Time) {
	l.uneasy = false
	for _, p := range l.pipes {
		t := p.s.trouble
		if p.waiting && (t == nil || !now.Before(t.retryAt)) {
			l.setWaiting(p, false)
		}
		if p.gap != nil && now.Sub(p.gapSince) >= gapEvery {
			l.flushGap(p)
		}
		l.uneasy = l.uneasy || p.waiting || p.gap != nil
	}
	for _, s := range l.streams {
		l.uneasy = l.uneasy || s.trouble != nil
	}
}

// drainAll moves what every pipe holds now; a service that goes on writing
// does not keep it here for ever.
func (l *Logger) drainAll() {
	for _, s := range l.streams {
		if s.trouble != nil {
			s.trouble.retryAt = time.Time{}
		}
	}
	for _, p := range l.sortedPipes() {
		for left := max(p.capacity, pipeMax); left > 0 && l.pipes[p.fd] == p; {
			moved := l.turn(p, min(left, turnBytes))
			if moved == 0 {
				break
			}
			left -= moved
		}
	}
}

// syncLater makes a closed segment durable without anyone waiting for it.
func (l *Logger) syncLater(service string, log, idx *os.File) {
	t := toSync{service, log, idx}
	if l.finishing {
		l.syncs <- t
		return
	}
	select {
	case l.syncs <- t:
	default:
		log.Close()
		idx.Close()
	}
}

func (l *Logger) syncLoop() {
	defer close(l.synced)
	for t := range l.syncs {
		for _, f := range []*os.File{t.log, t.idx} {
			if err := f.Sync(); err != nil {
				l.emit(KindPressed, t.service, Pressed{
					What: "disk", Limit: fmt.Sprintf("cannot sync output, it may be lost with the power: %v", err),
				})
			}
			f.Close()
		}
	}
}
