package keeper

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// poller is the loop's epoll and its mailbox. All methods but post belong to the
// loop's goroutine.
type poller struct {
	epoll   int
	bell    int // eventfd that the mailbox rings
	watches map[int32]*watch
	serial  int32

	mu   sync.Mutex
	mail []func() // guarded by mu
}

// watch is one descriptor's handler. The serial tells it from an earlier watch
// of the same number whose event is still in the batch.
type watch struct {
	serial int32
	fn     func(events uint32)
}

func newPoller() (*poller, error) {
	p := &poller{watches: map[int32]*watch{}}
	var err error
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("cannot create epoll: %w", err)
	}
	if p.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("cannot create eventfd: %w", err)
	}
	return p, p.watch(p.bell, unix.EPOLLIN, func(uint32) {
		var b [8]byte
		_, _ = unix.Read(p.bell, b[:])
	})
}

// watch calls fn while events are pending on fd, until unwatch.
func (p *poller) watch(fd int, events uint32, fn func(uint32)) error {
	p.serial++
	p.watches[int32(fd)] = &watch{p.serial, fn}
	e := unix.EpollEvent{Events: events, Fd: int32(fd), Pad: p.serial}
	if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &e); err != nil {
		delete(p.watches, int32(fd))
		return fmt.Errorf("cannot watch descriptor: %w", err)
	}
	return nil
}

// change sets which events are waited for.
func (p *poller) change(fd int, events uint32) {
	if w := p.watches[int32(fd)]; w != nil {
		e := unix.EpollEvent{Events: events, Fd: int32(fd), Pad: w.serial}
		_ = unix.EpollCtl(p.epoll, unix.EPOLL_CTL_MOD, fd, &e)
	}
}

// drop stops watching and closes *fd, and forgets it; nothing if it is not open.
func (p *poller) drop(fd *int) {
	if *fd < 0 {
		return
	}
	p.unwatch(*fd)
	closeAll(fd)
}

// unwatch stops watching. It is not left to close: another process may hold the
// same open file.
func (p *poller) unwatch(fd int) {
	if p.watches[int32(fd)] != nil {
		delete(p.watches, int32(fd))
		_ = unix.EpollCtl(p.epoll, unix.EPOLL_CTL_DEL, fd, nil)
	}
}

// post has the loop call fn soon. It may be called from any goroutine.
func (p *poller) post(fn func()) {
	p.mu.Lock()
	p.mail = append(p.mail, fn)
	first := len(p.mail) == 1
	p.mu.Unlock()
	if first {
		_, _ = unix.Write(p.bell, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
}

// wait sleeps until something happens and handles it.
func (p *poller) wait() {
	var events [128]unix.EpollEvent
	n, err := unix.EpollWait(p.epoll, events[:], -1)
	if err != nil && err != unix.EINTR {
		panic(fmt.Sprintf("internal error: epoll: %v", err))
	}
	for i := range max(n, 0) {
		e := &events[i]
		if w := p.watches[e.Fd]; w != nil && w.serial == e.Pad {
			w.fn(e.Events)
		}
	}
	p.read()
}

// read handles what is in the mailbox.
func (p *poller) read() {
	p.mu.Lock()
	mail := p.mail
	p.mail = nil
	p.mu.Unlock()
	for _, fn := range mail {
		fn()
	}
}
