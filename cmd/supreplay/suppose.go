package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"supd/cmd/internal/config"
	"supd/executor/policy"
	"supd/journal/event"
	"supd/projector"
	"supd/projector/timeline"
)

// middle stands for chance where none was drawn.
const middle = 0.5

// supposer follows each service in a state of its own, under another policy.
// Facts are taken from the journal; decisions about restarts are taken anew.
type supposer struct {
	query
	policies *config.RestartPolicies
	fold     fold // as it was
	known    bool
	worlds   map[string]*world
	found    map[string]*alternative
	inside   bool
}

// whatIf follows a history under other policies.
func (s *source) whatIf(q query, policies *config.RestartPolicies, note func(*finding)) (*supposition, error) {
	if err := q.resolve(s); err != nil {
		return nil, err
	}
	w := &supposer{query: q, policies: policies, worlds: map[string]*world{}, found: map[string]*alternative{}}
	var latest time.Time
	for st := range s.history(reading{}) {
		if st.finding != nil {
			if st.finding.Grade == damage {
				note(st.finding)
			}
			continue
		}
		if st.stray {
			continue
		}
		r := st.rec.Record
		if r.Time.After(latest) {
			latest = r.Time
		}
		at := r
		at.Time = latest
		if q.until != nil && q.until.after(at) {
			break
		}
		w.inside = q.since == nil || !q.since.before(at)
		w.fold.feed(st)
		w.feed(r)
	}
	for _, o := range w.worlds {
		o.settle(choice{What: chosenRest, chance: middle})
	}
	answer := &supposition{Services: []*alternative{}, NotKnown: notKnown}
	for _, name := range slices.Sorted(maps.Keys(w.found)) {
		if a := w.found[name]; a.Decisions > 0 {
			answer.Services = append(answer.Services, a)
		}
	}
	if w.fold.state == nil && len(answer.Services) == 0 {
		return nil, errors.New(w.fold.explain())
	}
	return answer, nil
}

func (w *supposer) feed(r event.Record) {
	known := w.fold.known()
	if known && !w.known && r.Seq > 1 {
		w.begin()
		w.known = known
		return
	}
	if w.known = known; !known {
		for _, o := range w.worlds {
			o.lose(fmt.Sprintf("records are missing at %d", r.Seq))
		}
		w.worlds = map[string]*world{}
		return
	}
	switch r.Kind {
	case event.EngineStarted, event.KeeperStarted, event.SupdStopping, event.SupdStopped:
		for _, name := range slices.Sorted(maps.Keys(w.worlds)) {
			w.worlds[name].fact(r)
		}
		return
	}
	if r.Subject == "" || w.service != "" && !is(w.service, r.Subject) {
		return
	}
	o := w.worlds[r.Subject]
	if o == nil {
		if r.Kind != event.ServiceDefined {
			return
		}
		o = w.world(r.Subject, projector.New())
		o.state.Supd = w.fold.state.Supd
	}
	o.feed(r)
	if r.Kind == event.ServiceRemoved || o.lost {
		delete(w.worlds, r.Subject)
	}
}

// begin takes the services as they are where the state becomes known.
func (w *supposer) begin() {
	now := w.fold.state
	copied, err := projector.Parse(now.Canonical(), now.Seq(), now.Hash())
	if err != nil {
		return // a state that was just folded can be read
	}
	for name, v := range copied.Services {
		if w.service != "" && !is(w.service, name) {
			continue
		}
		o := w.world(name, projector.New())
		o.state.Supd, o.state.Services[name] = copied.Supd, v
		v.Pending, v.Hook, v.PostStop = nil, nil, false
		v.Spec = o.spec(v.Spec)
	}
}

func (w *supposer) world(name string, state *projector.State) *world {
	a := w.found[name]
	if a == nil {
		a = &alternative{Service: name, Changed: []string{}, All: []otherwise{}}
		w.found[name] = a
	}
	o := &world{supposer: w, name: name, state: state, alternative: a}
	w.worlds[name] = o
	return o
}

