package rig_test

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"supd/cmd/internal/rig"
	"supd/journal/event"
)

// stuffed is the write end of a pipe that is full and that nobody reads.
func stuffed(t *testing.T) *os.File {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	w := os.NewFile(uintptr(p[1]), "nobody's pipe")
	t.Cleanup(func() {
		unix.Close(p[0])
		w.Close()
	})
	poll := []unix.PollFd{{Fd: int32(p[1]), Events: unix.POLLOUT}}
	for {
		if n, err := unix.Poll(poll, 0); err == nil && n == 0 {
			return w
		}
		if _, err := unix.Write(p[1], make([]byte, 4096)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLoggerFollowsKeeper: keeper and engine are killed while services flood
// their pipes and whoever should read supd's own stdout or stderr does not. The
// logger takes what is there and ends; the services stay, and the next supd reads
// them on (P8).
func TestLoggerFollowsKeeper(t *testing.T) {
	for _, c := range []struct{ name, stream string }{
		{name: "read"},
		{"console that nobody reads", "stdout"},
		{"log that nobody reads", "stderr"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rig.ReapActors(t)
			r := rig.New(t, `
[supd]
console = "on"
log_level = "debug"
[service.flood]
command = ["ACTOR", "-dir", "DIR", "-stdout", "3000", "-stderr", "500"]
`)
			cmd := exec.Command(r.Programs.Supd, "run", "-c", r.Config, "--state-dir", r.State, "--runtime-dir", r.Runtime)
			switch c.stream {
			case "stdout":
				cmd.Stdout = stuffed(t)
			case "stderr":
				cmd.Stderr = stuffed(t)
			}
			r.Start(cmd)
			r.Answers()
			pid := r.UntilPhase("flood", event.PhaseRunning).PID
			r.Until("a logger is there", func() bool { return r.Logger() != 0 })
			r.KillBoth()
			r.Run()
			if now := r.UntilPhase("flood", event.PhaseRunning).PID; pid == nil || now == nil || *now != *pid {
				t.Errorf("pid %v is %v", pid, now)
			}
			r.Supctl("restart", "flood").OK()
			r.Shutdown()
		})
	}
}
