// Package terminaltest gives tests a terminal: programs run on it as a
// person's do, with a screen of a size, keys, and the signals of the keyboard.
package terminaltest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is far beyond what a loaded machine needs.
const patience = 60 * time.Second

// Terminal is a pseudo terminal. Its methods end the test when they cannot do
// what they say.
type Terminal struct {
	t      testing.TB
	master *os.File
	path   string // of the side that programs see

	mu   sync.Mutex
	text bytes.Buffer  // all that was written to it
	done chan struct{} // closed when nobody has it open any more
}

// New opens a terminal of a size, for the time of the test.
func New(t testing.TB, columns, rows int) *Terminal {
	t.Helper()
	// Not by os.OpenFile, which would have reads of it ended by its poller.
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("NOT RUN: needs /dev/ptmx: %v", err)
	}
	x := &Terminal{t: t, master: os.NewFile(uintptr(fd), "terminal"), done: make(chan struct{})}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	x.path = fmt.Sprintf("/dev/pts/%d", n)
	x.Resize(columns, rows)
	t.Cleanup(func() { x.master.Close() })
	return x
}

// Resize changes the size; whoever is on the terminal gets WINCH.
func (x *Terminal) Resize(columns, rows int) {
	x.t.Helper()
	ws := &unix.Winsize{Col: uint16(columns), Row: uint16(rows)}
	if err := unix.IoctlSetWinsize(int(x.master.Fd()), unix.TIOCSWINSZ, ws); err != nil {
		x.t.Fatal(err)
	}
}

// Start runs a program whose controlling terminal this is. What cmd leads
// elsewhere stays there. A program is started once on each Terminal. If the
// test ends first it is killed.
func (x *Terminal) Start(cmd *exec.Cmd) {
	x.t.Helper()
	tty, err := os.OpenFile(x.path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		x.t.Fatal(err)
	}
	defer tty.Close()
	cmd.Stdin = tty
	if cmd.Stdout == nil {
		cmd.Stdout = tty
	}
	if cmd.Stderr == nil {
		cmd.Stderr = tty
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	if err := cmd.Start(); err != nil {
		x.t.Fatal(err)
	}
	go func() {
		defer close(x.done)
		b := make([]byte, 4096)
		for {
			n, err := x.master.Read(b)
			x.mu.Lock()
			x.text.Write(b[:n])
			x.mu.Unlock()
			if err != nil { // EIO: the last who had it open has closed it
				return
			}
		}
	}()
	x.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
}

// Type presses keys; "\x03" is an interrupt.
func (x *Terminal) Type(keys string) {
	x.t.Helper()
	if _, err := x.master.WriteString(keys); err != nil {
		x.t.Fatal(err)
	}
}

// Text is everything that was written to the terminal, its echo included.
func (x *Terminal) Text() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.text.String()
}

// Until waits until what was written fulfils a condition.
func (x *Terminal) Until(what string, condition func(text string) bool) {
	x.t.Helper()
	deadline := time.Now().Add(patience)
	for !condition(x.Text()) {
		if time.Now().After(deadline) {
			x.t.Fatalf("not within %v: %s\n%q", patience, what, x.Text())
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// Settings are those of the terminal as they are now: echo, lines and so on.
func (x *Terminal) Settings() unix.Termios {
	x.t.Helper()
	s, err := unix.IoctlGetTermios(int(x.master.Fd()), unix.TCGETS)
	if err != nil {
		x.t.Fatal(err)
	}
	return *s
}

// Exit waits for the end of a program that was started, and returns its exit
// code, -1 for a signal.
func (x *Terminal) Exit(cmd *exec.Cmd) int {
	x.t.Helper()
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(patience):
		_ = cmd.Process.Kill()
		x.t.Fatalf("%s did not end\n%q", cmd.Path, x.Text())
	}
	return cmd.ProcessState.ExitCode()
}

// Close takes the terminal away, as closing its window does: the leader of its
// session gets HUP.
func (x *Terminal) Close() { x.master.Close() }
