package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"syscall"
	"time"

	"supd/cmd/internal/exitcode"
	"supd/executor/keeper/wire"
	"supd/journal/event"
	"supd/journal/output"
)

// loggerMain is the logger: it moves bytes from services' pipes to disk and
// ends when the keeper says so or is gone.
func loggerMain(argv []string) int {
	a, _, err := parseArgs(modeLogger, argv)
	log := newLog(a, modeLogger)
	if err == nil {
		signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT) // the keeper decides when it ends
		err = runLogger(a, log)
	}
	if err != nil {
		log.Error("the logger ends", "error", err)
		return exitcode.Failed
	}
	return exitcode.Done
}

func runLogger(a keeperArgs, log *slog.Logger) error {
	conn, err := wire.NewLoggerConn(wire.LoggerFD)
	if err != nil {
		return err
	}
	defer conn.Close()
	l, err := output.NewLogger(a.Output, output.Options{
		MaxTotal: a.MaxTotal,
		Event:    func(e output.Event) { reportOutput(conn, log, e) },
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
	err = followKeeper(conn, l, log)
	finish, stop := context.WithTimeout(context.Background(), 4*time.Second)
	defer stop()
	err = errors.Join(err, l.Finish(finish))
	cancel()
	return errors.Join(err, ignoreCanceled(<-ran))
}

func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// followKeeper takes orders until Finish or the keeper's end.
func followKeeper(conn *wire.LoggerConn, l *output.Logger, log *slog.Logger) error {
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
			settings, err := outputSettings(m.Settings)
			if err == nil {
				err = l.Attach(m.Service, m.Instance, m.Stream.String(), pipe, settings)
			}
			if err != nil {
				log.Error("cannot take over output", "service", m.Service, "error", err)
			}
		case *wire.Settings:
			settings, err := outputSettings(m.Data)
			if err != nil {
				log.Error("cannot change output settings", "service", m.Service, "error", err)
				continue
			}
			l.Settings(m.Service, settings)
		case *wire.Finish:
			return nil
		}
	}
}

// outputSettings reads what executor.OutputSettings wrote.
func outputSettings(data []byte) (output.Settings, error) {
	var o event.Output
	if err := json.Unmarshal(data, &o); err != nil {
		return output.Settings{}, fmt.Errorf("cannot read output settings: %w", err)
	}
	s := output.DefaultSettings()
	s.MaxSize, s.MaxFiles, s.MaxAge = o.MaxSize, o.MaxFiles, time.Duration(o.MaxAge)
	s.OnFull, s.Compress = o.OnFull, o.Compress
	return s, nil
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
