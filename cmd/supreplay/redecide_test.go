package main

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"supd/executor/policy"
	"supd/journal/event"
	"supd/projector"
)

// redecider takes the decisions of a recorded journal again: it makes from a
// record the input that led to it, has today's decider decide it on the state
// before it, with the times, ids and chance that were drawn then, and compares
// the records byte by byte.
type redecider struct {
	records []event.Encoded
	state   *projector.State
	at      int // the next record
	decided int // records that were decided again, equal
	taken   int // records whose input is not told by records: they are folded as they are
}

var errOther = errors.New("today's decision is another one")

func (d *redecider) run() error {
	d.state = projector.New()
	for d.at < len(d.records) {
		in, chance := d.input()
		if in == nil {
			if err := d.state.Apply(d.records[d.at]); err != nil {
				return err
			}
			d.at++
			d.taken++
			continue
		}
		if err := d.decide(in, chance); err != nil {
			return fmt.Errorf("record %d, %T: %w", d.records[d.at].Record.Seq, in, err)
		}
	}
	return nil
}

// decide decides one input; the records are those that were recorded.
func (d *redecider) decide(in policy.Input, chance float64) (err error) {
	n := 0
	first := d.records[d.at].Record
	mint := func(draft event.Draft) (event.Encoded, error) {
		if d.at+n >= len(d.records) {
			return event.Encoded{}, fmt.Errorf("%w: a %s more than recorded", errOther, draft.Data.Kind())
		}
		want := d.records[d.at+n]
		w := want.Record
		e, err := event.Encode(event.Record{
			ID: w.ID, Source: w.Source, Kind: draft.Data.Kind(), Subject: draft.Subject, Time: first.Time, Mono: first.Mono, Boot: first.Boot,
			Seq: d.state.Seq() + 1, Prev: d.state.Hash(), Cause: draft.Cause, Actor: draft.Actor, Data: draft.Data,
		})
		if base, ok := w.Data.(event.StateBaseData); ok && err == nil && sameBase(draft.Data, base) {
			e = want
		} else if err == nil && !bytes.Equal(e.Bytes, want.Bytes) {
			err = fmt.Errorf("%w\n now %s\n was %s", errOther, e.Bytes, want.Bytes)
		}
		n++
		return e, err
	}
	defer func() {
		if bug := recover(); bug != nil {
			err = fmt.Errorf("%v", bug)
		}
	}()
	tx := policy.NewTx(d.state, policy.Now{Wall: first.Time, Mono: first.Mono, Boot: first.Boot}, chance, mint)
	policy.Decide(tx, in)
	if n == 0 {
		return fmt.Errorf("%w: nothing", errOther)
	}
	d.at += n
	d.decided += n
	return nil
}

// batch are the records of the moment of the next one.
func (d *redecider) batch() []event.Encoded {
	end := d.at
	for end < len(d.records) && d.records[end].Record.Mono == d.records[d.at].Record.Mono && d.records[end].Record.Boot == d.records[d.at].Record.Boot {
		end++
	}
	return d.records[d.at:end]
}

// input makes the input that the next record tells of; nil where records do
// not tell it: what a recovery found, and that time has passed.
func (d *redecider) input() (in policy.Input, chance float64) {
	r := d.records[d.at].Record
	for _, e := range d.batch() {
		if s, ok := e.Record.Data.(event.RestartScheduledData); ok {
			chance = s.Jitter
			break
		}
	}
	s := r.Subject
	switch x := r.Data.(type) {
	case event.CommandAcceptedData:
		cmd := policy.Command{Actor: r.Actor, Client: x.Client, Remote: x.Remote, Request: event.CommandRequest{
			ID: x.Command, Verb: x.Verb, Patterns: x.Patterns, Args: x.Args, SentAt: x.SentAt,
		}}
		return cmd, chance
	case event.CommandRejectedData:
		if x.Command != nil {
			return nil, 0 // what was wrong with the request is not in the record
		}
		return policy.Rejected{Actor: r.Actor, Reason: x.Reason, Detail: x.Detail, Count: x.Count}, 0
	case event.AccessDeniedData:
		return policy.Denied{Actor: r.Actor, Subject: x.Subject, Count: x.Count}, 0
	case event.ConfigAppliedData:
		return d.configure(r, x), chance
	case event.ConfigRejectedData:
		return policy.ConfigRefused{Actor: r.Actor, Errors: x.Errors}, 0
	case event.SupdStoppingData:
		return policy.Shutdown{Reason: x.Reason, KeepServices: x.KeepServices, Forced: x.Forced}, 0
	case event.StateBaseData:
		if x.Part == 1 {
			return policy.Base{}, 0
		}
	case event.EngineStartedData:
		return d.started(x), 0
	case event.LoggerStartedData:
		return policy.LoggerStarted{Logger: x}, 0
	case event.InstanceStartingData:
		return policy.Parked{Service: s, Instance: x.Instance, PID: x.PID, StartTime: x.StartTime, Cgroup: x.Cgroup, SpecDigest: x.SpecDigest}, 0
	case event.InstanceRunningData:
		return policy.Executed{Service: s, Instance: x.Instance}, 0
	case event.InstanceReadyData:
		return policy.Ready{Service: s, Instance: x.Instance, By: x.By}, 0
	case event.InstanceExecFailedData:
		if v := d.state.Services[s]; v.Instance == nil {
			return policy.ParkFailed{Service: s, Instance: x.Instance, Step: x.Step, Path: x.Path, Error: x.Error, Errno: x.Errno}, chance
		}
		return policy.ExecFailed{Service: s, Instance: x.Instance, Step: x.Step, Path: x.Path, Error: x.Error, Errno: x.Errno}, 0
	case event.InstanceExitedData:
		return exitedInput(s, x), chance
	case event.InstanceSignaledData:
		return policy.Signaled{
			Service: s, Instance: x.Instance, Operation: x.Operation, Signal: x.Signal, Scope: x.Scope, Result: x.Result, PIDs: x.PIDs, Errno: x.Errno,
		}, chance
	case event.InstanceSweptData:
		if x.Method == "none" {
			return policy.TreeEmpty{Service: s, Instance: x.Instance}, chance
		}
		return policy.Swept{Service: s, Instance: x.Instance, Method: x.Method, Killed: x.Killed, Survived: x.Survived, Took: time.Duration(x.Took)}, chance
	case event.InstanceAdoptedData:
		return adopted(s, x), 0
	case event.RecoverySettledData:
		return d.settled(x), chance
	case event.HealthChangedData:
		return policy.Health{Service: s, Instance: x.Instance, Probe: x.Probe, From: x.From, To: x.To, Failures: x.Failures, Error: x.Error}, chance
	}
	return nil, 0
}

