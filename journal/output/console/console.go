// Package console copies what services write to the screen, or to whoever
// reads supd's own output: the log of a container, a pipe.
//
// It reads the segments that the logger has written and stands in nobody's
// way: the logger tells it which service has news and goes on, and a reader
// that does not read holds back the one goroutine of the console and nothing
// else. What waits for such a reader is in the files already, so the console
// keeps no queue of bytes. If it falls too far behind, it passes over what is
// in between and says how many lines that were. The files have them all.
//
// It begins where the output is when it is made: what a logger that was killed
// had written and not shown is not shown by the next one.
package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"supd/journal/output"
)

// Options of a Console.
type Options struct {
	// Dir is the output folder.
	Dir string
	// Out is written to by one goroutine and may block; the end of it (an
	// error) ends the console.
	Out io.Writer
	// Stream is "stdout", "stderr" or empty for both.
	Stream string
	// Plain copies bytes as they are: no names, and no line is waited for.
	Plain bool
	// Notes takes what the console itself has to say; nil is Out.
	Notes io.Writer
	// Color gives each name a colour.
	Color bool
	// Backlog is how many bytes of one service may wait for a slow reader
	// before lines are passed over; 0 is 16 MiB.
	Backlog int64
	// Failed is told once why the console shows nothing any more.
	Failed func(error)
}

const (
	// defaultBacklog waits in files, not in memory: it bounds how old what is
	// shown may be.
	defaultBacklog = 16 << 20
	// pause gathers news of many services, so that reading files does not cost
	// more than writing them did. One program's reader waits less.
	pause      = 100 * time.Millisecond
	plainPause = 10 * time.Millisecond
	// chunkBytes bounds one turn of a service, and with it the memory.
	chunkBytes = 64 << 10
	// heldEvery is how often a service is looked at again whose last line has
	// not ended, or whose files could not be read.
	heldEvery = 250 * time.Millisecond
	// maxWidth bounds the column of the names.
	maxWidth = 32
)

// Console shows services' output. Its methods may be called from any
// goroutine and do not wait for the reader, Finish excepted.
type Console struct {
	opts    Options
	wake    chan struct{}
	hurry   chan struct{} // closed by Finish
	done    chan struct{}
	written atomic.Int64

	mu        sync.Mutex
	queue     []string        // services with news, oldest news first; guarded by mu
	queued    map[string]bool // guarded by mu
	hidden    map[string]bool // guarded by mu
	width     int             // of the longest name; guarded by mu
	finishing bool            // guarded by mu
	stopped   bool            // guarded by mu

	// The goroutine's own.
	places map[string]*place
	held   map[string]bool
	buf    bytes.Buffer
	open   string // whose line the last byte written has left open
	failed map[string]bool
}

// place is how far one service has been shown.
type place struct {
	cursor output.Cursor
	// partial is, for each stream, the instance whose line was given in part;
	// what it writes next goes on in that line.
	partial map[string]string
	// more tells that the last chunk was not all there was. Only then can there
	// be too much.
	more bool
}

// New makes a console and starts it. Services that have output already are
// shown from here on, others from their first byte.
func New(o Options) (*Console, error) {
	if o.Backlog <= 0 {
		o.Backlog = defaultBacklog
	}
	if o.Notes == nil {
		o.Notes = o.Out
	}
	c := &Console{
		opts: o, wake: make(chan struct{}, 1), hurry: make(chan struct{}), done: make(chan struct{}), queued: map[string]bool{},
		hidden: map[string]bool{}, places: map[string]*place{}, held: map[string]bool{}, failed: map[string]bool{},
	}
	entries, err := os.ReadDir(o.Dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot show output: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		chunk, err := output.Read(context.Background(), o.Dir, output.Query{Service: e.Name(), Stream: o.Stream})
		if err == nil { // else it is shown from where reading begins to work
			c.places[e.Name()] = &place{cursor: chunk.Next, partial: map[string]string{}}
		}
	}
	go c.run()
	return c, nil
}

// Show tells of a service, and whether it is to be shown. A service that
// nobody told of is shown.
func (c *Console) Show(service string, shown bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hidden[service] = !shown
	c.width = max(c.width, min(len(service), maxWidth))
}

// Moved tells that a service has more output in its files.
func (c *Console) Moved(service string) {
	c.mu.Lock()
	c.enqueue(service)
	c.mu.Unlock()
	c.poke()
}

func (c *Console) enqueue(service string) {
	if !c.queued[service] {
		c.queued[service] = true
		c.queue = append(c.queue, service)
	}
}

func (c *Console) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Finish shows what is in the files at this moment and ends the console. It
// gives up when the reader takes nothing for as long as patience, or when ctx
// ends; the error says how much was not shown. It may be called once.
func (c *Console) Finish(ctx context.Context, patience time.Duration) error {
	c.mu.Lock()
	c.finishing = true
	c.mu.Unlock()
	close(c.hurry)
	c.poke()
	tick := time.NewTicker(max(patience, time.Millisecond))
	defer tick.Stop()
	for last := c.written.Load(); ; {
		select {
		case <-c.done:
			return nil
		case <-ctx.Done():
		case <-tick.C:
			if now := c.written.Load(); now != last {
				last = now
				continue
			}
		}
		c.mu.Lock()
		c.stopped = true
		left := len(c.queue)
		c.mu.Unlock()
		c.poke()
		return fmt.Errorf("cannot show all output: its reader is too slow; %d services have more of it in %s", left+1, c.opts.Dir)
	}
}

// run shows one service after the other until the end.
func (c *Console) run() {
	defer close(c.done)
	for {
		service, last, ok := c.next()
		if !ok {
			return
		}
		if err := c.show(service, last); err != nil {
			if c.opts.Failed != nil {
				c.opts.Failed(fmt.Errorf("cannot show output any more: %w", err))
			}
			return
		}
	}
}

// next waits for a service with news. last tells that it is its last turn but
// for what it has still unread.
func (c *Console) next() (service string, last, ok bool) {
	for {
		c.mu.Lock()
		if c.finishing {
			c.enqueueHeld() // a line that has not ended by now will not
		}
		last = c.finishing
		stopped := c.stopped
		if len(c.queue) > 0 && !stopped {
			service, c.queue = c.queue[0], c.queue[1:]
			delete(c.queued, service)
			c.mu.Unlock()
			return service, last, true
		}
		c.mu.Unlock()
		if last || stopped {
			if !c.opts.Plain && !stopped {
				c.endLine()
				_ = c.flush()
			}
			return "", true, false
		}
		var again <-chan time.Time
		if len(c.held) > 0 {
			again = time.After(heldEvery)
		}
		select {
		case <-c.wake:
			c.gather()
		case <-again:
			c.mu.Lock()
			c.enqueueHeld()
			c.mu.Unlock()
		}
	}
}

// gather lets news come together, unless the end is near.
func (c *Console) gather() {
	d := pause
	if c.opts.Plain {
		d = plainPause
	}
	select {
	case <-time.After(d):
	case <-c.hurry:
	}
}

func (c *Console) enqueueHeld() {
	names := make([]string, 0, len(c.held))
	for name := range c.held {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		c.enqueue(name)
	}
	clear(c.held)
}
