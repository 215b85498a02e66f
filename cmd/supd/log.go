package main

import (
	"log/slog"
	"os"

	"github.com/lmittmann/tint"
	"golang.org/x/sys/unix"

	"supd/cmd/internal/version"
)

const versionText = version.Version

// newLog makes the log of one of our processes: to stderr, readable on a
// terminal, JSON elsewhere.
func newLog(a keeperArgs, process string) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(a.LogLevel)); err != nil {
		level = slog.LevelInfo
	}
	return slog.New(logHandler(a.LogFormat, level)).With("process", process)
}

func logHandler(format string, level slog.Level) slog.Handler {
	switch {
	case format == "json" || format != "text" && !terminal(os.Stderr):
		return slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level})
	case terminal(os.Stderr) && os.Getenv("NO_COLOR") == "":
		return tint.NewTextHandler(os.Stderr, &tint.Options{Level: level, TimeFormat: "15:04:05.000"})
	}
	return tint.NewTextHandler(os.Stderr, &tint.Options{Level: level, TimeFormat: "15:04:05.000", NoColor: true})
}

func terminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
