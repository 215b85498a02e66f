package policy

import (
	"fmt"
	"maps"
	"slices"

	"supd/journal/event"
	"supd/projector"
)

// Use tells the executor that the configuration of this digest is applied:
// from here on services start with it (R11). It comes before any service of
// the decision is started.
type Use struct{ Digest string }

func (Use) effect() {}

// maxErrors bounds the faults of a configuration that are recorded (P9).
const maxErrors = 100

// concerned are the services that an apply changes: its targets. The others
// are not touched (P7).
func concerned(s *projector.State, in Command) []string {
	if in.Configure == nil {
		return []string{}
	}
	d := difference(s, *in.Configure)
	names := append(slices.Clone(d.Added), d.Removed...)
	for _, c := range d.Changed {
		names = append(names, c.Service)
	}
	slices.Sort(names)
	return names
}

// apply carries out an accepted apply. A configuration that is wrong changes
// nothing; one that is applied already is not recorded again.
func (tx *Tx) apply(in Command, accepted event.Record) {
	c := tx.State.Commands[in.Request.ID]
	if in.Configure == nil {
		tx.refuseConfiguration(in.Actor, accepted.ID, in.Errors)
		tx.end(c, event.Refused, faults(in.Errors))
		return
	}
	if in.Configure.Digest != tx.State.Config.Digest || len(c.Targets) > 0 {
		next := *in.Configure
		next.Actor = in.Actor
		tx.configure(next, accepted.ID)
	}
	if len(c.Targets) > 0 {
		return // ended by the results of its targets
	}
	outcome := event.Unchanged
	if in.Configure.Own {
		outcome = event.Done
	}
	tx.end(c, outcome, []event.Result{})
}

// refuseConfiguration records what is wrong with a configuration.
func (tx *Tx) refuseConfiguration(actor, cause string, errors []event.ConfigError) {
	tx.emitAs(actor, "", cause, event.ConfigRejectedData{Errors: bounded(errors)})
}

func bounded(errors []event.ConfigError) []event.ConfigError {
	kept := slices.Clone(errors[:min(len(errors), maxErrors)])
	if more := len(errors) - len(kept); more > 0 {
		last := errors[len(kept)]
		last.Message = fmt.Sprintf("%d more errors from here on", more)
		kept = append(kept, last)
	}
	for i := range kept {
		kept[i].Message = clip(kept[i].Message)
	}
	return kept
}

// faults are the errors of a configuration as results of the apply: whoever
// asks for its outcome later reads them too.
func faults(errors []event.ConfigError) []event.Result {
	results := []event.Result{}
	for _, e := range bounded(errors) {
		results = append(results, event.Result{
			Outcome: event.Refused, Error: fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message),
		})
	}
	return results
}

// Plan says what Configure would do to the services of the state.
func Plan(s *projector.State, in Configure) []event.PlannedService {
	plan := map[string]event.PlannedService{}
	for name, v := range s.Services {
		if !v.Removed {
			plan[name] = event.PlannedService{Service: name, Action: event.PlanStay}
		}
	}
	d := difference(s, in)
	for _, name := range d.Removed {
		p := event.PlannedService{Service: name, Action: event.PlanRemove}
		if s.Services[name].Live() {
			p.Action = event.PlanStop
		}
		plan[name] = p
	}
	for _, c := range d.Changed {
		p := event.PlannedService{Service: c.Service, Action: event.PlanUpdate, Keys: c.Keys}
		if v := s.Services[c.Service]; c.Action == event.ChangeRestart && v.Live() && v.Want == event.Up {
			p.Action = event.PlanRestart
		}
		plan[c.Service] = p
	}
	added := map[string]bool{}
	for _, name := range d.Added {
		added[name] = true
	}
	for _, def := range in.Services {
		if !added[def.Name] {
			continue
		}
		p := event.PlannedService{Service: def.Name, Action: event.PlanAdd}
		if def.Spec.Autostart {
			p.Action = event.PlanStart
		}
		plan[def.Name] = p
	}
	services := make([]event.PlannedService, 0, len(plan))
	for _, name := range slices.Sorted(maps.Keys(plan)) {
		services = append(services, plan[name])
	}
	return services
}
