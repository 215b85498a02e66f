package policy

import (
	"maps"
	"slices"

	"supd/journal/event"
	"supd/projector"
)

// configure applies a configuration: services that are new, gone or changed
// are acted on, and no other is touched (P7).
func (tx *Tx) configure(in Configure, cause string) {
	d := difference(tx.State, in)
	next := map[string]Definition{}
	for _, def := range in.Services {
		next[def.Name] = def
	}
	r := tx.emitAs(in.Actor, "", cause, d)
	// Those at rest are forgotten at once, which makes the graph another one: they
	// come last, so that it is not computed anew for each of the others.
	for _, atRest := range []bool{false, true} {
		for _, name := range d.Removed {
			if v := tx.State.Services[name]; v != nil && !v.Removed && v.Busy() != atRest {
				tx.remove(v, r.ID)
			}
		}
	}
	for _, name := range d.Added {
		tx.define(next[name], r.ID)
	}
	for _, c := range d.Changed {
		tx.redefine(tx.State.Services[c.Service], next[c.Service], c.Action == event.ChangeRestart, r.ID)
	}
	for _, name := range in.Wanted {
		if v := tx.State.Services[name]; v != nil && v.Want == event.Down {
			tx.emit(name, r.ID, event.ServiceWantedData{Want: event.Up, Reason: event.ReasonAutostart})
		}
	}
	tx.pullConfigured(d, in.Wanted, r.ID)
	tx.act(Use{in.Digest})
}

// difference is what a configuration changes, as it is recorded.
func difference(s *projector.State, in Configure) event.ConfigAppliedData {
	d := event.ConfigAppliedData{
		Digest: in.Digest, Files: in.Files, Added: []string{}, Removed: []string{}, Changed: []event.ConfigChange{},
		Scale: in.Scale, Start: in.Start,
	}
	next := map[string]bool{}
	for _, def := range in.Services {
		next[def.Name] = true
		v := s.Services[def.Name]
		if v == nil || v.Removed {
			d.Added = append(d.Added, def.Name)
			continue
		}
		if keys, restart := v.Spec.Diff(def.Spec); len(keys) > 0 {
			action := event.ChangeLive
			if restart {
				action = event.ChangeRestart
			}
			d.Changed = append(d.Changed, event.ConfigChange{Service: def.Name, Keys: keys, Action: action})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		if !next[name] && !s.Services[name].Removed {
			d.Removed = append(d.Removed, name)
		}
	}
	return d
}

// pullConfigured wants up what the services that are new, wanted now, or have
// other dependencies, require and want.
func (tx *Tx) pullConfigured(d event.ConfigAppliedData, wanted []string, cause string) {
	names := append(slices.Clone(d.Added), wanted...)
	for _, c := range d.Changed {
		if slices.ContainsFunc(c.Keys, func(k string) bool { return k == "requires" || k == "wants" || k == "conflicts" }) {
			names = append(names, c.Service)
		}
	}
	for _, name := range names {
		if v := tx.State.Services[name]; v != nil && v.Want == event.Up {
			tx.pull(v, cause, true, map[string]bool{name: true})
		}
	}
}

func (tx *Tx) remove(v *projector.Service, cause string) {
	if v.Want == event.Up {
		tx.emit(v.Name, cause, event.ServiceWantedData{Want: event.Down, Reason: event.ReasonConfig})
	}
	if v.Phase == event.PhaseBackoff {
		tx.emit(v.Name, cause, event.RestartCancelledData{By: event.ReasonConfig})
	}
	if v.Instance != nil && !heldUp(tx.State, v) {
		tx.stop(v, event.ReasonConfig, cause)
	}
	tx.emit(v.Name, cause, event.ServiceRemovedData{})
}

// define gives a new service its specification and, by autostart, its first
// want.
func (tx *Tx) define(def Definition, cause string) {
	tx.emit(def.Name, cause, event.ServiceDefinedData{Spec: def.Spec, Digest: def.Spec.Digest()})
	v := tx.State.Services[def.Name]
	if def.Spec.Autostart && v.Want == event.Down {
		tx.emit(def.Name, cause, event.ServiceWantedData{Want: event.Up, Reason: event.ReasonAutostart})
	}
	tx.stop(v, event.ReasonConfig, cause) // it was removed, and its end had to wait for others
}

// redefine changes a service. A running instance is replaced only if a key
// changed that it was started with; one that waits for a restart starts with
// the new specification anyway.
func (tx *Tx) redefine(v *projector.Service, def Definition, restart bool, cause string) {
	tx.emit(v.Name, cause, event.ServiceDefinedData{Spec: def.Spec, Digest: def.Spec.Digest()})
	if restart {
		tx.stop(v, event.ReasonConfig, cause)
	}
}
