package main

import (
	"context"
	"log/slog"

	"supd/journal/event"
	"supd/projector/timeline"
)

// tell writes to supd's own log what an operator should see without asking:
// what went wrong with services, and that supd starts and stops. Everything
// else is in the journal (supctl events).
func tell(log *slog.Logger, batch []event.Encoded) {
	for _, e := range batch {
		level, ok := tellLevel(e.Record.Data)
		if !ok {
			continue
		}
		text := string(e.Record.Kind) + ": " + timeline.Text(e.Record)
		args := []any{"seq", uint64(e.Record.Seq)}
		if e.Record.Subject != "" {
			text = e.Record.Subject + " " + text
			args = append(args, "service", e.Record.Subject)
		}
		log.Log(context.Background(), level, text, args...)
	}
}

func tellLevel(d event.Data) (slog.Level, bool) {
	switch d := d.(type) {
	case event.ServiceFatalData:
		return slog.LevelError, true
	case event.InstanceStuckData, event.OutputGapData, event.JournalGapData, event.ResourcePressedData:
		return slog.LevelWarn, true
	case event.InstanceExitedData:
		return slog.LevelWarn, !d.Expected
	case event.RestartScheduledData:
		return slog.LevelInfo, d.Retry > 1 && !d.Shortage // the first is immediate: the exit says enough
	case event.SupdStoppingData, event.SupdStoppedData, event.ConfigAppliedData, event.ConfigRejectedData, event.ResourceRelievedData:
		return slog.LevelInfo, true
	}
	return 0, false
}
