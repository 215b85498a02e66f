package keeper

import (
	"syscall"
	"testing"
	"time"
)

// One wish to end may come as two signals; two wishes, other signals and what
// may be repeated with a meaning stay what they are.
func TestEchoedSignals(t *testing.T) {
	var last hostSignal
	for n, c := range []struct {
		sig  syscall.Signal
		at   time.Duration
		echo bool
	}{
		{syscall.SIGTERM, 0, false},
		{syscall.SIGTERM, 2 * time.Millisecond, true},
		{syscall.SIGTERM, 199 * time.Millisecond, true},
		{syscall.SIGTERM, 201 * time.Millisecond, false}, // a person who insists is not put off by echoes
		{syscall.SIGINT, 202 * time.Millisecond, false},
		{syscall.SIGHUP, 203 * time.Millisecond, false},
		{syscall.SIGHUP, 204 * time.Millisecond, false},
		{syscall.SIGINT, 205 * time.Millisecond, true},
		{syscall.SIGUSR1, 206 * time.Millisecond, false},
		{syscall.SIGUSR1, 207 * time.Millisecond, false},
	} {
		if got := last.echoed(int(c.sig), time.Unix(100, 0).Add(c.at)); got != c.echo {
			t.Errorf("%d: %s after %s: echo %t", n, c.sig, c.at, got)
		}
	}
}
