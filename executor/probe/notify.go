package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"supd/executor/policy"
)

// Bounds of what services may cause by what they say (P9).
const (
	maxRound  = 256                    // datagrams heard before deadlines are looked at
	tellEvery = 250 * time.Millisecond // between two changes told of one instance
	// strangersEvery is how often datagrams of strangers are logged, with their count.
	strangersEvery = time.Minute
)

func nativeUint32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }

// listener is the notify socket. The keeper holds it for its whole life, so what
// is sent while no engine lives waits in it (P8); senders wait when it is full.
type listener struct {
	conn *net.UnixConn
	raw  syscall.RawConn
	buf  [maxMessage + 1]byte
	oob  [512]byte

	strangers, untold uint64 // the notify goroutine's
	nextWord          time.Time
}

// newListener takes over the descriptor of a datagram socket that passes
// credentials.
func newListener(f *os.File) (*listener, error) {
	defer f.Close()
	c, err := net.FilePacketConn(f)
	if err != nil {
		return nil, fmt.Errorf("cannot use the notify socket: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("cannot use the notify socket: it is %s", c.LocalAddr().Network())
	}
	raw, err := u.SyscallConn()
	if err != nil {
		u.Close()
		return nil, fmt.Errorf("cannot use the notify socket: %w", err)
	}
	return &listener{conn: u, raw: raw}, nil
}

// datagram is one that waits in the socket. Its descriptors are copies.
type datagram struct {
	message
	sender
	fds []int
	err error
}

func (d *datagram) close() {
	for _, fd := range d.fds {
		unix.Close(fd)
	}
	if d.pidfd >= 0 {
		unix.Close(d.pidfd)
	}
}

// peek looks at the next datagram without waiting and leaves it in the socket;
// err is EAGAIN if there is none.
func (l *listener) peek(fd int) datagram {
	for {
		n, oobn, flags, _, err := unix.Recvmsg(fd, l.buf[:], l.oob[:], unix.MSG_DONTWAIT|unix.MSG_PEEK|unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return datagram{err: err, sender: sender{pidfd: -1}}
		}
		d := datagram{}
		d.sender, d.fds = readSender(l.oob[:oobn])
		if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) == 0 {
			d.message = parseMessage(l.buf[:n])
		}
		return d
	}
}

// discard takes the datagram out that was looked at. Descriptors in it are
// closed: for a barrier that is the answer, and it means that all before it was
// heard.
func (l *listener) discard() {
	_ = l.raw.Read(func(fd uintptr) bool {
		_, oobn, _, _, err := unix.Recvmsg(int(fd), l.buf[:1], l.oob[:], unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		if err == nil {
			d := datagram{}
			d.sender, d.fds = readSender(l.oob[:oobn])
			d.close()
		}
		return true
	})
}

// listen is the notify goroutine: it empties the socket, then judges deadlines,
// in this order always. So an engine that was itself held up, by the machine or
// by its own death, never blames a service whose sign of life lies in the socket.
//
// A datagram leaves the socket when what follows from it is decided and kept. An
// engine that dies in between leaves it to the next one, which may hear it a
// second time: to be ready twice is no news (P8).
func (p *Prober) listen(ctx context.Context) {
	l := p.socket
	stop := context.AfterFunc(ctx, func() { l.conn.Close() })
	defer stop()
	for {
		d, ok := p.await(p.judge(time.Now()))
		asked := p.takeAsked()
		if ok && len(asked) > 0 && d.err != nil {
			d = l.try() // it may have come between
		}
		for n := 0; ok && d.err == nil; n++ {
			p.hear(&d)
			d.close()
			l.discard()
			if n == maxRound {
				break
			}
			d = l.try()
		}
		if !ok || ctx.Err() != nil {
			return
		}
		if d.err == nil { // there is more
			p.askAgain(asked)
			continue
		}
		for _, heard := range asked {
			heard()
		}
	}
}

func (p *Prober) takeAsked() []func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked := p.asked
	p.asked = nil
	return asked
}

func (p *Prober) askAgain(asked []func()) {
	if len(asked) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(asked, p.asked...)
	p.poke()
}

// await waits for a datagram, for the time next, or for a poke.
func (p *Prober) await(next time.Time) (d datagram, ok bool) {
	l := p.socket
	p.mu.Lock()
	if p.poked {
		next = time.Unix(1, 0)
		p.poked = false
	}
	err := l.conn.SetReadDeadline(next)
	p.mu.Unlock()
	if err != nil {
		return d, false
	}
	d.pidfd = -1
	err = l.raw.Read(func(fd uintptr) bool {
		d = l.peek(int(fd))
		return d.err != unix.EAGAIN
	})
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return l.try(), true
	case err != nil:
		return d, false
	}
	return d, true
}

