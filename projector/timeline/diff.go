package timeline

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"supd/journal/event"
	"supd/projector"
)

// Change is one field that differs between two states.
type Change struct {
	Field string `json:"field"`
	From  string `json:"from"` // empty: it was not there
	To    string `json:"to"`   // empty: it is not there any more
}

// ServiceChange is what differs of one service.
type ServiceChange struct {
	Service string   `json:"service"`
	What    string   `json:"what"` // added, removed, changed
	Fields  []Change `json:"fields"`
}

// Difference is what differs between two states of one journal.
type Difference struct {
	Supd     []Change        `json:"supd"`
	Services []ServiceChange `json:"services"` // sorted; only those that differ
	Same     int             `json:"same"`     // services that do not differ
}

// Diff compares two states.
func Diff(from, to *projector.State) Difference {
	d := Difference{Supd: []Change{}, Services: []ServiceChange{}}
	names := maps.Clone(from.Services)
	maps.Copy(names, to.Services)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		a, b := from.Services[name], to.Services[name]
		change := ServiceChange{Service: name, What: "changed", Fields: compare(serviceFields(a), serviceFields(b))}
		switch {
		case a == nil:
			change.What = "added"
		case b == nil:
			change.What = "removed"
		case len(change.Fields) == 0:
			d.Same++
			continue
		}
		d.Services = append(d.Services, change)
	}
	d.Supd = append(d.Supd, compare(supdFields(from), supdFields(to))...)
	return d
}

// field is a name and how it reads; empty is absent.
type field struct{ name, text string }

// compare relates two lists of the same fields; either may be nil.
func compare(from, to []field) []Change {
	changes := []Change{}
	for i := range max(len(from), len(to)) {
		var a, b field
		if i < len(from) {
			a = from[i]
		}
		if i < len(to) {
			b = to[i]
		}
		if a.text != b.text {
			changes = append(changes, Change{Field: firstOf(a.name, b.name), From: clean(a.text), To: clean(b.text)})
		}
	}
	return changes
}

func serviceFields(v *projector.Service) []field {
	if v == nil {
		return nil
	}
	pid, instance, ready, next, exited := "", "", "", "", ""
	if i := v.Instance; i != nil {
		pid, instance, ready = fmt.Sprint(i.PID), i.ID, yes(i.Running != nil)
	}
	if n := v.NextStart; n != nil {
		next = n.At.Wall.UTC().Format(time.RFC3339Nano)
	}
	if x := v.LastExit; x != nil {
		exited = fmt.Sprintf("%s of run %d", ExitText(x.Code, x.Signal), x.Run)
	}
	why := ""
	if text := reason(v); text != nil {
		why = *text
	}
	return []field{
		{"state", string(v.Phase)},
		{"want", string(v.Want)},
		{"why", why},
		{"run", number(int(v.Run))},
		{"pid", pid},
		{"instance", instance},
		{"executing", ready},
		{"restarts", fmt.Sprint(v.Restarts)},
		{"retries", fmt.Sprint(v.Retries)},
		{"next start", next},
		{"last exit", exited},
		{"specification", v.Digest},
		{"command", strings.Join(v.Spec.Command, " ")},
		{"removed", yes(v.Removed)},
	}
}

func supdFields(s *projector.State) []field {
	keeper, stopping := "", ""
	if k := s.Supd.Keeper; k != nil {
		keeper = fmt.Sprint(k.PID)
	}
	if x := s.Supd.Stopping; x != nil {
		stopping = x.Reason
	}
	open := slices.SortedFunc(maps.Values(s.Commands), func(a, b *projector.Command) int { return int(a.Seq) - int(b.Seq) })
	var commands []string
	for _, c := range open {
		commands = append(commands, fmt.Sprintf("%s %s by %s", c.Verb, names(c.Targets), c.Actor))
	}
	return []field{
		{"boot", s.Supd.Boot},
		{"engine starts", number(s.Supd.Engines)},
		{"keeper", keeper},
		{"stopping", stopping},
		{"ended in good order", yes(s.Supd.Stopped)},
		{"journal behind", yes(s.Supd.Degraded)},
		{"configuration", s.Config.Digest},
		{"open commands", strings.Join(commands, "; ")},
	}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// Counts is how often each kind of record came about each service between two
// moments; the empty service is supd.
type Counts map[string]map[event.Kind]int

// Add counts a record. It keeps nothing of it: its texts may be part of much
// more.
func (c Counts) Add(r event.Record) {
	kinds := c[r.Subject]
	if kinds == nil {
		kinds = map[event.Kind]int{}
		c[strings.Clone(r.Subject)] = kinds
	}
	if n, ok := kinds[r.Kind]; ok {
		kinds[r.Kind] = n + 1
		return
	}
	kinds[event.Kind(strings.Clone(string(r.Kind)))] = 1
}