// settled is what a row of the recovery table was settled for: an answer of the
// keeper (5, 6), or that it knows of nothing (4, 7). What it found otherwise is
// only told in the records behind.
func (d *redecider) settled(x event.RecoverySettledData) policy.Input {
	b := d.batch()
	if len(b) > 1 {
		switch y := b[1].Record.Data.(type) {
		case event.InstanceAdoptedData:
			if x.Row == 5 {
				return adopted(x.Service, y)
			}
		case event.InstanceRunningData, event.OutputGapData: // of one that row 6 speaks of
			for _, e := range b[2:] {
				if y, ok := e.Record.Data.(event.InstanceExitedData); ok && x.Row == 6 && y.Instance == x.Instance {
					return lost(x.Service, y)
				}
			}
		case event.InstanceExitedData:
			if x.Row == 6 {
				return lost(x.Service, y)
			}
		}
	}
	for _, e := range b {
		if y, ok := e.Record.Data.(event.RecoverySettledData); ok && y.Row != 4 && y.Row != 7 {
			return nil
		}
	}
	return policy.Settle{}
}

// sameBase compares two bases without the deaths they carry, which newer versions
// tell more of.
func sameBase(now event.Data, was event.StateBaseData) bool {
	d, ok := now.(event.StateBaseData)
	if !ok || d.Parts != was.Parts || d.Part != was.Part {
		return false
	}
	mine, _ := projector.CutBase(string(d.State))
	theirs, _ := projector.CutBase(string(was.State))
	return mine == theirs
}

func lost(service string, x event.InstanceExitedData) policy.Lost {
	l := policy.Lost{Service: service, Instance: x.Instance, Leftovers: x.Leftovers}
	if x.Cause != event.CauseUnknown {
		exit := exitedInput(service, x)
		l.Exited = &exit
	}
	return l
}

func adopted(service string, x event.InstanceAdoptedData) policy.Adopted {
	return policy.Adopted{Service: service, Instance: x.Instance, By: x.By, Output: x.Output, PID: x.PID, StartTime: x.StartTime}
}

// started is the beginning of an engine; its keeper may be told of in the next
// record, or be the one that is known.
func (d *redecider) started(x event.EngineStartedData) policy.Started {
	in := policy.Started{Engine: x}
	if k := d.state.Supd.Keeper; k != nil {
		in.Keeper = event.KeeperStartedData{PID: k.PID, StartTime: k.StartTime}
	}
	for _, e := range d.batch() {
		switch y := e.Record.Data.(type) {
		case event.KeeperStartedData:
			in.Keeper = y
		case event.LoggerStartedData:
			in.Logger = &y
		}
	}
	return in
}

// configure is a configuration: what is known, with what its batch defines
// and removes.
func (d *redecider) configure(r event.Record, x event.ConfigAppliedData) policy.Configure {
	specs := map[string]event.Spec{}
	for name, v := range d.state.Services {
		if !v.Removed {
			specs[name] = v.Spec
		}
	}
	for _, e := range d.batch() {
		switch y := e.Record.Data.(type) {
		case event.ServiceDefinedData:
			specs[e.Record.Subject] = y.Spec
		case event.ServiceRemovedData:
			delete(specs, e.Record.Subject)
		}
	}
	in := policy.Configure{Actor: r.Actor, Digest: x.Digest, Files: x.Files, Scale: x.Scale, Start: x.Start}
	for name, s := range specs {
		in.Services = append(in.Services, policy.Definition{Name: name, Spec: s})
	}
	slices.SortFunc(in.Services, func(a, b policy.Definition) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return in
}
