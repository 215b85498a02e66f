package journal

import (
	"errors"
	"fmt"

	"supd/journal/event"
)

var (
	// ErrLocked is returned by Open when another process holds the state
	// folder (R5). The message names the holder.
	ErrLocked = errors.New("state folder is in use")

	// ErrMoved is returned by Open when the state folder is not where it was
	// created: it was copied or moved, and the original may be running (R5).
	ErrMoved = errors.New("state folder was copied or moved")

	// ErrOtherBoot is returned when a run log belongs to another boot, pid
	// namespace or node: its processes are gone, and so is its meaning.
	ErrOtherBoot = errors.New("run log of another boot or node")

	// ErrNoRunLog is returned when there is no run log at the place.
	ErrNoRunLog = errors.New("no run log")

	// ErrRunLogFull is returned by Append and Compact when what is not yet
	// durable leaves no room. Nothing was written; see Journal.Undurable (R10).
	ErrRunLogFull = errors.New("run log is full")

	// ErrFork indicates that JOURNAL holds a record that this engine did not
	// write, or lost one that was durable. Publishing has stopped (R6).
	ErrFork = errors.New("journal has forked")

	// ErrHanging is returned while an earlier call into the store has not come
	// back: the disk hangs and no second call is risked (R2).
	ErrHanging = errors.New("an earlier call into the store still hangs")

	// ErrChain matches every ChainError.
	ErrChain = errors.New("hash chain is broken")

	errLost = errors.New("JOURNAL ends before the newest durable record")

	errNoBase = errors.New("no run log yet, call Compact with a base first")
)

// ChainError names the first record that does not continue the chain (P11).
type ChainError struct {
	Seq  event.Seq // the first bad one, or the first missing one
	What string
}

// Error says where the chain breaks and how.
func (e *ChainError) Error() string {
	return fmt.Sprintf("hash chain is broken at record %d: %s", e.Seq, e.What)
}

// Is makes errors.Is(err, ErrChain) true.
func (e *ChainError) Is(target error) bool { return target == ErrChain }
