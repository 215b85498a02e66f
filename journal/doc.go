// Package journal keeps the records of supd: first in the run log, then in
// the stream JOURNAL.
//
// A record has two grades (R1). It is kept when it is in the run log, a
// preallocated file on tmpfs that survives the death of every process of
// ours and that a reboot erases together with the services it speaks of. It is
// durable when JetStream has synced it to disk. Append makes records kept and
// never waits for a disk (P5); one publisher moves them on in order, and a
// disk that fails or hangs only makes it late:
//
//	executor ── Append ──▶ run log ──▶ queue ──▶ publisher ──▶ JOURNAL
//	   ▲                                            │
//	   └────────────── Notify ◀──────────────────────┘
//
// The caller, one goroutine, works like this:
//
//	j, rec, err := journal.Open(ctx, cfg)     // lock, identity, recovery (R2, R5)
//	state := fold(rec.Base, rec.Records)      // Records is read once, to its end
//	if rec.Source != journal.FromRunLog {
//		err = j.Compact(baseOf(state))        // creates the run log of this boot
//	}
//	j.Start()                                 // JetStream opens in the background
//	for batch := range decisions {
//		err = j.Append(batch)                 // kept from here on
//		if j.NeedBase() { … Append(state.base records) }
//		if j.NeedCompact() { j.Compact(baseOf(state)) }
//	}
//	err = j.Close(ctx)                        // flushes to durable, up to the deadline
//
// Records are immutable bytes with a contiguous number and the hash of their
// predecessor (R6). Where a publish has no clear answer, nothing is guessed:
// the publisher reads the last stored record back and compares number and
// hash with its own queue. The same record means it is done, the predecessor
// means the same bytes are sent again, anything else is a fork: publishing
// stops and the engine goes on kept.
//
// The run log is bounded. When three quarters of it are not durable and cannot be
// freed, what is not durable is given up and replaced, in one write of a slot, by a
// journal.gap record and a base (R10; Undurable, Drop). Records are immutable, so
// nothing in the middle can be left out: the gap covers the whole tail and carries
// inside, byte for byte, what is worth keeping (commands, configurations, phases),
// up to a quarter of the run log, while lives of crashing services are counted by
// service and by how they ended. The next gap takes over what an older one that is
// not durable itself carries and counts. A batch that finds no room goes up in the
// gap as well; one that is large by itself is given a larger run log first.
//
// JetStream repairs damage in silence, so after an unclean stop the block files
// are checked before it opens them (package blocks). What is damaged is kept as
// evidence in STATE/damaged, what can be read stays, what the run log still has
// is put back, and Notify.Damaged names the rest, behind which a base should
// follow. After a reboot the state is read from the block files as well: a full
// or read-only disk keeps nobody from starting, and a hole is folded across.
//
// Calls into JetStream that can hang with the disk run on one guarded
// goroutine (R2): while a call hangs, no second one is started.
package journal
