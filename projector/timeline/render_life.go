package timeline

import (
	"fmt"
	"strings"

	"supd/journal/event"
)

// lifeText tells of waiting, readiness, health and hooks.
func lifeText(r event.Record) string {
	switch d := r.Data.(type) {
	case event.ServiceWaitingData:
		return waiting(d)
	case event.InstanceReadyData:
		return fmt.Sprintf("by %s, after %s", d.By, span(d.Took))
	case event.InstanceExtendedData:
		return fmt.Sprintf("%s may take until %s", d.Of, d.Deadline.Wall.In(r.Time.Location()).Format(TimeFormat))
	case event.HealthChangedData:
		text := fmt.Sprintf("%s to %s by %s", d.From, d.To, d.Probe)
		if d.Failures > 0 {
			text += " after " + plural(d.Failures, "failure", "failures")
		}
		return text + colon(d.Error)
	case event.HookStartedData:
		return d.Hook
	case event.HookEndedData:
		return fmt.Sprintf("%s after %s%s", d.Hook, span(d.Took), colon(d.Error))
	}
	return journalText(r)
}

func waiting(d event.ServiceWaitingData) string {
	if d.Limiter {
		return "for the start limiter"
	}
	what := make([]string, 0, len(d.For))
	for _, w := range d.For {
		what = append(what, w.Service+" "+w.Condition)
	}
	return "for " + strings.Join(what, ", ")
}

func journalText(r event.Record) string {
	switch d := r.Data.(type) {
	case event.JournalDamagedData:
		return fmt.Sprintf("%s at byte %d: %s, %s salvaged, kept as %s", d.File, d.Offset, d.Why, count(d.Salvaged, "record"), d.Evidence)
	case event.JournalCheckpointData:
		return fmt.Sprintf("record %d is %.12s, signed by %s", d.Seq, d.Hash, d.Key)
	case event.UpgradeStartedData:
		return fmt.Sprintf("from %s to %s", d.From, d.To)
	case event.UpgradeEndedData:
		return string(d.Outcome) + colon(d.Error)
	}
	return ""
}
