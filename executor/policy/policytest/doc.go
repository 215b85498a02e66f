// Package policytest is a model of the world that supd acts on: processes, and
// the keeper that holds them. It carries out duties, tells what came of them as
// policy inputs, and notes whatever breaks a promise that only the world can
// see: two live instances (P1), a signal sent twice (R4).
//
// The model has no clock, no chance and no goroutine of its own. A test owns
// all three, so that one seed replays everything.
package policytest
