// Package executor runs supd: it takes inputs in, has them decided, commits
// the records and carries out what they demand.
//
//	for input := range inputs {
//		policy.Decide(tx, input)      // records and effects
//		journal.Append(tx.Records)    // kept: it survives all of us
//		hold duties and replies       // until durable, or 20 ms are over (R1)
//		keeper.Open, .Signal, …       // only now
//	}
//
// Core is that loop without goroutines, clock and chance: one goroutine owns
// it, and everything outside is a port (Journal, Keeper, Launches, Clock). So
// it can be driven by a test step by step, with crashes at every step. Loop is
// the shell that feeds it from channels.
//
// The core never waits: a journal that hangs delays only what must be durable
// first, and that for 20 ms at most (P5). Duties are derived from the state
// after every step, so nothing queues behind a slow stop of another service
// (R8), and an engine that dies loses no duty.
package executor
