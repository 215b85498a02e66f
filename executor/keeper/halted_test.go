package keeper

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A logger or an engine that somebody stops does not stand still for ever, and
// what it was told its successor is told.
func TestHalted(t *testing.T) {
	s := newStage(t, "")
	a := s.parkCaptured(false, "echo a; exec sleep 1000")
	s.attached(2)
	halt(t, s.loggerPID)
	s.meetLogger()
	pipes := s.attached(2)
	b := make([]byte, 10)
	if n, err := unix.Read(pipes[a+" stdout"], b); err != nil || string(b[:n]) != "a\n" {
		t.Errorf("%q %v", b[:max(n, 0)], err)
	}
	halt(t, s.enginePID)
	s.meetEngine()
	if len(s.table.Slots) != 1 || s.table.Slots[0].Instance != a {
		t.Errorf("the next engine is told %+v", s.table)
	}
	if n := strings.Count(s.words(), "stopped by a signal"); n != 2 {
		t.Errorf("it is said %d times\n%s", n, s.words())
	}
}

// halt stops a process and waits until somebody has killed it for that.
func halt(t *testing.T, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	must(t, err)
	defer unix.Close(fd)
	must(t, unix.Kill(pid, unix.SIGSTOP))
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000); n != 1 {
		t.Fatalf("it lives on: %v", err)
	}
}
