package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pty opens a terminal of a size; the program gets the one end, the test the
// other.
func pty(t *testing.T, rows, columns uint16) (near, far *os.File) {
	t.Helper()
	near, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("NOT RUN: needs /dev/ptmx: %v", err)
	}
	t.Cleanup(func() { near.Close() })
	if err := unix.IoctlSetPointerInt(int(near.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(near.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if far, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Skipf("NOT RUN: needs /dev/pts: %v", err)
	}
	t.Cleanup(func() { far.Close() })
	if err := unix.IoctlSetWinsize(int(near.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}); err != nil {
		t.Fatal(err)
	}
	return near, far
}

// watched takes what is written to a terminal.
type watched struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

// last is what was drawn last.
func (w *watched) last() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	screens := strings.Split(w.b.String(), screenClear)
	return screens[len(screens)-1]
}

// On a terminal a key moves, the screen is never left by a long line, and the
// terminal is as it was when the walk ends.
func TestStepOnATerminal(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	writeJournal(t, folder, whole(t).records, -1)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, end := range map[string]func(near *os.File, p *os.Process) int{
		"q":         func(near *os.File, _ *os.Process) int { _, _ = near.WriteString("q"); return 0 },
		"interrupt": func(near *os.File, _ *os.Process) int { _, _ = near.WriteString("\x03"); return 0 },
		"TERM":      func(_ *os.File, p *os.Process) int { _ = p.Signal(unix.SIGTERM); return 128 + 15 },
	} {
		t.Run(name, func(t *testing.T) {
			near, far := pty(t, 20, 70)
			before, err := unix.IoctlGetTermios(int(far.Fd()), unix.TCGETS)
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(self, "step", "--from", folder, "13")
			cmd.Args[0] = "supreplay"
			cmd.Env = append(os.Environ(), "TZ=UTC", "SUPREPLAY_TEST_MAIN=1")
			cmd.Stdin, cmd.Stdout, cmd.Stderr = far, far, far
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			t.Cleanup(func() { _ = cmd.Process.Kill() })
			screen := &watched{}
			go func() {
				var b [4096]byte
				for {
					n, err := near.Read(b[:])
					if err != nil {
						return
					}
					_, _ = screen.Write(b[:n])
				}
			}()
			shows := func(what string) {
				t.Helper()
				for until := time.Now().Add(time.Minute); !strings.Contains(screen.last(), what); time.Sleep(2 * time.Millisecond) {
					if time.Now().After(until) {
						t.Fatalf("%q is not shown:\n%s", what, screen.last())
					}
				}
			}
			shows("record 13 of")
			for _, step := range []struct{ keys, shows string }{
				{"n", "record 14 of"},
				{"\x1b[B", "record 15 of"},
				{"p", "record 14 of"},
				{"N", "record 15 of"},
				{"gfirst crash of db\n", "record 20 of"},
				{"sweb\n", "walking over web"},
				{"t-10m\n", "record 12 of"},
				{"?", "go to a record"},
			} {
				_, _ = near.WriteString(step.keys)
				shows(step.shows)
			}
			lines := strings.Split(strings.ReplaceAll(screen.last(), "\r", ""), "\n")
			for _, l := range lines {
				if n := len([]rune(l)); n > 70 {
					t.Errorf("a line has %d characters: %q", n, l)
				}
			}
			if len(lines) > 20 {
				t.Errorf("%d lines on a screen of 20", len(lines))
			}
			want := end(near, cmd.Process)
			select {
			case <-ended:
			case <-time.After(time.Minute):
				t.Fatal("it does not end")
			}
			if got := cmd.ProcessState.ExitCode(); got != want {
				t.Errorf("exit code %d, want %d", got, want)
			}
			after, err := unix.IoctlGetTermios(int(far.Fd()), unix.TCGETS)
			if err != nil || *after != *before {
				t.Errorf("the terminal is not as it was (%v)", err)
			}
		})
	}
}
