package main

import (
	"bytes"
	"io"
	"log/slog"
	"sync"
	"time"
)

const (
	// logQueueBytes bounds what waits for a reader of our log that is slow (P9).
	logQueueBytes = 256 << 10
	// logFlush is how long a process that ends waits for the rest of its log.
	logFlush = time.Second
)

// logQueue writes log lines from a goroutine of its own: supd's stderr may be a
// pipe that nobody reads or a file on a disk that hangs, and nothing waits for
// either (P5). Lines that find no room are counted, and the count is logged when
// there is room again (P4). The goroutine is there while there are lines.
type logQueue struct {
	to io.Writer

	mu    sync.Mutex
	lines [][]byte      // guarded by mu, like what follows
	bytes int           // in lines
	lost  int           // lines, since the last count that was logged
	log   *slog.Logger  // tells of lost lines
	idle  chan struct{} // closed when the goroutine ends; nil while there is none
}

// Write implements io.Writer for handlers that write a line at a time. It keeps
// a copy, returns at once and never fails.
func (q *logQueue) Write(line []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.bytes+len(line) > logQueueBytes {
		q.lost++
		return len(line), nil
	}
	q.lines = append(q.lines, bytes.Clone(line))
	q.bytes += len(line)
	if q.idle == nil {
		q.idle = make(chan struct{})
		go q.run(q.idle)
	}
	return len(line), nil
}

// run writes until there is nothing more.
func (q *logQueue) run(idle chan struct{}) {
	defer close(idle)
	for {
		line, lost, log := q.next()
		switch {
		case line != nil:
			_, _ = q.to.Write(line)
		case lost > 0 && log != nil:
			log.Warn("supd's log was not read in time and has a gap", "lines", lost)
		default:
			return
		}
	}
}

// next is a line to write, or else how many were lost; the goroutine ends when
// there is neither.
func (q *logQueue) next() (line []byte, lost int, log *slog.Logger) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.lines) > 0 {
		line, q.lines = q.lines[0], q.lines[1:]
		q.bytes -= len(line)
		return line, 0, nil
	}
	q.lines = nil
	if lost, q.lost = q.lost, 0; lost > 0 && q.log != nil {
		return nil, lost, q.log
	}
	q.idle = nil
	return nil, 0, nil
}

// flush waits until all is written, for as long as limit.
func (q *logQueue) flush(limit time.Duration) {
	over := time.NewTimer(limit)
	defer over.Stop()
	for {
		q.mu.Lock()
		idle := q.idle
		q.mu.Unlock()
		if idle == nil {
			return
		}
		select {
		case <-idle:
		case <-over.C:
			return
		}
	}
}
