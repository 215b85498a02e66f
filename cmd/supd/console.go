package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"supd/cmd/internal/config"
	"supd/journal/output"
	"supd/journal/output/console"
)

// Ways to copy service output to supd's own, in keeperArgs.Console; empty
// copies nothing.
const (
	consoleNames = "names" // all to stdout, each line behind its service's name
	consolePlain = "plain" // byte for byte, stdout to stdout and stderr to stderr
)

// How long the end waits for a reader of the copy: for as long as it reads, up
// to the first, and for the second once it does not.
const (
	consoleFinish   = 60 * time.Second
	consolePatience = 2 * time.Second
)

// watched tells whether somebody looks at supd's own stdout: a person at a
// terminal, or whoever keeps a container's log.
func watched() bool { return terminal(os.Stdout) || os.Getpid() == 1 }

// consoleMode decides by the configuration and by who listens.
func consoleMode(set *config.Set, single, watched bool) string {
	switch {
	case set.Supd.Console == "off":
		return ""
	case single:
		return consolePlain
	case set.Supd.Console == "on" || watched:
		return consoleNames
	}
	return ""
}

// consoles are the copies of service output that a logger makes.
type consoles []*console.Console

func newConsoles(mode, dir string, log *slog.Logger) (consoles, error) {
	base := console.Options{Dir: dir, Notes: os.Stderr, Failed: func(err error) {
		log.Warn("the copy of service output on supd's own has ended; supctl logs shows all of it", "error", err)
	}}
	var list []console.Options
	switch mode {
	case consoleNames:
		base.Out, base.Color = os.Stdout, terminal(os.Stdout) && os.Getenv("NO_COLOR") == ""
		list = []console.Options{base}
	case consolePlain:
		base.Plain, base.Out, base.Backlog = true, os.Stdout, 64<<20
		list = []console.Options{base}
		if !sameFile(os.Stdout, os.Stderr) { // else one reader for both keeps their order
			list[0].Stream = output.Stdout
			base.Out, base.Stream = os.Stderr, output.Stderr
			list = append(list, base)
		}
	}
	var all consoles
	for _, o := range list {
		c, err := console.New(o)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

func sameFile(a, b *os.File) bool {
	var x, y unix.Stat_t
	return unix.Fstat(int(a.Fd()), &x) == nil && unix.Fstat(int(b.Fd()), &y) == nil && x.Dev == y.Dev && x.Ino == y.Ino
}

// screens are the consoles of the moment: an applied configuration switches
// them on and off.
type screens struct {
	dir string
	log *slog.Logger

	mu    sync.Mutex
	mode  string
	list  consoles
	shown map[string]bool // what was told of services, for consoles that come later
}

// set switches to a mode. What was written before a console is switched on is
// not shown; what was written before it is switched off is.
func (s *screens) set(mode string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if mode == s.mode {
		return
	}
	next, err := newConsoles(mode, s.dir, s.log)
	if err != nil {
		s.log.Warn("service output is not copied to supd's own", "error", err)
		return
	}
	for service, shown := range s.shown {
		next.show(service, shown)
	}
	old := s.list
	s.mode, s.list = mode, next
	go func() { _ = old.finish() }() // its reader may be slow; the logger is not
}

// moved tells that a service has more output.
func (s *screens) moved(service string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.list {
		c.Moved(service)
	}
}

// show tells whether a service is to be shown.
func (s *screens) show(service string, shown bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shown[service] = shown
	s.list.show(service, shown)
}

// finish shows the rest.
func (s *screens) finish() error {
	s.mu.Lock()
	list := s.list
	s.mu.Unlock()
	return list.finish()
}

func (cs consoles) show(service string, shown bool) {
	for _, c := range cs {
		c.Show(service, shown)
	}
}

// finish shows the rest.
func (cs consoles) finish() error {
	ctx, cancel := context.WithTimeout(context.Background(), consoleFinish-5*time.Second)
	defer cancel()
	var errs []error
	for _, c := range cs {
		errs = append(errs, c.Finish(ctx, consolePatience))
	}
	return errors.Join(errs...)
}