// world is one service as it would have been.
type world struct {
	*supposer
	name        string
	state       *projector.State
	alternative *alternative
	minted      int
	now         policy.Now
	held        policy.Input // whose recorded decision is not read yet
	heldRecord  event.Record
	absent      string // recorded instance that would not have been
	lost        bool
}

// spec is a recorded specification under the other policy, alone in its world.
func (o *world) spec(s event.Spec) event.Spec {
	now, keys := o.policies.Apply(o.name, s)
	if o.alternative.Changed = keys; keys == nil {
		o.alternative.Changed = []string{}
	}
	now.After, now.Requires, now.Wants, now.Conflicts, now.Hooks = nil, nil, nil, nil, event.Hooks{}
	return now
}

func (o *world) service() *projector.Service { return o.state.Services[o.name] }

func (o *world) lose(why string) {
	o.lost, o.alternative.Lost = true, why
}

// mint makes the next record of this world.
func (o *world) mint(d event.Draft) (event.Encoded, error) {
	o.minted++
	return event.Encode(event.Record{
		ID: fmt.Sprintf("00000000-0000-7000-8000-%012d", o.minted), Source: "supd/what-if/0", Kind: d.Data.Kind(), Subject: d.Subject,
		Time: o.now.Wall, Mono: o.now.Mono, Boot: o.now.Boot, Seq: o.state.Seq() + 1, Prev: o.state.Hash(), Cause: d.Cause, Actor: d.Actor, Data: d.Data,
	})
}

// fact takes a record over as it is.
func (o *world) fact(r event.Record) {
	if o.lost {
		return
	}
	o.at(r)
	e, err := o.mint(event.Draft{Subject: r.Subject, Actor: r.Actor, Data: r.Data})
	if err == nil {
		err = o.state.Apply(e)
	}
	if err != nil {
		o.lose(fmt.Sprintf("record %d does not fit what would have been: %v", r.Seq, err))
	}
}

func (o *world) at(r event.Record) { o.now = policy.Now{Wall: r.Time, Mono: r.Mono, Boot: r.Boot} }

// feed takes one record about the service.
func (o *world) feed(r event.Record) {
	if o.held != nil && !passing(r.Kind) {
		recorded, decided := choiceOf(r)
		if o.settle(recorded); decided {
			return
		}
	}
	if o.lost {
		return
	}
	c, decided := choiceOf(r)
	if decided && o.absent != "" && o.inside { // after a run that would not have been
		o.alternative.Decisions++
		o.alternative.Recorded.count(c)
	}
	if decided || r.Kind == event.ServiceWanted && r.Data.(event.ServiceWantedData).Reason == event.ReasonFatal {
		return // decided anew when the exit was
	}
	switch d := r.Data.(type) {
	case event.ServiceDefinedData:
		d.Spec = o.spec(d.Spec)
		r.Data = d
		o.fact(r)
	case event.ServiceWantedData:
		o.wanted(r, d)
	case event.InstanceStartingData:
		o.starting(r, d)
	case event.ServiceRemovedData, event.InstanceRunningData, event.InstanceReadyData, event.InstanceExtendedData, event.HealthChangedData,
		event.InstanceAdoptedData, event.InstanceReloadingData, event.InstanceStuckData, event.InstanceSignaledData:
		o.ofInstance(r)
	case event.InstanceStoppingData:
		if v := o.service(); v != nil && v.Instance != nil {
			o.ofInstance(r) // what follows an exit is decided with it
		}
	case event.InstanceExecFailedData:
		if v := o.service(); v != nil && v.Instance != nil {
			o.ofInstance(r)
			return
		}
		o.hold(r, policy.ParkFailed{Service: o.name, Instance: d.Instance, Step: d.Step, Path: d.Path, Error: d.Error, Errno: d.Errno})
	case event.InstanceExitedData:
		o.hold(r, exitedInput(o.name, d))
	case event.InstanceSweptData:
		if d.Survived == 0 {
			o.hold(r, policy.Swept{Service: o.name, Instance: d.Instance, Method: d.Method, Killed: d.Killed, Took: time.Duration(d.Took)})
		}
	}
}

