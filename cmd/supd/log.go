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
	nameProcess(process)
	setLogLevel(a.LogLevel)
	return slog.New(logHandler(a.LogFormat, &logLevel)).With("process", process)
}

// logLevel is this process's; an applied configuration may change it.
var logLevel slog.LevelVar

func setLogLevel(text string) {
	if err := logLevel.UnmarshalText([]byte(text)); err != nil {
		logLevel.Set(slog.LevelInfo)
	}
}

func logHandler(format string, level slog.Leveler) slog.Handler {
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

// nameProcess makes ps and top show which of our processes this is; without it
// they show the name of the link that the keeper executes.
func nameProcess(process string) {
	name := "supd"
	if process != modeKeeper {
		name += "-" + process
	}
	_ = os.WriteFile("/proc/self/comm", []byte(name), 0) // a courtesy
}
