package main

import (
	"runtime/debug"
	"sync"
	"time"

	"supd/journal/event"
)

const (
	// tidyAfter is how long nothing is recorded before memory is given back.
	tidyAfter = 2 * time.Second
	// tidyRecords is how many records make that worth a collection.
	tidyRecords = 1000
)

// tidy gives memory back to the system after a storm: the runtime keeps what a
// launch of a thousand services needed until it has collected a few times,
// which in a process that sleeps is minutes later.
type tidy struct {
	mu    sync.Mutex
	timer *time.Timer
	from  event.Seq // newest record when memory was given back last
}

// moved notes that records up to seq are durable. It never blocks for long.
func (t *tidy) moved(seq event.Seq) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if seq < t.from+tidyRecords {
		return
	}
	if t.timer != nil {
		t.timer.Stop()
	}
	t.timer = time.AfterFunc(tidyAfter, func() {
		t.mu.Lock()
		t.from = seq
		t.mu.Unlock()
		debug.FreeOSMemory()
	})
}
