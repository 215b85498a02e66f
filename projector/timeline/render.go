package timeline

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"supd/journal/event"
)

// TimeFormat is how Line writes times.
const TimeFormat = "2006-01-02 15:04:05.000"

// Line is a record as one line for people: time, number, service, kind and
// what happened. The time is written in its own location, so set
// r.Time = r.Time.Local() before for a person's. Control characters, which
// could come from a service and steer a terminal, are replaced.
func Line(r event.Record) string { return string(AppendLine(make([]byte, 0, 160), r)) }

// AppendLine appends what Line gives, for a timeline of millions of lines.
func AppendLine(b []byte, r event.Record) []byte {
	service := r.Subject
	if service == "" {
		service = "-"
	}
	start := len(b)
	b = append(appendTime(b, r.Time), ' ')
	var digits [20]byte
	number := strconv.AppendUint(digits[:0], uint64(r.Seq), 10)
	b = append(padded(b, 6-len(number)), number...)
	b = append(b, ' ')
	b = append(b, service...)
	b = append(padded(b, 16-utf8.RuneCountInString(service)), ' ')
	b = append(b, r.Kind...)
	b = append(padded(b, 20-len(r.Kind)), ' ')
	b = append(b, Text(r)...)
	for len(b) > start && b[len(b)-1] == ' ' {
		b = b[:len(b)-1]
	}
	if !harmless(b[start:]) {
		b = append(b[:start], clean(string(b[start:]))...)
	}
	return b
}

// appendTime is AppendFormat with TimeFormat, which it reads anew for each time.
func appendTime(b []byte, t time.Time) []byte {
	year, month, day := t.Date()
	if year < 1000 || year > 9999 {
		return t.AppendFormat(b, TimeFormat)
	}
	hour, minute, second := t.Clock()
	b = append(strconv.AppendInt(b, int64(year), 10), '-')
	b = append(two(b, int(month)), '-')
	b = append(two(b, day), ' ')
	b = append(two(b, hour), ':')
	b = append(two(b, minute), ':')
	b = append(two(b, second), '.')
	milli := t.Nanosecond() / 1e6
	return two(append(b, byte('0'+milli/100)), milli%100)
}

func two(b []byte, n int) []byte { return append(b, byte('0'+n/10), byte('0'+n%10)) }

func padded(b []byte, n int) []byte {
	for range n {
		b = append(b, ' ')
	}
	return b
}

// Text is what a record says, in a few words; empty where its kind says all.
func Text(r event.Record) string {
	text := ""
	switch d := r.Data.(type) {
	case event.EngineStartedData:
		text = fmt.Sprintf("%s, pid %d, %s, base %d + %d records", d.Version, d.PID, d.Mode, d.BaseSeq, d.Replayed)
	case event.KeeperStartedData:
		text = fmt.Sprintf("pid %d%s", d.PID, previous(d.Previous))
	case event.LoggerStartedData:
		text = fmt.Sprintf("pid %d%s", d.PID, previous(d.Previous))
	case event.SupdStoppingData:
		text = ending(d.Reason, d.KeepServices, d.Forced)
	case event.SupdStoppedData:
		text = ending(d.Reason, d.KeepServices, d.Forced)
	case event.RecoverySettledData:
		text = fmt.Sprintf("%s: %s (row %d)", d.Found, d.Done, d.Row)
		if d.Service != "" {
			text = d.Service + ": " + text
		}
	case event.StateBaseData:
		text = fmt.Sprintf("part %d of %d, version %d", d.Part, d.Parts, d.Version)
	case event.ConfigAppliedData:
		text = applied(d)
	case event.ConfigRejectedData:
		text = configErrors(d)
	case event.JournalDegradedData:
		text = fmt.Sprintf("%s, since %s", d.Why, d.Since.In(r.Time.Location()).Format(TimeFormat))
	case event.JournalHealedData:
		text = fmt.Sprintf("after %s, %s, %s", span(d.Duration), count(d.Records, "record"), d.Method)
	case event.JournalGapData:
		text = gap(d)
	case event.ResourcePressedData:
		text = fmt.Sprintf("%s: %s%s", d.What, d.Errno, colon(d.Limit))
	case event.ResourceRelievedData:
		text = fmt.Sprintf("%s after %s, %d refused meanwhile", d.What, d.Duration, d.Refused)
	default:
		text = commandText(r)
	}
	if r.Actor != "" && r.Actor != "supd" {
		text = strings.TrimPrefix(text+" by "+r.Actor, " ")
	}
	return text
}

