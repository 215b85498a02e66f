package executor

import (
	"errors"
	"syscall"

	"supd/executor/keeper"
	"supd/executor/policy"
	"supd/executor/probe"
	"supd/journal/event"
)

// Journal is where the core commits. No call waits for a disk.
type Journal interface {
	// Append keeps a batch: when it returns, the records survive the death of
	// every process of ours. They become durable later, in order. With ErrFull
	// nothing was kept.
	Append(batch []event.Encoded) error
	// Pressure tells what the journal needs from the state.
	Pressure() Pressure
	// Compact gives the run log a new start: the canonical state after the
	// last appended record.
	Compact(state []byte, seq event.Seq, hash string) error
	// Undurable says what Drop would give up, with more, a batch that was refused;
	// Last is 0 if nothing would. State is the size of the state for Drop, in bytes.
	Undurable(state int64, more ...event.Encoded) event.JournalGapData
	// Drop replaces all records that are not durable by the batch, which begins
	// with a journal.gap made of Undurable, and starts the run log at the
	// state after it (R10).
	Drop(batch []event.Encoded, state []byte, seq event.Seq, hash string) error
	// NoteInHand names the input about to be decided, ClearInHand ends that
	// (R12).
	NoteInHand(id string)
	ClearInHand()
}

// ErrFull is returned by Journal.Append for a batch that finds no room.
var ErrFull = errors.New("the run log has no room for it")

// Pressure is what a journal needs.
type Pressure struct {
	Base    bool // a base record is due (R9)
	Compact bool // the run log is half full
	Full    bool // three quarters of the run log cannot be freed: Drop (R10)
}

// Keeper is what the core asks of the keeper. All verbs may be repeated; the
// keeper acts once per instance or operation (R3, R4). *keeper.Client is one.
type Keeper interface {
	Park(keeper.Park) error
	Open(instance string) error
	Drop(instance string) error
	Forget(instance string) error
	Adopt(keeper.Adopt) error
	Signal(instance, operation string, sig syscall.Signal, scope keeper.Scope) error
	Sweep(instance, operation, cgroup string) error
	// Grant lets a user's processes write to the notify socket, before what is
	// parked after it.
	Grant(uid uint32) error
}

// Prober finds out how services are and tells it as inputs. No call waits.
// *probe.Prober is one.
type Prober interface {
	// Watch sets what is to be found out about a service; nil is nothing.
	Watch(service string, t *probe.Target)
	// Ran answers a run of a probe's command.
	Ran(id string, r probe.Result)
}

// Launches holds what the stub needs to start a service, by the digest of its
// specification (R11).
type Launches interface {
	// Launch returns everything but the instance's own environment.
	Launch(service, digest string) (event.Launch, error)
}

// Clock draws time, chance and ids, once for each input.
type Clock interface {
	Now() policy.Now
	Rand() float64 // in [0, 1)
	ID() string    // UUIDv7, increasing
}
