package policy_test

import (
	"fmt"
	"slices"

	"supd/journal/event"
	"supd/projector"
)

// requirers lists the services whose specification requires the given one.
func (b *bench) requirers(name string) (list []*projector.Service) {
	for _, other := range b.names() {
		w := b.s.Services[other]
		if slices.ContainsFunc(w.Spec.Requires, func(d event.Dependency) bool { return d.Name == name }) {
			list = append(list, w)
		}
	}
	return list
}

// startsInOrder: nothing starts before what it requires is as it has to be,
// or beside what it is in conflict with, whatever the policy thinks of it.
func (b *bench) startsInOrder(name string) {
	v := b.s.Services[name]
	for _, d := range v.Spec.Requires {
		t := b.s.Services[d.Name]
		switch {
		case t == nil || t.Removed:
			b.fail("%s starts without %s", name, d.Name)
		case t.Spec.Oneshot():
			x := t.LastExit
			if t.Live() || x == nil || !x.Expected || x.Stop != "" {
				b.fail("%s starts before %s is completed", name, d.Name)
			}
		case t.Instance == nil || t.Instance.Running == nil || t.Instance.Stop != nil || t.Instance.Awaits && t.Instance.Ready == nil:
			b.fail("%s starts before %s is ready", name, d.Name)
		}
	}
	for _, c := range v.Spec.Conflicts {
		if t := b.s.Services[c]; t != nil && t.Live() {
			b.fail("%s starts beside %s", name, c)
		}
	}
	if v.Hook != nil && v.Hook.Name != event.HookPreStart {
		b.fail("%s starts during %s", name, v.Hook.Name)
	}
}

// stopsInOrder: who requires a service ends before it, when both are to end.
func (b *bench) stopsInOrder(name string, d event.InstanceStoppingData) {
	s := b.s.Supd.Stopping
	wanted := d.Reason == event.ReasonCommand || d.Reason == event.ReasonDependency || d.Reason == event.ReasonShutdown && d.Signal != event.Kill
	if v := b.s.Services[name]; !wanted || v == nil || v.Instance == nil || v.Instance.ID != d.Instance || s != nil && s.Forced {
		return // or only its tree is left
	}
	for _, w := range b.requirers(name) {
		if i := w.Instance; i != nil && !i.Stuck && (w.Want == event.Down || s != nil) {
			b.fail("%s is stopped before %s, which requires it", name, w.Name)
		}
	}
}

// connect adds to services all that they have to do with, now or in the
// configuration: what they depend on, what depends on them, conflicts.
func (b *bench) connect(set map[string]bool) {
	link := func(name string, s event.Spec) (grew bool) {
		others := slices.Clone(s.Conflicts)
		for _, d := range s.DependsOn() {
			others = append(others, d.Name)
		}
		for _, o := range others {
			if set[name] != set[o] {
				set[name], set[o], grew = true, true, true
			}
		}
		return grew
	}
	for again := true; again; {
		again = false
		for _, name := range b.names() {
			again = link(name, b.s.Services[name].Spec) || again
		}
		for name, s := range b.config {
			again = link(name, s) || again
		}
	}
}

// story tells the newest records, for a history that failed.
func (b *bench) story(n int) string {
	text := ""
	for _, e := range b.log[max(0, len(b.log)-n):] {
		r := e.Record
		text += fmt.Sprintf("%d %s %s %s%s\n", r.Seq, r.Kind, r.Subject, data(r), from(r))
	}
	return text
}
