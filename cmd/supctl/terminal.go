package main

import (
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

func colours(w io.Writer) bool { return os.Getenv("NO_COLOR") == "" && terminal(w) }

func terminal(v any) bool {
	f, ok := v.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// width is how many columns a line may have: those of the terminal, or what
// COLUMNS says of it. 0 is no limit, for whoever is no terminal.
func width(w io.Writer) int {
	columns, _ := size(w)
	return columns
}

// size is the terminal's, in columns and rows; 0 is not known.
func size(w io.Writer) (columns, rows int) {
	if !terminal(w) {
		return 0, 0
	}
	if ws, err := unix.IoctlGetWinsize(int(w.(*os.File).Fd()), unix.TIOCGWINSZ); err == nil {
		columns, rows = int(ws.Col), int(ws.Row)
	}
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		columns = n
	}
	return columns, rows
}

// keys gives each key that is pressed on a terminal at once and without echo,
// until restore is called. Signals of the keyboard stay what they are, but for
// the one that suspends: it would leave the terminal as it is. Where in is no
// terminal there are no keys.
func keys(in *os.File) (pressed <-chan byte, restore func()) {
	fd := int(in.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, func() {}
	}
	now := *before
	now.Lflag &^= unix.ICANON | unix.ECHO
	now.Cc[unix.VMIN], now.Cc[unix.VTIME], now.Cc[unix.VSUSP] = 1, 0, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &now); err != nil {
		return nil, func() {}
	}
	ch, done := make(chan byte), make(chan struct{})
	go func() { // it ends with the program, or with the key after the last
		b := make([]byte, 1)
		for {
			if n, err := in.Read(b); n != 1 || err != nil {
				return
			}
			select {
			case ch <- b[0]:
			case <-done:
				return
			}
		}
	}()
	return ch, func() {
		close(done)
		_ = unix.IoctlSetTermios(fd, unix.TCSETS, before)
	}
}
