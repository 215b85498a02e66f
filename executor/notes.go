package executor

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"supd/executor/policy"
)

// Rejections and denials come from outside, as many as somebody likes. They
// are counted by what they say and enter the journal at most once in
// noteEvery each, with their count (P4, P9).
const (
	noteEvery = time.Second
	maxNotes  = 64 // different ones between two tellings; the rest is counted as one
)

type noteLimit struct {
	mu      sync.Mutex
	pending map[string]policy.Input // guarded by mu
	due     time.Time               // guarded by mu: when the oldest pending one is told
}

// Note hands the loop a rejection or a denial. It never blocks. What comes
// after the last record of an orderly end is not recorded.
func (l *Loop) Note(in policy.Input) {
	if !l.notes.add(in) {
		return
	}
	select {
	case l.noted <- struct{}{}: // the loop sets its timer
	default:
	}
}

// add counts a note, and tells whether it is the first one pending.
func (n *noteLimit) add(in policy.Input) (first bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if first = n.pending == nil; first {
		n.pending, n.due = map[string]policy.Input{}, time.Now().Add(noteEvery)
	}
	key := noteKey(in)
	if _, seen := n.pending[key]; !seen && len(n.pending) >= maxNotes {
		key = fmt.Sprintf("many %T", in) // a count is kept by its kind
	}
	n.pending[key] = counted(n.pending[key], in)
	return first
}

// wait is how long until notes are due; ok is false if there are none.
func (n *noteLimit) wait() (wait time.Duration, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return max(0, time.Until(n.due)), n.pending != nil
}

// take removes the pending notes, all together, if they are due or wanted now.
func (n *noteLimit) take(now bool) map[string]policy.Input {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.pending == nil || !now && time.Now().Before(n.due) {
		return nil
	}
	taken := n.pending
	n.pending = nil
	return taken
}

func noteKey(in policy.Input) string {
	switch in := in.(type) {
	case policy.Rejected:
		return fmt.Sprintf("rejected %s %s", in.Actor, in.Reason)
	case policy.Denied:
		return fmt.Sprintf("denied %s %s", in.Actor, in.Subject)
	}
	return "other"
}

// counted folds a note into the one before it.
func counted(before, in policy.Input) policy.Input {
	switch in := in.(type) {
	case policy.Rejected:
		if b, ok := before.(policy.Rejected); ok {
			in.Count += b.Count
		}
		return in
	case policy.Denied:
		if b, ok := before.(policy.Denied); ok {
			in.Count += b.Count
		}
		return in
	}
	return in
}

// tellNotes decides the pending notes, on the loop's goroutine. An orderly end
// does not wait for them to be due: after its last record it is too late (P4).
func (l *Loop) tellNotes(now bool) error {
	pending := l.notes.take(now)
	for _, key := range slices.Sorted(maps.Keys(pending)) {
		if err := l.core.Step(pending[key]); err != nil {
			return err
		}
	}
	return nil
}
