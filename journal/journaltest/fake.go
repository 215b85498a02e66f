package journaltest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"supd/journal"
	"supd/journal/event"
)

// Fault is what goes wrong with one call.
type Fault int

// The faults of Publish, then those of Last.
const (
	None       Fault = iota
	Refuse           // error at once, nothing stored
	LostAck          // all stored, but the caller hears nothing until its deadline
	Partial          // the first half stored, then an error
	Hang             // nothing stored, nothing heard
	LateCommit       // nothing heard; stored after the caller has read the end once
	Duplicate        // stored, acknowledged as an error about a wrong last sequence
	Full             // error, and so for every publish until Heal has been called
	Foreign          // another writer's record is stored instead
	Rollback         // the newest durable record is lost, then an error
	LastFails        // error of the next Last, nothing stored
	LastHangs        // the next Last hears nothing until its deadline, nothing stored
)

// Harmless lists the faults after which everything must still become durable.
func Harmless() []Fault {
	return []Fault{Refuse, LostAck, Partial, Hang, LateCommit, Duplicate, Full, LastFails, LastHangs}
}

// Fake is a stream in memory. Its methods may be called by any goroutine.
type Fake struct {
	mu       sync.Mutex
	stored   []event.Encoded
	faults   map[int]Fault // by number of the publish, from 0
	calls    int
	full     bool
	healable bool
	lastBad  Fault
	late     []event.Encoded
	heals    int
}

// NewFake returns an empty stream that answers at once.
func NewFake() *Fake { return &Fake{faults: map[int]Fault{}, healable: true} }

// Inject makes the n-th publish, from 0, fail.
func (f *Fake) Inject(n int, fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[n] = fault
}

// SetHealable says whether Heal mends a full store.
func (f *Fake) SetHealable(ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.healable = ok
}

// Stored returns all records in order.
func (f *Fake) Stored() []event.Encoded {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]event.Encoded(nil), f.stored...)
}

// Calls is how often Publish was called.
func (f *Fake) Calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

var (
	errWrongLast = errors.New("wrong last sequence")
	errInjected  = errors.New("injected fault")
	errFull      = errors.New("no space left on device")
)

func (f *Fake) tail() journal.Tail {
	t := journal.Tail{Position: uint64(len(f.stored)), Link: journal.Origin()}
	if n := len(f.stored); n > 0 {
		t.Link = journal.LinkOf(f.stored[n-1])
	}
	return t
}

// Last implements journal.Stream.
func (f *Fake) Last(ctx context.Context) (journal.Tail, error) {
	f.mu.Lock()
	bad := f.lastBad
	f.lastBad = None
	tail := f.tail()
	// What was on its way arrives behind the caller's back.
	f.stored = append(f.stored, f.late...)
	f.late = nil
	f.mu.Unlock()
	switch bad {
	case LastFails:
		return journal.Tail{}, fmt.Errorf("cannot read end of journal: %w", errInjected)
	case LastHangs:
		<-ctx.Done()
		return journal.Tail{}, ctx.Err()
	}
	return tail, ctx.Err()
}

// Heal implements journal.Stream.
func (f *Fake) Heal(ctx context.Context) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heals++
	if !f.full {
		return "", ctx.Err()
	}
	if f.healable {
		f.full = false
	}
	return errFull.Error(), ctx.Err()
}

// Publish implements journal.Stream.
func (f *Fake) Publish(ctx context.Context, after journal.Tail, batch []event.Encoded) (journal.Tail, error) {
	tail, silent, err := f.publish(after, batch)
	if silent {
		<-ctx.Done()
		return after, ctx.Err()
	}
	if err == nil {
		err = ctx.Err()
	}
	return tail, err
}

// publish does one publish under the lock; silent means that the caller hears
// nothing before its deadline.
func (f *Fake) publish(after journal.Tail, batch []event.Encoded) (tail journal.Tail, silent bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fault := f.faults[f.calls]
	f.calls++
	if f.full || fault == Full {
		f.full = true
		return after, false, errFull
	}
	if after.Position != uint64(len(f.stored)) {
		return after, false, errWrongLast
	}
	switch fault {
	case Refuse:
		return after, false, errInjected
	case Hang:
		return after, true, nil
	case LateCommit:
		f.late = batch
		return after, true, nil
	case Partial:
		f.stored = append(f.stored, batch[:len(batch)/2]...)
		return after, false, errInjected
	case Foreign:
		other := Chain{Link: after.Link}
		f.stored = append(f.stored, other.Add(event.AccessDeniedData{Subject: "another writer", Count: 1}))
		return after, false, errWrongLast
	case Rollback:
		f.stored = f.stored[:max(0, len(f.stored)-1)]
		return after, false, errInjected
	case LastFails, LastHangs:
		f.lastBad = fault
		return after, false, errInjected
	}
	f.stored = append(f.stored, batch...)
	switch fault {
	case LostAck:
		return after, true, nil
	case Duplicate:
		return after, false, errWrongLast
	}
	return f.tail(), false, nil
}
