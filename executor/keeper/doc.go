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
//	Parked < (Execed | ExecFailed) < Followed … < Exited
//	ParkFailed, or Dropped, alone
//
// # One owner
//
// One goroutine, the loop, owns all state and sleeps in epoll. What can block
// for longer has its own goroutine and posts its result to the loop: two
// spawners have stubs forked, one locked thread reaps, a few workers end trees. The
// keeper only ever executes its own stub (folder stub): a user's path that hung in
// exec would stop the whole Go process at the next garbage collection.
//
// # Templates
//
// Even the stub is executed only once for each spawner, as a template that forks
// itself on request: a process of one page and four descriptors, where a fork of the
// keeper copies and closes four descriptors for each service that runs. What it forks
// is a child of the keeper (CLONE_PARENT), in its own cgroup from the first
// instruction. A template that dies or does not answer is replaced; a stub that it
// forked unheard finds its gate closed (R3). All end with the keeper.
//
// # Precedence
//
// Loop, reaper, spawners and templates are real-time where that is permitted, on threads
// of their own that wait in the kernel: whatever busy services do, a death is taken
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
// How a process ended is kept by the kernel as long as anybody holds its pidfd:
// engines hold copies, and pins hold one beyond the death of all of us, by a mount
// in a namespace of its own. A service is pinned some milliseconds after its exec,
// by a thread that nothing waits for, and unpinned when its end is on record.
//
// # Another main process
//
// A service may say that another process of its tree is its main one from now on
// (MAINPID of sd_notify): a web server that has executed its next version, a
// program that went into the background. It stays the same instance and the same
// run. The engine knows who said it and asks by Follow; the keeper alone judges
// the process named: it lives, it is in the instance's cgroup (without one: it
// descends from the main process, is in its session or bears its tag), it is the
// user's who named it unless that is root, and it is neither ours nor another
// main process. Who names it must be root, the service's user or the main
// process's. Everything is read between the opening of a pidfd and a look whether
// it still lives, so that a number given anew is never followed (R4).
//
// Then the slot has another pid, start time and pidfd; signals to the main process,
// and its group, mean that one. The old main process is one of the tree: its end
// is nobody's exit, whatever the reaper may have posted before. The end of the new
// one is told by its pidfd; where it became our child, as orphans do, the reaper
// knows its status, else the kernel (Linux 6.15), else it is unknown.
//
// A program that goes into the background names its child and ends at once, so
// the end may be seen before the word is heard. An engine therefore hears all that
// lies in the notify socket before it decides on an exit that left others; until it
// has decided, Follow makes the slot live again. Whoever says it later is too late:
// the instance has ended, and what it left is ended with it. The word leaves the
// notify socket when instance.adopted is kept, so an engine that dies meanwhile
// leaves it to the next one; a keeper that dies after it has switched leaves the new
// pidfd with the engine, and the record has pid and start time for those who start
// when all of supd is dead.
//
// # Lock order
//
// children.reaping before children.forks before children.mu; nothing is locked under children.mu. The
// mailbox's lock is a leaf.
package keeper
