//go:build race

package executor

// simDefault is how many seeds every run of the tests takes; the race detector
// makes each ten times as slow.
const simDefault = 200
