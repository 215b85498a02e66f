package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"supd/journal/event"
)

// occurrence is the n-th time that something happened to a service.
type occurrence struct {
	n       int // from 1 on; 0 is the last
	what    string
	service string
}

var ordinals = []string{"last", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"}

// happenings are what can be counted, each with the kind of its records and
// what a service did then.
var happenings = map[string]struct {
	kind event.Kind
	did  string
	is   func(event.Data) bool
}{
	"crash":   {event.InstanceExited, "crashed", func(d event.Data) bool { return !d.(event.InstanceExitedData).Expected }},
	"exit":    {event.InstanceExited, "exited", func(event.Data) bool { return true }},
	"oom":     {event.InstanceExited, "ran out of memory", func(d event.Data) bool { return d.(event.InstanceExitedData).OOM }},
	"start":   {event.InstanceStarting, "started", func(event.Data) bool { return true }},
	"stop":    {event.InstanceStopping, "was stopped", func(event.Data) bool { return true }},
	"restart": {event.RestartScheduled, "was restarted", func(event.Data) bool { return true }},
	"fatal":   {event.ServiceFatal, "became fatal", func(event.Data) bool { return true }},
}

var (
	occurrenceForm = regexp.MustCompile(`^(?i:(the )?([a-z]+|[0-9]+(?:st|nd|rd|th)) ([a-z]+)) (?i:of) (\S+)$`)
	countedForm    = regexp.MustCompile(`^[0-9]+`)
)

// parseOccurrence reads "third crash of web"; nil for what has not that form.
func parseOccurrence(text string) (*occurrence, error) {
	m := occurrenceForm.FindStringSubmatch(text)
	if m == nil {
		return nil, nil
	}
	o := &occurrence{n: slices.Index(ordinals, strings.ToLower(m[2])), what: strings.ToLower(m[3]), service: m[4]}
	if digits := countedForm.FindString(m[2]); digits != "" {
		o.n, _ = strconv.Atoi(digits)
		if o.n == 0 {
			o.n = -1
		}
	}
	if o.n < 0 {
		return nil, usage("cannot read moment %q: which one is %q? Write first, second, 3rd, … or last", text, m[2])
	}
	if _, known := happenings[o.what]; !known {
		return nil, usage("cannot read moment %q: what can be counted is %s", text, strings.Join(slices.Sorted(maps.Keys(happenings)), ", "))
	}
	return o, nil
}

// String is as people write it.
func (o *occurrence) String() string {
	which := strconv.Itoa(o.n) + "th"
	if o.n < len(ordinals) {
		which = ordinals[o.n]
	}
	return which + " " + o.what + " of " + o.service
}

// resolve finds the record of an occurrence, and holds a record's hash against
// the journal; other moments stay as they are.
func (s *source) resolve(m moment) (moment, error) {
	o := m.what
	if o == nil {
		return m, s.held(m)
	}
	h := happenings[o.what]
	count, first, last := 0, event.Seq(0), event.Seq(0)
	for e, err := range s.reader.Records(0) {
		if err != nil {
			continue // what is wrong with the journal shows when the moment is looked at
		}
		var head event.Record
		_, ok := event.Scan(e.Data, &head)
		if first == 0 {
			first = head.Seq
		}
		if ok && (head.Subject != o.service || head.Kind != h.kind) {
			continue
		}
		rec, err := event.Decode(e.Data)
		r := rec.Record
		if err != nil || r.Seq <= last || r.Kind != h.kind || r.Subject != o.service || !h.is(r.Data) {
			continue
		}
		count++
		if m.seq, last = r.Seq, r.Seq; count == o.n {
			break
		}
	}
	if count == 0 || o.n > count {
		detail := ""
		if first > 1 {
			detail = fmt.Sprintf("; it begins with record %d", first)
		}
		often := fmt.Sprintf("%s only %d times", h.did, count)
		switch count {
		case 0:
			often = "never " + h.did
		case 1:
			often = h.did + " only once"
		}
		return m, fmt.Errorf("%s %s in this journal%s", o.service, often, detail)
	}
	m.what = nil
	return m, nil
}
