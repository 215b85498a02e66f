package rig_test

import (
	"testing"

	"supd/cmd/internal/rig"
)

// TestShutdownWithoutLogger: the logger was killed so often that the keeper
// waits before it starts the next one, and supd is told to end just then. What
// services have written is still in their pipes, and must be kept (P3).
func TestShutdownWithoutLogger(t *testing.T) {
	t.Parallel()
	r := rig.New(t, `
[service.fast]
command = ["ACTOR", "-dir", "DIR", "-stdout", "2000", "-stderr", "500"]

[service.slow]
command = ["ACTOR", "-dir", "DIR", "-stdout", "50"]
`)
	r.Run()
	stop := r.Watch()
	for range 6 {
		var logger int
		r.Until("a logger is there", func() bool { logger = r.Logger(); return logger != 0 })
		r.Kill(logger)
	}
	r.Shutdown()
	c := newCheck(t, r)
	c.all(stop)
}
