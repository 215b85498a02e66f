package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"supd/cmd/internal/exitcode"
	"supd/executor/keeper"
	"supd/executor/keeper/wire"
	"supd/journal/event"
	"supd/journal/output"
)

// loggerMain is the logger: it moves bytes from services' pipes to disk and
// ends when the keeper says so or is gone.
func loggerMain() int {
	a, err := helperArgs(keeper.LoggerArgsFD)
	if err != nil {
		fmt.Fprintln(os.Stderr, "supd:", err)
		return exitcode.Usage
	}
	log := newLog(a, modeLogger)
	// The keeper decides when it ends. A reader of the console that goes away is
	// an error of that write and no more.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	debug.SetGCPercent(smallHeap)
	calmMonitor()
	limitMemory(loggerMemory)
	if err := runLogger(a, log); err != nil {
		log.Error("the logger ends", "error", err)
		return exitcode.Failed
	}
	return exitcode.Done
}

// loggerThreads are what a logger needs while its disk hangs.
const loggerThreads = 10

func runLogger(a keeperArgs, log *slog.Logger) error {
	time.AfterFunc(prewarmAfter, func() { keeper.Prewarm(loggerThreads) })
	conn, err := wire.NewLoggerConn(wire.LoggerFD)
	if err != nil {
		return err
	}
	defer conn.Close()
	lock, err := lockLogger(a.Places.Runtime)
	if err != nil {
		return err
	}
	defer lock.Close() // twice is no harm
	screens := &screens{dir: a.Output, log: log, shown: map[string]bool{}}
	screens.set(a.Console)
	l, err := output.NewLogger(a.Output, output.Options{
		MaxTotal: a.MaxTotal,
		Tally:    filepath.Join(a.Places.Runtime, "output.gaps"),
		Lowered: func(bytes int64) {
			log.Warn("output.max_total is more than half of the file system: half of it counts", "bytes", bytes)
		},
		Moved: screens.moved,
		Event: func(e output.Event) { reportOutput(conn, log, e) },
		Drained: func(instance, stream string) {
			s := wire.Stdout
			if stream == output.Stderr {
				s = wire.Stderr
			}
			if err := conn.Drained(instance, s); err != nil {
				log.Debug("cannot report a drained stream", "error", err)
			}
		},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ran := make(chan error, 1)
	go func() { ran <- l.Run(ctx) }()
	err = followKeeper(conn, l, screens, log)
	finish, stop := context.WithTimeout(context.Background(), 4*time.Second)
	defer stop()
	err = errors.Join(err, l.Finish(finish))
	cancel()
	err = errors.Join(err, ignoreCanceled(<-ran))
	lock.Close() // who reads the console may take a minute; the next logger need not wait for that
	if late := screens.finish(); late != nil {
		log.Warn("supctl logs shows what the console did not", "error", late)
	}
	return err
}

// lockLogger waits until no other logger of this supd lives: one that lost its
// keeper takes what is in its pipes before it ends, and a pipe has one reader
// (R7).
func lockLogger(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "logger.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the output: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot lock the output: %w", err)
	}
	return f, nil
}

func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// followKeeper takes orders until Finish or the keeper's end.
func followKeeper(conn *wire.LoggerConn, l *output.Logger, screens *screens, log *slog.Logger) error {
	for {
		m, pipe, err := conn.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *wire.Attach:
			settings, shown, err := outputSettings(m.Settings)
			if err == nil {
				screens.show(m.Service, shown)
				err = l.Attach(m.Service, m.Instance, m.Stream.String(), pipe, settings)
			}
			if err != nil {
				log.Error("cannot take over output", "service", m.Service, "error", err)
			}
		case *wire.Settings:
			if m.Service == "" {
				followSettings(l, screens, m.Data, log)
				continue
			}
			settings, shown, err := outputSettings(m.Data)
			if err != nil {
				log.Error("cannot change output settings", "service", m.Service, "error", err)
				continue
			}
			screens.show(m.Service, shown)
			l.Settings(m.Service, settings)
		case *wire.Finish:
			return nil
		}
	}
}

// followSettings takes what concerns all output.
func followSettings(l *output.Logger, screens *screens, data []byte, log *slog.Logger) {
	var s loggerSettings
	if err := json.Unmarshal(data, &s); err != nil {
		log.Error("cannot change the settings of all output", "error", err)
		return
	}
	l.SetMaxTotal(s.MaxTotal)
	setLog(s.LogLevel, s.LogFormat)
	screens.set(s.Console)
	if s.Quiet {
		giveBack()
	}
}

// outputSettings reads what executor.OutputSettings wrote: how output is kept,
// and whether the console shows it.
func outputSettings(data []byte) (s output.Settings, shown bool, err error) {
	var o event.Output
	if err := json.Unmarshal(data, &o); err != nil {
		return s, false, fmt.Errorf("cannot read output settings: %w", err)
	}
	s = output.DefaultSettings()
	s.MaxSize, s.MaxFiles, s.MaxAge = o.MaxSize, o.MaxFiles, time.Duration(o.MaxAge)
	s.OnFull, s.Compress = o.OnFull, o.Compress
	return s, o.Console, nil
}

func reportOutput(conn *wire.LoggerConn, log *slog.Logger, e output.Event) {
	b, err := event.Marshal(e)
	if err == nil {
		err = conn.Event(b)
	}
	if err != nil {
		log.Warn("cannot report to the engine", "kind", e.Kind, "service", e.Service, "error", err)
	}
}