func commandText(r event.Record) string {
	switch d := r.Data.(type) {
	case event.CommandAcceptedData:
		targets := names(d.Targets)
		for _, k := range [...]string{event.ArgSignal, event.ArgKeepServices, event.ArgForce} {
			if v := d.Args[k]; v != "" {
				targets = k + "=" + v + " " + targets
			}
		}
		return string(d.Verb) + " " + spaced(targets) + "(" + d.Command + ")"
	case event.CommandEndedData:
		return string(d.Outcome) + " after " + span(d.Duration) + notDone(d.Results) + " (" + d.Command + ")"
	case event.CommandRejectedData:
		return d.Reason + colon(d.Detail) + times(d.Count)
	case event.AccessDeniedData:
		return d.Subject + times(d.Count)
	}
	return serviceText(r)
}

func serviceText(r event.Record) string {
	switch d := r.Data.(type) {
	case event.ServiceDefinedData:
		return fmt.Sprintf("%s (%.12s)", strings.Join(d.Spec.Command, " "), d.Digest)
	case event.ServiceWantedData:
		return string(d.Want) + ", by reason of " + d.Reason
	case event.ServiceFatalData:
		return fmt.Sprintf("%s after %s%s", d.Reason, plural(d.Retries, "retry", "retries"), colon(d.Detail))
	case event.RestartScheduledData:
		if d.Shortage {
			return "put off for " + span(d.Delay) + ": the machine lacks resources for it"
		}
		return "retry " + strconv.Itoa(d.Retry) + " in " + span(d.Delay) + " after " + exit(d.Exit.Code, d.Exit.Signal)
	case event.RestartCancelledData:
		return "by " + d.By
	case event.OutputGapData:
		if d.Lines == nil || d.Bytes == nil {
			return fmt.Sprintf("%s: perhaps some of it lost: %s", d.Stream, d.Reason)
		}
		return fmt.Sprintf("%s: %s, %s lost: %s", d.Stream, count(int(*d.Lines), "line"), size(*d.Bytes), d.Reason)
	case event.OutputTrimmedData:
		return fmt.Sprintf("%s: %s, %s: %s", d.Stream, count(d.Segments, "segment"), size(d.Bytes), d.Why)
	case event.Unknown:
		return string(d.Raw)
	}
	return instanceText(r)
}

func instanceText(r event.Record) string {
	switch d := r.Data.(type) {
	case event.InstanceStartingData:
		return "run " + strconv.FormatUint(uint64(d.Run), 10) + ", pid " + strconv.Itoa(d.PID) + ", " + d.Reason
	case event.InstanceRunningData:
		return "after " + span(d.Took)
	case event.InstanceExecFailedData:
		return fmt.Sprintf("%s%s: %s", d.Step, spacedBefore(d.Path), d.Error)
	case event.InstanceReloadingData:
		return fmt.Sprintf("by %s, after %s", d.By, span(d.Took))
	case event.InstanceStoppingData:
		return stopping(d, r.Time.Location())
	case event.InstanceSignaledData:
		return d.Signal + " to " + string(d.Scope) + ": " + signalResult(d)
	case event.InstanceExitedData:
		return exited(d)
	case event.InstanceStuckData:
		return fmt.Sprintf("pid %d: %s", d.PID, d.State)
	case event.InstanceSweptData:
		return swept(d)
	case event.InstanceAdoptedData:
		if d.By == event.AdoptedByNotify {
			return fmt.Sprintf("pid %d is the main process now: the service said so", d.PID)
		}
		return fmt.Sprintf("pid %d found by %s, output %s", d.PID, d.By, d.Output)
	}
	return lifeText(r)
}

