package timeline

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"supd/journal/event"
)

// because is the record as a part of an explanation, with what others know of it.
func (n *told) because() string {
	if n.text != "" {
		return n.text
	}
	return because(n.record)
}

// ordered notes an order to end.
func (s *Story) ordered(n *told, d event.InstanceStoppingData) {
	t := s.trace(d.Instance)
	t.stop, t.deadline = n, d.Deadline
	switch d.Reason {
	case event.ReasonHealth:
		n.before = t.health
	case event.ReasonStartTimeout:
		if spec, ok := s.specs[n.record.Subject]; ok {
			n.text = t.overdue(spec) + fmt.Sprintf(", and was told to end with %s (start-timeout)", d.Signal)
		}
	}
}

// extend notes more time that an instance was given.
func (t *trace) extend(d event.InstanceExtendedData) {
	if d.Of == event.ExtendStart {
		t.extended = true
		return
	}
	t.deadline = d.Deadline
}

// overdue names the limit that a start exceeded, and what was awaited.
func (t *trace) overdue(spec event.Spec) string {
	more := ""
	if t.extended {
		more = " and the time that it had asked for"
	}
	if !t.running || spec.Ready == nil {
		return fmt.Sprintf("its program was not executed within its start_timeout of %s%s", limit(spec.StartTimeout, event.DefaultStartTimeout), more)
	}
	return fmt.Sprintf("it was not ready within its ready.timeout of %s%s (%s)", limit(spec.Ready.Timeout, event.DefaultReadyTimeout), more, awaited(*spec.Ready))
}

// limit is a time limit in force, for people.
func limit(d event.Duration, otherwise time.Duration) string {
	if d <= 0 {
		d = event.Duration(otherwise)
	}
	return span(d)
}

// awaited says by what a service shows that it is ready.
func awaited(r event.Ready) string {
	switch {
	case r.Notify:
		return "READY=1 on NOTIFY_SOCKET"
	case r.FD != nil:
		return fmt.Sprintf("a newline on descriptor %d", *r.FD)
	case r.Log != "":
		return fmt.Sprintf("a line of output that matches %q", r.Log)
	}
	return probed(r.Probe)
}

// probed names a probe by its kind and what it asks.
func probed(p event.Probe) string {
	return p.Kind() + " " + p.TCP + p.HTTP + strings.Join(p.Exec, " ")
}

// outlasted says of an exit by SIGKILL that supd sent it as the time for the
// stop was over; empty if that is not so. The record of the signal may come
// later than the exit, so the deadline tells.
func (s *Story) outlasted(r event.Record, d event.InstanceExitedData) string {
	t := s.traces[d.Instance]
	if t == nil || t.stop == nil || d.Signal == nil || *d.Signal != event.Kill || t.deadline.Mono <= 0 {
		return ""
	}
	order := t.stop.record
	signal := order.Data.(event.InstanceStoppingData).Signal
	if signal == event.Kill || order.Boot != r.Boot || r.Mono < t.deadline.Mono {
		return ""
	}
	return fmt.Sprintf("%s; its stop.timeout of %s had run out after %s", because(r), span(event.Duration(t.deadline.Mono-order.Mono)), signal)
}

// wrote is the instance of a program that failed by itself, and the command
// that shows its output; empty for every other root.
func (s *Story) wrote(r event.Record) (instance, command string) {
	d, ok := r.Data.(event.InstanceExitedData)
	if !ok || d.Code == nil || *d.Code == 0 || d.Expected {
		return "", ""
	}
	run := d.Instance
	if n, ok := s.find(s.trace(d.Instance).starting); ok {
		run = fmt.Sprint(n.record.Data.(event.InstanceStartingData).Run)
	}
	return d.Instance, fmt.Sprintf("supctl logs %s --instance %s", r.Subject, run)
}

// recallSpecs takes the specifications out of a base, for services whose
// definition has left the journal. What cannot be read is left out: an
// explanation says less without it.
func (s *Story) recallSpecs(state string) {
	var base struct {
		Services map[string]struct {
			Spec event.Spec `json:"spec"`
		} `json:"services"`
	}
	if json.Unmarshal([]byte(state), &base) != nil {
		return
	}
	for name, v := range base.Services {
		if _, told := s.specs[name]; !told {
			s.specs[name] = v.Spec
		}
	}
}
