package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

// slowReader takes lines only once it is let.
type slowReader struct {
	let chan struct{}
	mu  sync.Mutex
	got bytes.Buffer
}

func (r *slowReader) Write(b []byte) (int, error) {
	<-r.let
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got.Write(b)
}

// TestLogWaitsForNobody: who logs goes on while nobody reads; what found no room
// is counted when there is room again, and the rest is there in order.
func TestLogWaitsForNobody(t *testing.T) {
	r := &slowReader{let: make(chan struct{})}
	q := &logQueue{to: r}
	log := slog.New(newLogHandler(q, false))
	q.log = log
	const lines = 10_000
	word := strings.Repeat("w", 100)
	for n := range lines {
		log.Error("said", "n", n, "word", word)
	}
	q.mu.Lock()
	waiting, lost := len(q.lines), q.lost
	if q.bytes > logQueueBytes {
		t.Errorf("%d bytes wait", q.bytes)
	}
	q.mu.Unlock()
	if lost == 0 || waiting == 0 {
		t.Fatalf("%d lines wait, %d are lost", waiting, lost)
	}
	began := time.Now()
	q.flush(time.Millisecond) // gives up
	if time.Since(began) < time.Millisecond {
		t.Error("flush did not wait")
	}
	close(r.let)
	q.flush(time.Minute)
	got := strings.Split(strings.TrimSuffix(r.got.String(), "\n"), "\n")
	for n, line := range got[:len(got)-1] {
		if !strings.Contains(line, fmt.Sprintf(`"n":%d,`, n)) {
			t.Fatalf("line %d: %s", n, line)
		}
	}
	if last := got[len(got)-1]; len(got)-1+lost != lines || !strings.Contains(last, fmt.Sprintf(`"lines":%d`, lost)) {
		t.Errorf("%d lines came, %d were lost, and the last says %s", len(got)-1, lost, last)
	}
}
