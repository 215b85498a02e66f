package main

import (
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// health is how the journal fares, for people who ask: it must not say ok while
// records cannot become durable, nor while the next one could not. Its methods
// may be called from any goroutine.
type health struct {
	mu     sync.Mutex
	opened bool   // something became durable
	sick   string // what the journal said last; empty: nothing is wrong
	onSick func() // called once when something is wrong

	looking chan struct{} // closed when the look at the disk has ended; nil: none is under way
	full    string        // what the last one saw; empty: there is room
}

// Texts of a journal's health.
const (
	healthOK      = "ok"
	healthOpening = "opening"
)

func (h *health) open() {
	h.mu.Lock()
	h.opened = true
	h.mu.Unlock()
}

// say notes what is wrong; empty: nothing is any more.
func (h *health) say(sick string) {
	h.mu.Lock()
	h.sick, h.opened = sick, h.opened || sick == ""
	h.tell()
	h.mu.Unlock()
}

// whenSick has f called once, as soon as something is or becomes wrong, until
// stop is called. f must not block.
func (h *health) whenSick(f func()) (stop func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.onSick = f
	h.tell()
	return func() {
		h.mu.Lock()
		h.onSick = nil
		h.mu.Unlock()
	}
}

// tell is called with mu held.
func (h *health) tell() {
	if h.sick != "" && h.onSick != nil {
		h.onSick()
		h.onSick = nil
	}
}

// text is the health by what is known now: what the journal says, then whether
// records wait that are only kept, then whether there is room for another.
func (h *health) text(degraded bool, kept int, folder string) string {
	full := h.look(folder)
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.sick != "":
		return h.sick
	case full != "":
		return "degraded: " + full
	case !h.opened:
		return healthOpening
	case degraded && kept > 0:
		return fmt.Sprintf("degraded: %d records are kept and not durable yet", kept)
	}
	return healthOK
}

// leastRoom is the space below which a disk counts as full, in bytes: JetStream
// needs some for its index and for a block, beside the next record.
const leastRoom = 256 << 10

// lookWait bounds how long an answer waits for the disk to tell its space.
const lookWait = 100 * time.Millisecond

// look says that a folder's disk is full; empty if it is not. It asks on a
// goroutine of its own, one at a time, since a disk may hang (P5); the answer is
// then the last one.
func (h *health) look(folder string) string {
	h.mu.Lock()
	done := h.looking
	if done == nil {
		done = make(chan struct{})
		h.looking = done
		go func() {
			text := fullText(folder)
			h.mu.Lock()
			h.full, h.looking = text, nil
			h.mu.Unlock()
			close(done)
		}()
	}
	h.mu.Unlock()
	select {
	case <-done:
	case <-time.After(lookWait):
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.full
}

func fullText(folder string) string {
	var fs unix.Statfs_t
	if err := unix.Statfs(folder, &fs); err != nil {
		return fmt.Sprintf("cannot ask for the space of %s: %v", folder, err)
	}
	blocks := fs.Bavail
	if os.Geteuid() == 0 {
		blocks = fs.Bfree // some are reserved for root
	}
	if room := blocks * uint64(fs.Bsize); fs.Blocks > 0 && room < leastRoom {
		return fmt.Sprintf("the disk of %s is full, %d bytes are free", folder, room)
	}
	return ""
}
