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

// The engine is not told of an echo. A machine under load may take too long
// between the two signals, so one of some tries must show it. Of signals that
// come at once the one with the smaller number is told first.
func TestEchoIsNotTold(t *testing.T) {
	s := newStage(t, "none")
	next := func() HostSignal {
		for {
			if h, ok := s.next().(HostSignal); ok {
				return h
			}
		}
	}
	for range 5 {
		must(t, syscall.Kill(s.keeper.Process.Pid, syscall.SIGINT))
		next()
		must(t, syscall.Kill(s.keeper.Process.Pid, syscall.SIGINT))
		must(t, syscall.Kill(s.keeper.Process.Pid, syscall.SIGTERM))
		if h := next(); h.Signal == int(syscall.SIGTERM) {
			return
		}
		next() // TERM, behind the INT that came too late to be an echo
		time.Sleep(echoWithin)
	}
	t.Error("each of two signals in a row was told")
}
