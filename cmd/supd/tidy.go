package main

import (
	"context"
	"sync"
	"time"

	"supd/journal/event"
	"supd/projector"
)

const (
	// tidyAfter is how long nothing is recorded before memory is given back.
	tidyAfter = 2 * time.Second
	// tidyRecords is how many records make that worth a collection.
	tidyRecords = 1000
)

// tidy calls rest when it has become quiet: once after the start, and after
// each storm. The runtime keeps what a launch of a thousand services needed
// until it has collected a few times, which in a process that sleeps is minutes
// later.
type tidy struct {
	rest func()

	mu     sync.Mutex
	timer  *time.Timer
	rested bool
	from   event.Seq // newest record when it rested last
}

// moved notes that records up to seq are durable. It never blocks for long.
func (t *tidy) moved(seq event.Seq) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rested && seq < t.from+tidyRecords {
		return
	}
	if t.timer != nil {
		t.timer.Stop()
	}
	t.timer = time.AfterFunc(tidyAfter, func() {
		t.mu.Lock()
		t.rested, t.from = true, seq
		t.mu.Unlock()
		t.rest()
	})
}

// rest gives back memory in all processes of supd: the engine alone knows when
// nothing happens.
func (e *engine) rest() {
	e.journal.Rest()
	giveBack()
	_ = e.loop.View(context.Background(), func(*projector.State, event.Seq) { e.tellLogger(true) })
}
