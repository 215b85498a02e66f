package main

import (
	"bufio"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"supd/cmd/internal/exitcode"
)

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// What is written to the terminal: another screen while the walk lasts, so
// that the one before comes back.
const (
	screenOpen  = "\x1b[?1049h"
	screenClose = "\x1b[?1049l"
	screenClear = "\x1b[H\x1b[J"
)

// keysOf are the commands of keys; g, s and t ask for the rest of a line.
var keysOf = map[string]string{
	" ": "n", "j": "n", "\r": "n", "\n": "n", "\x1b[C": "n", "\x1b[B": "n", "\x1bOC": "n", "\x1bOB": "n",
	"k": "p", "\x1b[D": "p", "\x1b[A": "p", "\x1bOD": "p", "\x1bOA": "p",
	"\x03": "q", "\x04": "q", "\x1b": "q",
}

// keys is the walk on a terminal. Whatever ends it, the terminal is afterwards
// as it was.
func (w *walker) keys(in, out *os.File) error {
	before, err := unix.IoctlGetTermios(int(in.Fd()), unix.TCGETS)
	if err != nil {
		return &coded{exitcode.Failed, fmt.Errorf("cannot use the terminal: %w", err)}
	}
	raw := *before
	raw.Lflag &^= unix.ICANON | unix.ECHO | unix.ISIG
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	set := func(t *unix.Termios) { _ = unix.IoctlSetTermios(int(in.Fd()), unix.TCSETS, t) }
	restore := sync.OnceFunc(func() {
		set(before)
		_, _ = out.WriteString(screenClose)
	})
	defer restore()
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGTERM, unix.SIGHUP, unix.SIGINT)
	defer signal.Stop(ended)
	go func() {
		if s, ok := (<-ended).(unix.Signal); ok {
			restore()
			w.src.close()
			os.Exit(exitcode.Signal + int(s))
		}
	}()
	set(&raw)
	_, _ = out.WriteString(screenOpen)
	typed := bufio.NewReaderSize(in, 256)
	for {
		w.draw(out)
		command, err := key(typed)
		if err != nil {
			return nil // the terminal has gone
		}
		if known, ok := keysOf[command]; ok {
			command = known
		}
		if command == "g" || command == "s" || command == "t" {
			set(before)
			command += " " + ask(typed, out, command)
			set(&raw)
		}
		if !w.do(command) {
			return nil
		}
	}
}

func (w *walker) draw(out *os.File) {
	width, height := 80, 24
	if size, err := unix.IoctlGetWinsize(int(out.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 && size.Row > 0 {
		width, height = int(size.Col), int(size.Row)
	}
	lines := w.view(width, height-1)
	_, _ = out.WriteString(screenClear + strings.Join(lines, "\r\n") + "\r\n" + cut("n next, p before, N/P same service, s service, g go, t time, ? help, q quit", width))
}

// key is one key: a byte, or the bytes that a special key sends at once.
func key(typed *bufio.Reader) (string, error) {
	b, err := typed.ReadByte()
	if err != nil || b != 0x1b {
		return string(rune(b)), err
	}
	text := []byte{b}
	for typed.Buffered() > 0 && len(text) < 3 {
		if b, err = typed.ReadByte(); err != nil {
			return "", err
		}
		text = append(text, b)
	}
	return string(text), nil
}

// ask reads the rest of a command, as a line that can be edited.
func ask(typed *bufio.Reader, out *os.File, command string) string {
	what := map[string]string{"g": "go to (record, time, \"last crash of web\"): ", "s": "service (empty: all): ", "t": "by how long (10s, -5m): "}
	_, _ = out.WriteString("\r\n" + what[command])
	line, _ := typed.ReadString('\n')
	return strings.TrimSpace(line)
}
