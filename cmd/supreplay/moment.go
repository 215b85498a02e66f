package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"supd/journal/event"
)

// moment is a point of the journal: a record's number, a time, or something
// that happened to a service.
type moment struct {
	seq  event.Seq // 0: the time counts
	hash string    // what the record's hash must begin with; empty: any
	at   time.Time
	span time.Duration // that at begins: a minute if it was written without seconds; else 0
	what *occurrence   // until resolve has found its record
}

// heldForm is a record as dumps, checkpoints and verify name it.
var heldForm = regexp.MustCompile(`^([0-9]+):([0-9a-f]{8,64})$`)

// parseMoment reads what the help text describes. Times without a zone are
// local; now is drawn once by the caller.
func parseMoment(text string, now time.Time) (moment, error) {
	text = strings.TrimSpace(text)
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		if n == 0 {
			return moment{}, usage("cannot read moment %q: records are numbered from 1", text)
		}
		return moment{seq: event.Seq(n)}, nil
	}
	if form := heldForm.FindStringSubmatch(text); form != nil {
		m, err := parseMoment(form[1], now)
		m.hash = form[2]
		return m, err
	}
	if text == "now" {
		return moment{at: now}, nil
	}
	if o, err := parseOccurrence(text); o != nil || err != nil {
		return moment{what: o}, err
	}
	if d, err := time.ParseDuration(strings.TrimSpace(strings.TrimSuffix(text, "ago"))); err == nil {
		if d < 0 {
			return moment{}, usage("cannot read moment %q: write how long ago it was without a sign", text)
		}
		return moment{at: now.Add(-d)}, nil
	}
	for _, layout := range []string{"15:04", "15:04:05"} {
		t, err := time.ParseInLocation(layout, text, now.Location())
		if err != nil {
			continue
		}
		t = time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), now.Location())
		if t.After(now) {
			t = t.AddDate(0, 0, -1)
		}
		return moment{at: t, span: spanOf(layout)}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05", "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return moment{at: t, span: spanOf(layout)}, nil
		}
	}
	return moment{}, usage(`cannot read moment %q: write a record's number, 03:12, "10m ago", "2026-11-23 03:12", RFC 3339 or "third crash of web"`, text)
}

// spanOf is what a time in this form leaves open.
func spanOf(layout string) time.Duration {
	if strings.HasSuffix(layout, "15:04") {
		return time.Minute
	}
	return 0
}

// optionalMoment is nil for an empty text.
func optionalMoment(text string, now time.Time) (*moment, error) {
	if text == "" {
		return nil, nil
	}
	m, err := parseMoment(text, now)
	return &m, err
}

// held tells whether the journal has the very record that a moment names by its
// hash too. A number alone may name another one now: what was only kept when a
// machine went down is lost, and its numbers are given anew.
func (s *source) held(m moment) error {
	if m.hash == "" {
		return nil
	}
	for st := range s.history(reading{full: headsOnly}) {
		if st.finding != nil || st.stray || st.rec.Record.Seq < m.seq {
			continue
		}
		if st.rec.Record.Seq == m.seq && !strings.HasPrefix(st.rec.Hash, m.hash) {
			return fmt.Errorf("record %d of this journal is another one, with hash %s: the one asked for was not durable yet when supd and its machine went down, or the journal was rewritten",
				m.seq, st.rec.Hash)
		}
		break
	}
	return nil // one that is missing is told by who looks at it
}

// String names the moment in messages.
func (m moment) String() string {
	if m.what != nil {
		return "the " + m.what.String()
	}
	if m.seq != 0 {
		return "record " + strconv.FormatUint(uint64(m.seq), 10)
	}
	return m.at.Format("2006-01-02 15:04:05 MST")
}

// before tells whether the record lies before the moment.
func (m moment) before(r event.Record) bool {
	if m.seq != 0 {
		return r.Seq < m.seq
	}
	return r.Time.Before(m.at)
}

// after tells whether the record lies after the moment.
func (m moment) after(r event.Record) bool {
	if m.seq != 0 {
		return r.Seq > m.seq
	}
	return r.Time.After(m.at)
}
