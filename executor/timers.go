package executor

import (
	"container/heap"
	"math"
)

const never = math.MaxInt64

// timers holds at most one deadline for each service. Entries that were
// replaced stay in the heap until they come up and are then passed over.
type timers struct {
	at   map[string]int64
	heap timerHeap
}

type timer struct {
	mono    int64
	service string
}

func newTimers() timers { return timers{at: map[string]int64{}} }

func (t *timers) set(service string, mono int64) {
	if t.at[service] == mono {
		return
	}
	t.at[service] = mono
	heap.Push(&t.heap, timer{mono, service})
}

func (t *timers) clear(service string) { delete(t.at, service) }

// due takes one service whose deadline has passed.
func (t *timers) due(now int64) (string, bool) {
	for t.next() <= now {
		e := heap.Pop(&t.heap).(timer)
		delete(t.at, e.service)
		return e.service, true
	}
	return "", false
}

// next is the earliest deadline, or never.
func (t *timers) next() int64 {
	for len(t.heap) > 0 {
		if e := t.heap[0]; t.at[e.service] == e.mono {
			return e.mono
		}
		heap.Pop(&t.heap)
	}
	return never
}

type timerHeap []timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].mono < h[j].mono }
func (h timerHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *timerHeap) Push(x any) { *h = append(*h, x.(timer)) }

// Pop implements heap.Interface.
func (h *timerHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	*h = old[:len(old)-1]
	return e
}
