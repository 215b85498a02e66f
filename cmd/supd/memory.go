package main

import (
	"os"
	"runtime/debug"
)

// How much memory, in bytes, the collector lets engine and logger take before it
// works harder. Both usually have a tenth of it; it is no hard limit, for an
// engine that needs more must not die of it.
const (
	engineMemory = 512 << 20
	loggerMemory = 128 << 20
)

// limitMemory sets the limit unless the environment has set one (GOMEMLIMIT).
func limitMemory(bytes int64) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(bytes)
	}
}