// stopping has no time of the kill where that is what is done first.
func stopping(d event.InstanceStoppingData, at *time.Location) string {
	text := d.Signal + ", " + d.Reason
	if d.Signal == "SIGKILL" {
		return text
	}
	return text + ", SIGKILL at " + d.Deadline.Wall.In(at).Format("15:04:05.000")
}

func swept(d event.InstanceSweptData) string {
	if len(d.Killed) == 0 && d.Survived == 0 {
		return "nothing was left"
	}
	left := ""
	if len(d.Left) > 0 {
		left = " (" + processes(d.Left) + ")"
	}
	return fmt.Sprintf("%s: killed %s, %d survived%s, %s", d.Method, processes(d.Killed), d.Survived, left, span(d.Took))
}

func exited(d event.InstanceExitedData) string {
	text := exit(d.Code, d.Signal)
	if d.OOM {
		text += ", out of memory"
	}
	if d.Core {
		text += ", core dumped"
	}
	if d.Expected {
		text += ", expected"
	}
	text += ", up " + span(d.Uptime) + ", cpu " + span(d.CPU)
	if d.MaxRSS > 0 {
		text += ", " + size(d.MaxRSS)
	}
	if d.Background {
		text += "; did it go into the background? It must run in the foreground"
	}
	return text
}

// exit tells how a process ended, as far as it is known.
func exit(code *int, signal *string) string {
	switch {
	case signal != nil && *signal != "":
		return "signal " + *signal
	case code != nil:
		return "exit code " + strconv.Itoa(*code)
	}
	return "unknown exit"
}

func previous(p *event.Previous) string {
	if p == nil {
		return ""
	}
	var signal *string
	if p.Signal != "" {
		signal = &p.Signal
	}
	return fmt.Sprintf(", after pid %d (%s)", p.PID, exit(p.Code, signal))
}

func ending(reason string, keep, forced bool) string {
	text := reason
	if keep {
		text += ", services stay"
	}
	if forced {
		text += ", forced"
	}
	return text
}

func applied(d event.ConfigAppliedData) string {
	var parts []string
	for _, p := range []struct {
		word  string
		names []string
	}{{"added", d.Added}, {"removed", d.Removed}} {
		if len(p.names) > 0 {
			parts = append(parts, p.word+" "+names(p.names))
		}
	}
	if len(d.Changed) > 0 {
		changed := make([]string, len(d.Changed))
		for i, c := range d.Changed {
			changed[i] = c.Service
		}
		parts = append(parts, "changed "+names(changed))
	}
	if len(parts) == 0 {
		parts = []string{"no change"}
	}
	return fmt.Sprintf("%s (%.12s)", strings.Join(parts, "; "), d.Digest)
}

func configErrors(d event.ConfigRejectedData) string {
	if len(d.Errors) == 0 {
		return ""
	}
	e := d.Errors[0]
	text := fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
	if more := len(d.Errors) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}

func signalResult(d event.InstanceSignaledData) string {
	if d.Errno != 0 {
		return fmt.Sprintf("%s, errno %d", d.Result, d.Errno)
	}
	return d.Result
}

// notDone names the targets for which a command did not do what it says.
func notDone(results []event.Result) string {
	var failed []string
	for _, r := range results {
		if r.Outcome != event.Done && r.Outcome != event.Unchanged {
			failed = append(failed, strings.TrimPrefix(fmt.Sprintf("%s %s%s", r.Service, r.Outcome, colon(r.Error)), " "))
		}
	}
	if len(failed) == 0 {
		return ""
	}
	return ": " + names(failed)
}

// Undecoded is a stored record that this version cannot decode, as a line:
// what was read of it, and why not more.
func Undecoded(r event.Record, err error) string {
	if errors.Is(err, event.ErrUnknownKind) {
		return Line(r)
	}
	return clean(fmt.Sprintf("%-23s %6s %-16s %-20s %v", "-", "-", "-", "-", err))
}
