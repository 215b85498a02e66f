package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"sync/atomic"

	"github.com/lmittmann/tint"
	"golang.org/x/sys/unix"

	"supd/cmd/internal/version"
)

const versionText = version.Version

// newLog makes the log of one of our processes: to stderr, readable on a
// terminal, JSON elsewhere, unless the configuration says otherwise. Nobody who
// logs waits for who reads it; before the process ends comes flushLog.
func newLog(a keeperArgs, process string) *slog.Logger {
	nameProcess(process)
	setLog(a.LogLevel, a.LogFormat)
	log := slog.New(newLogHandler(ownLog, terminal(os.Stderr))).With("process", process)
	ownLog.mu.Lock()
	ownLog.log = log
	ownLog.mu.Unlock()
	return log
}

// ownLog is the way of this process's log to stderr.
var ownLog = &logQueue{to: os.Stderr}

// flushLog waits a moment until what was logged is written; it passes code on.
func flushLog(code int) int {
	ownLog.flush(logFlush)
	return code
}

// logLevel and logAsText are this process's; an applied configuration may
// change them.
var (
	logLevel  slog.LevelVar
	logAsText atomic.Bool
)

// setLog takes what is applied: supd.log_level and supd.log_format.
func setLog(level, format string) {
	if err := logLevel.UnmarshalText([]byte(level)); err != nil {
		logLevel.Set(slog.LevelInfo)
	}
	logAsText.Store(format == "text" || format != "json" && terminal(os.Stderr))
}

// logHandler writes each record in the format of the moment.
type logHandler struct{ text, json slog.Handler }

func newLogHandler(w io.Writer, terminal bool) *logHandler {
	color := terminal && os.Getenv("NO_COLOR") == ""
	return &logHandler{
		text: tint.NewTextHandler(w, &tint.Options{Level: &logLevel, TimeFormat: "15:04:05.000", NoColor: !color}),
		json: slog.NewJSONHandler(w, &slog.HandlerOptions{Level: &logLevel}),
	}
}

// Enabled implements slog.Handler.
func (h *logHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= logLevel.Level() }

// Handle implements slog.Handler.
func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	if logAsText.Load() {
		return h.text.Handle(ctx, r)
	}
	return h.json.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logHandler{h.text.WithAttrs(attrs), h.json.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h *logHandler) WithGroup(name string) slog.Handler {
	return &logHandler{h.text.WithGroup(name), h.json.WithGroup(name)}
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
