package projector

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"supd/journal/event"
)

// ErrChain is returned for a record that does not follow the last one: its
// seq or prev is wrong. The journal is damaged or altered there (P11).
var ErrChain = errors.New("record does not follow the one before it")

// ErrImpossible is returned for a record that contradicts the state. No
// journal that supd wrote has one; the state is unchanged.
var ErrImpossible = errors.New("record contradicts the state")

// Apply folds one record into the state.
func (s *State) Apply(e event.Encoded) error {
	r := &e.Record
	if err := s.follows(r); err != nil {
		return err
	}
	if err := s.apply(&e); err != nil {
		return fmt.Errorf("cannot apply record %d (%s %s): %w", r.Seq, r.Kind, r.Subject, err)
	}
	s.seq, s.hash = r.Seq, e.Hash
	return nil
}

// follows holds a record against the chain. A gap may begin before the newest
// record that is there: a publish that timed out may have stored it late (R6,
// R10).
func (s *State) follows(r *event.Record) error {
	if r.Seq == s.seq+1 && r.Prev == s.hash {
		return nil
	}
	if gap, ok := r.Data.(event.JournalGapData); ok && gap.First <= s.seq+1 && s.seq < gap.Last && gap.Last+1 == r.Seq && gap.LastHash == r.Prev {
		s.stale = true
		return nil
	}
	return fmt.Errorf("%w: record %d with prev %.12s… comes after record %d with hash %.12s…", ErrChain, r.Seq, r.Prev, s.seq, s.hash)
}

// apply is the table of what each kind changes. A kind without a line here is
// for people and for audit; it changes nothing.
func (s *State) apply(e *event.Encoded) error {
	r := &e.Record
	switch d := r.Data.(type) {
	case event.StateBaseData:
		return s.applyBase(e, d)
	case event.EngineStartedData:
		if s.Supd.Boot != r.Boot {
			s.rebase(r)
		}
		s.Supd.Boot, s.Supd.Stopped = r.Boot, false
		s.Supd.Since = r.Seq
		s.Supd.Engines++
		return nil
	case event.KeeperStartedData:
		// An end that was under way ended with the keeper that was told to stop:
		// who starts another one wants services to run.
		s.Supd.Keeper, s.Supd.Stopping = &Keeper{PID: d.PID, StartTime: d.StartTime}, nil
		for _, v := range s.Services {
			if v.Instance != nil {
				v.Instance.Adopted = false // not by this one
			}
			if v.Hook != nil {
				v.Hook.Doubt = true // what the one before it was doing, nobody can tell
			}
		}
		return nil
	case event.SupdStoppingData:
		s.Supd.Stopping = &Stopping{Reason: d.Reason, KeepServices: d.KeepServices, Forced: d.Forced, Record: r.ID}
		return nil
	case event.SupdStoppedData:
		s.Supd.Stopping, s.Supd.Stopped = nil, true
		return nil
	case event.JournalDegradedData:
		s.Supd.Degraded = true
		return nil
	case event.JournalHealedData:
		s.Supd.Degraded = false
		return nil
	case event.ConfigAppliedData:
		return s.applyConfiguration(r, d)
	case event.ConfigRejectedData:
		s.configured()
		return nil
	case event.CommandAcceptedData:
		return s.applyAccepted(r, d)
	case event.CommandEndedData:
		return s.applyEnded(r, d)
	case event.ServiceDefinedData:
		s.applyDefined(r, d)
		return nil
	case event.Unknown:
		return event.ErrUnknownKind
	}
	return s.applyToService(r)
}

// rebase moves the scheduled restarts of another boot to this one's clock: the
// smaller of what is left by the wall clock and the original delay (R13). It is
// done once, at the first record of the boot: a wall clock that is wrong by
// years could else put a restart off for ever.
func (s *State) rebase(r *event.Record) {
	now := event.Moment{Mono: r.Mono, Wall: r.Time}
	for _, v := range s.Services {
		if n := v.NextStart; n != nil && n.Boot != r.Boot {
			left := min(n.At.Wall.Sub(r.Time), time.Duration(n.Delay))
			v.NextStart = &NextStart{At: now.Add(max(0, left)), Delay: n.Delay, Boot: r.Boot, Record: n.Record}
		}
		v.Completed = false // what a oneshot has set up is gone with the boot
	}
}

func (s *State) configured() {
	if s.Supd.Keeper != nil {
		s.Supd.Keeper.Configured = true
	}
}

// applyToService folds the records that need a service to exist.
func (s *State) applyToService(r *event.Record) error {
	switch r.Kind.Group() {
	case "service", "instance", "restart", "health", "hook":
	default:
		return nil
	}
	v := s.Services[r.Subject]
	if v == nil {
		return fmt.Errorf("%w: there is no service %q", ErrImpossible, r.Subject)
	}
	if err := v.apply(r, s.Supd.Stopping != nil); err != nil {
		return err
	}
	s.tally(v, r)
	if _, ok := r.Data.(event.ServiceRemovedData); ok {
		s.supersedeStarts(v, "the service was removed", nil) // even if it is defined again before it has gone
	}
	s.applyAcross(v, r)
	if x, ok := r.Data.(event.InstanceExitedData); ok && x.Leftovers {
		return nil // not over: the record that says what becomes of them follows
	}
	if v.Removed && !v.Busy() {
		s.forgetService(v)
		return nil
	}
	if d, ok := r.Data.(event.InstanceSignaledData); ok {
		s.applyCommandSignal(v, d)
	}
	s.settleTargets(v)
	return nil
}

func (s *State) applyDefined(r *event.Record, d event.ServiceDefinedData) {
	v := s.Services[r.Subject]
	if v == nil {
		v = &Service{Name: r.Subject, Want: event.Down, Phase: event.PhaseStopped, Removed: true}
		s.Services[r.Subject] = v
	}
	added := v.Removed
	v.Spec, v.Digest, v.Removed, v.Definition = d.Spec, d.Digest, false, r.Seq
	s.graph = nil
	if v.FirstWant = added && d.Spec.Autostart && v.Want == event.Down; added {
		s.awaitAdded(v)
	}
	s.settleTargets(v) // what a reload is refused for may be in the specification
}

// supersedeStarts ends the commands that want a service up, and those of the
// verbs that also tells.
func (s *State) supersedeStarts(v *Service, why string, also func(event.Verb) bool) {
	for _, id := range slices.Clone(v.Pending) {
		c := s.Commands[id]
		if c.Verb == event.VerbStart || c.Verb == event.VerbRestart || also != nil && also(c.Verb) && !v.Removed {
			s.resolve(v, c, event.Result{Service: v.Name, Outcome: event.Superseded, Error: why})
		}
	}
}

// supersedeStops ends the commands that want a service down.
func (s *State) supersedeStops(v *Service, why string) {
	for _, id := range slices.Clone(v.Pending) {
		if c := s.Commands[id]; c.Verb == event.VerbStop {
			s.resolve(v, c, event.Result{Service: v.Name, Outcome: event.Superseded, Error: why})
		}
	}
}

// forgetService drops a removed service; commands that still wait for it end.
func (s *State) forgetService(v *Service) {
	s.settleTargets(v)
	delete(s.Services, v.Name)
	delete(s.deaths, v.Name)
	s.graph = nil
}
