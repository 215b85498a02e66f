package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"supd/cmd/internal/client"
	"supd/journal/event"
	"supd/projector/timeline"
)

// What a terminal is told. A frame is written at once and over the one before
// it, so that nothing flickers; terminals that know the last two words show it
// at once, too.
const (
	screenOpen  = "\x1b[?1049h\x1b[?25l" // a screen of its own, no cursor
	screenClose = "\x1b[?25h\x1b[?1049l"
	frameOpen   = "\x1b[?2026h\x1b[H"
	frameClose  = "\x1b[J\x1b[?2026l"
	lineEnd     = "\x1b[K\r\n"
)

// watch shows the status again and again: on a terminal in place, until q or
// an interrupt, elsewhere one below the other.
func (a *app) watch(ctx context.Context, c *client.Client, names []string) error {
	every := time.NewTicker(time.Second)
	defer every.Stop()
	var (
		pressed <-chan byte
		resized chan os.Signal
	)
	screen := terminal(a.out) && !a.json()
	if screen {
		var restore func()
		pressed, restore = keys(os.Stdin)
		defer restore()
		resized = make(chan os.Signal, 1)
		signal.Notify(resized, unix.SIGWINCH)
		defer signal.Stop(resized)
		fmt.Fprint(a.out, screenOpen)
		defer fmt.Fprint(a.out, screenClose)
	}
	for {
		reply, err := askStatus(ctx, c, names)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if screen {
			_, err = a.out.Write(a.frame(reply))
		} else {
			err = a.showStatus(reply)
		}
		if err != nil {
			return err
		}
		for again := false; !again; {
			select {
			case <-ctx.Done():
				return nil
			case k := <-pressed:
				if k == 'q' || k == 'Q' {
					return nil
				}
			case <-resized:
				again = true
			case <-every.C:
				again = true
			}
		}
	}
}

// frame is one picture: as much of the status as the terminal has room for.
func (a *app) frame(reply event.StatusReply) []byte {
	columns, rows := size(a.out)
	now := time.Now()
	table := timeline.Table{Now: now, Width: columns, Color: colours(a.out)}
	lines := table.Services(reply.Services)
	for _, reason := range table.Reasons(reply.Services) {
		lines = append(lines, timeline.Cut(reason, columns))
	}
	for _, name := range reply.Unknown {
		lines = append(lines, timeline.Cut("no such service: "+name, columns))
	}
	if last := rows - 2; rows > 0 && len(lines) > last {
		last = max(last-1, 1)
		more := fmt.Sprintf("… %d more lines: supctl status shows all", len(lines)-last)
		lines = append(lines[:last:last], timeline.Cut(more, columns))
	}
	var b bytes.Buffer
	b.WriteString(frameOpen)
	for _, line := range lines {
		b.WriteString(line + lineEnd)
	}
	b.WriteString(timeline.Cut(now.Format("15:04:05")+", q ends", columns) + "\x1b[K")
	b.WriteString(frameClose)
	return b.Bytes()
}
