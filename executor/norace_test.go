//go:build !race

package executor

// simDefault is how many seeds every run of the tests takes.
const simDefault = 2000