// passing tells records that may stand between an exit and its decision.
func passing(k event.Kind) bool {
	switch k {
	case event.InstanceSignaled, event.InstanceStopping, event.HealthChanged, event.OutputGap, event.OutputTrimmed, event.HookStarted, event.HookEnded:
		return true
	}
	return false
}

func exitedInput(service string, d event.InstanceExitedData) policy.Exited {
	in := policy.Exited{
		Service: service, Instance: d.Instance, Unknown: d.Cause == event.CauseUnknown, Core: d.Core, OOM: d.OOM,
		CPU: time.Duration(d.CPU), MaxRSS: d.MaxRSS, Leftovers: d.Leftovers,
	}
	if d.Code != nil {
		in.Code = *d.Code
	}
	if d.Signal != nil {
		in.Signal = *d.Signal
	}
	return in
}

// ofInstance takes a fact about an instance, if it would have been.
func (o *world) ofInstance(r event.Record) {
	if id := timeline.InstanceOf(r.Data); id == "" || id != o.absent {
		o.fact(r)
	}
}

func (o *world) wanted(r event.Record, d event.ServiceWantedData) {
	o.fact(r)
	if v := o.service(); !o.lost && v != nil && v.NextStart != nil && d.Want == event.Down {
		r.Data = event.RestartCancelledData{By: d.Reason}
		o.fact(r)
	}
}

// starting takes over a start, unless it is a restart that would not have been.
func (o *world) starting(r event.Record, d event.InstanceStartingData) {
	v := o.service()
	if v == nil {
		return
	}
	if v.Want == event.Down {
		if d.Reason == event.ReasonRestart {
			o.absent = d.Instance
			if o.inside {
				o.alternative.Missing++
			}
			return
		}
		up := r
		up.Data = event.ServiceWantedData{Want: event.Up, Reason: d.Reason}
		o.fact(up)
	}
	o.absent = ""
	d.Run = v.Run + 1
	r.Data = d
	o.fact(r)
}

// hold keeps what happened until the recorded decision about it is read: it
// has the chance that was drawn.
func (o *world) hold(r event.Record, in policy.Input) {
	if timeline.InstanceOf(r.Data) == o.absent && o.absent != "" {
		return
	}
	o.held, o.heldRecord = in, r
	if x, ok := in.(policy.Exited); ok && x.Leftovers {
		o.settle(choice{What: chosenRest, chance: middle}) // decided when the rest has ended
	}
}

// settle has supd's decider decide what is held.
func (o *world) settle(recorded choice) {
	in, r := o.held, o.heldRecord
	if o.held = nil; in == nil || o.lost {
		return
	}
	o.at(r)
	would, err := o.decide(in, recorded.chance)
	if err != nil {
		o.lose(fmt.Sprintf("record %d does not fit what would have been: %v", r.Seq, err))
		return
	}
	if !o.inside || recorded.What == chosenRest && would.What == chosenRest {
		return
	}
	o.alternative.add(otherwise{Seq: r.Seq, Time: r.Time, Exit: endingOf(r), Recorded: recorded, Would: would})
}

func (o *world) decide(in policy.Input, chance float64) (would choice, err error) {
	defer func() {
		if bug := recover(); bug != nil { // decisions panic on a state that they do not fit
			err = fmt.Errorf("%v", bug)
		}
	}()
	tx := policy.NewTx(o.state, o.now, chance, o.mint)
	policy.Decide(tx, in)
	would.What = chosenRest
	for _, e := range tx.Records {
		if c, ok := choiceOf(e.Record); ok {
			return c, nil
		}
	}
	return would, nil
}

// endingOf says what a decision was about.
func endingOf(r event.Record) string {
	switch d := r.Data.(type) {
	case event.InstanceExitedData:
		return fmt.Sprintf("%s, up %s", timeline.ExitText(d.Code, d.Signal), time.Duration(d.Uptime).Round(time.Millisecond))
	case event.InstanceExecFailedData:
		return fmt.Sprintf("failing to start (%s: %s)", d.Step, d.Error)
	}
	return string(r.Kind)
}