// try looks whether there is a datagram. An expired deadline must not hide it.
func (l *listener) try() datagram {
	d := datagram{err: unix.EAGAIN, sender: sender{pidfd: -1}}
	if l.conn.SetReadDeadline(time.Time{}) != nil {
		return d
	}
	_ = l.raw.Read(func(fd uintptr) bool { d = l.peek(int(fd)); return true })
	return d
}

// poke wakes the notify goroutine. The caller holds mu.
func (p *Prober) poke() {
	if p.socket == nil {
		return
	}
	p.poked = true
	_ = p.socket.conn.SetReadDeadline(time.Unix(1, 0))
}

// executedWithin bounds the wait for the keeper's word that a program runs which
// has spoken already: both come from the same exec.
const executedWithin = time.Second

// hear takes one datagram and has decided what follows from it.
func (p *Prober) hear(d *datagram) {
	w := p.belongs(d.sender)
	if w == nil {
		p.stranger(d)
		return
	}
	timeout := time.NewTimer(executedWithin)
	defer timeout.Stop()
	select {
	case <-w.running:
	case <-w.over:
	case <-timeout.C:
	case <-p.ctx.Done():
	}
	if d.hasMain {
		p.follow(w, d)
	}
	now := time.Now()
	p.mu.Lock()
	p.heard++
	w.take(d.message, now)
	inputs, _ := w.judge(now)
	p.mu.Unlock()
	for _, in := range inputs {
		p.cfg.Tell(in)
	}
}

// follow passes on who is to be the main process. A service that names one which
// may not be it is complained about once.
func (p *Prober) follow(w *watch, d *datagram) {
	p.mu.Lock()
	m := Main{Service: w.Service, Instance: w.Instance, PID: d.main, Sender: d.uid}
	p.mu.Unlock()
	refused := "it is no process id"
	switch {
	case p.cfg.Follow == nil:
		return
	case m.PID > 0:
		refused = p.cfg.Follow(m)
	}
	p.mu.Lock()
	first := refused != "" && !w.complained
	w.complained = w.complained || first
	p.mu.Unlock()
	if first {
		p.cfg.Log.Warn("a service named a main process that is not followed", "service", m.Service, "instance", m.Instance,
			"pid", m.PID, "reason", refused, "sender_pid", d.pid, "sender_uid", d.uid)
	}
}

// stranger counts a datagram of somebody who is no service of ours, or is one
// that was not asked to notify.
func (p *Prober) stranger(d *datagram) {
	l := p.socket
	l.strangers++
	l.untold++
	now := time.Now()
	if now.Before(l.nextWord) {
		return
	}
	p.cfg.Log.Warn("messages on the notify socket came from processes of no service that waits for them and were dropped",
		"messages", l.untold, "last_pid", d.pid, "last_uid", d.uid)
	l.untold, l.nextWord = 0, now.Add(strangersEvery)
	p.mu.Lock()
	p.foreign = l.strangers
	p.mu.Unlock()
}

// take notes what a service says of itself; judge tells it. The caller holds mu.
func (w *watch) take(m message, now time.Time) {
	if m.every > 0 && w.Watchdog > 0 {
		w.every = max(m.every, minWatchdog)
		w.lastSign = now
	}
	if m.alive {
		w.lastSign = now
	}
	if m.trigger {
		w.hung = true
	}
	// haproxy -Ws says RELOADING before its first READY; until then there is
	// nothing that could be reloaded.
	if m.reloading && (w.ready || w.toldReady) {
		w.reloading = true
	}
	if m.ready { // in one message with RELOADING it is the end of both
		w.ready, w.reloading = true, false
	}
	if m.extend > 0 {
		w.extend = m.extend
	}
	if m.hasStatus {
		w.status = m.status
	}
}

// judge tells what has changed and what is overdue, and returns when to look
// again; zero for never.
func (p *Prober) judge(now time.Time) (next time.Time) {
	var inputs []policy.Input
	soonest := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	p.mu.Lock()
	for _, w := range p.byInstance {
		in, again := w.judge(now)
		inputs = append(inputs, in...)
		if !again.IsZero() {
			soonest(again)
		}
	}
	p.mu.Unlock()
	for _, in := range inputs {
		p.cfg.Tell(in)
	}
	return next
}
