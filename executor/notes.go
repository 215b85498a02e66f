package executor

import (
	"fmt"
	"sync"
	"time"

	"supd/executor/policy"
)

// Rejections and denials come from outside, as many as somebody likes. They
// are counted by what they say and enter the journal at most once in
// noteEvery each, with their count (P4, P9).
const (
	noteEvery = time.Second
	maxNotes  = 64 // different ones between two flushes; the rest is counted as one
)

type noteLimit struct {
	mu      sync.Mutex
	pending map[string]policy.Input
	armed   bool
}

// Note hands the loop a rejection or a denial. It never blocks.
func (l *Loop) Note(in policy.Input) {
	n := &l.notes
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.pending == nil {
		n.pending = map[string]policy.Input{}
	}
	key := noteKey(in)
	if _, seen := n.pending[key]; !seen && len(n.pending) >= maxNotes {
		key = fmt.Sprintf("many %T", in) // a count is kept by its kind
	}
	n.pending[key] = counted(n.pending[key], in)
	if !n.armed {
		n.armed = true
		time.AfterFunc(noteEvery, l.flushNotes)
	}
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

func (l *Loop) flushNotes() {
	n := &l.notes
	n.mu.Lock()
	pending := n.pending
	n.pending, n.armed = nil, false
	n.mu.Unlock()
	for _, in := range pending {
		select {
		case l.calls <- func(c *Core) error { return c.Step(in) }:
		case <-l.done:
			return
		}
	}
}
