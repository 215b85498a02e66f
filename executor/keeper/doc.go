// Package keeper is the process whose pid the user started. It forks, reaps,
// kills, holds pipes, and restarts engine and logger; it decides nothing.
//
// # Slots
//
// Everything the keeper knows about an instance is in its slot, from the Park
// that named it to the Forget that released it. The engine sends verbs; the
// keeper changes slots and sends changed slots back. A slot that could not be
// sent because the engine's socket was full, or because there was no engine, is
// sent later as it is then; a new engine is first sent all of them. So an engine
// may die at any instruction and miss nothing (P8), and the keeper never waits
// for it (P5). Client turns changes of slots back into events, in this order for
// each instance:
//
//	Parked < (Execed | ExecFailed) < Exited
//	ParkFailed, or Dropped, alone
//
// # One owner
//
// One goroutine, the loop, owns all state and sleeps in epoll. What can block
// for longer has its own goroutine and posts its result to the loop: two
// spawners fork, one locked thread reaps, a few workers end trees. The keeper
// only ever executes its own stub (folder stub): a user's path that hung in exec
// would stop the whole Go process at the next garbage collection.
//
// # Precedence
//
// Loop, reaper and spawners are real-time where that is permitted, on threads of
// their own that wait in the kernel: whatever busy services do, a death is taken
// and the next stub forked at once. Stubs inherit it and give it up at their
// gates, so no service ever has it.
//
// # The gate
//
// A parked stub is not an instance (R3). The keeper alone holds the write end of
// its gate; if the keeper dies, the stub sees the end of file and exits without
// exec. Open marks the slot "opening", then writes the byte, and does both at
// most once.
//
// # Death
//
// Proof of death is waitid for children and the pidfd for adopted processes,
// never what /proc says (R4). Reaping a pid and signalling a process group share
// a lock, so a group is only ever signalled while its number is pinned.
//
// # Lock order
//
// children.reaping before children.forks before children.mu; nothing is locked under children.mu. The
// mailbox's lock is a leaf.
package keeper
