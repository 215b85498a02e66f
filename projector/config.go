package projector

import (
	"fmt"
	"slices"

	"supd/journal/event"
)

// applyConfiguration notes which configuration is applied, and what the
// command that brought it waits for: a removed service for its end, one that
// is restarted for its next run. What changes live is done, and so is what
// changes while nobody waits for the service to run: its next start has it.
func (s *State) applyConfiguration(r *event.Record, d event.ConfigAppliedData) error {
	by := s.applyOf(r.Cause)
	for _, name := range concerned(d) {
		if v := s.Services[name]; v == nil && !slices.Contains(d.Added, name) {
			return fmt.Errorf("%w: there is no service %q", ErrImpossible, name)
		}
		if by != nil && !by.targets(name) {
			return fmt.Errorf("%w: %s is no target of command %s", ErrImpossible, name, by.ID)
		}
	}
	s.Config = Config{Digest: d.Digest, Scale: d.Scale, Start: d.Start}
	s.configured()
	s.supersedeApplies(by, d)
	if by == nil {
		return nil
	}
	for _, name := range d.Removed {
		v := s.Services[name]
		v.Pending = append(v.Pending, by.ID)
	}
	for _, c := range d.Changed {
		v := s.Services[c.Service]
		if c.Action == event.ChangeRestart && v.Want == event.Up && (v.Busy() || v.Phase == event.PhaseStopped) {
			v.Pending = append(v.Pending, by.ID)
			continue
		}
		s.setResult(by, event.Result{Service: v.Name, Outcome: event.Done})
	}
	return nil
}

func concerned(d event.ConfigAppliedData) []string {
	names := append(slices.Clone(d.Added), d.Removed...)
	for _, c := range d.Changed {
		names = append(names, c.Service)
	}
	return names
}

// applyOf finds the open apply command whose acceptance is the given record.
func (s *State) applyOf(record string) *Command {
	for _, c := range s.Commands {
		if c.Configures() && c.Record == record {
			return c
		}
	}
	return nil
}

// targets tells whether a command is about a service.
func (c *Command) targets(service string) bool {
	_, is := c.After[service]
	return is
}

// supersedeApplies ends what earlier configurations wait for and cannot get
// any more: the end of a service that is there again, the start of one that is
// gone, and what was never begun because power failed within their records.
func (s *State) supersedeApplies(by *Command, d event.ConfigAppliedData) {
	const why = "superseded by a later configuration"
	for _, c := range s.Commands {
		if !c.Configures() || c == by {
			continue
		}
		for _, name := range c.Targets {
			if _, done := c.Results[name]; done {
				continue
			}
			v, res := s.Services[name], event.Result{Service: name, Outcome: event.Superseded, Error: why}
			begun := v != nil && slices.Contains(v.Pending, c.ID)
			switch {
			case !begun:
				s.setResult(c, res)
			case slices.Contains(d.Added, name) || slices.Contains(d.Removed, name):
				s.resolve(v, c, res)
			}
		}
	}
	s.findResolved() // in the order of the commands, whatever the order of the map
}

// awaitAdded has the apply command that adds a service wait until it runs. One
// that is not started is all there can be.
func (s *State) awaitAdded(v *Service) {
	for _, c := range s.Commands {
		if _, done := c.Results[v.Name]; !c.Configures() || !c.targets(v.Name) || done {
			continue
		}
		if v.Spec.Autostart {
			v.Pending = append(v.Pending, c.ID)
		} else {
			s.setResult(c, event.Result{Service: v.Name, Outcome: event.Done})
		}
	}
}
