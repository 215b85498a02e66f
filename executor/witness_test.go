package executor

import (
	"maps"
	"slices"
	"time"

	"supd/executor/policy"
	"supd/executor/policy/policytest"
	"supd/journal/event"
	"supd/projector"
)

// witness reads the records as they are written and holds them against the
// world and against each other. It knows neither state nor policy: what it
// believes of a service it learned from the records alone.
type witness struct {
	fail  func(format string, args ...any)
	w     *policytest.World
	mute  bool // learns without judging
	boot  string
	facts map[string]*facts
	graph *event.Graph // nil: to be made anew
	// unsure are instances whose end nobody may have seen: their keeper, their
	// boot or the record of their exit was lost.
	unsure        map[string]bool
	exits         map[string]int
	pids          map[string]int // main processes, by instance
	accepted      map[string]event.CommandAcceptedData
	ended         map[string]int
	orderedToStop map[string]bool
	stopped       *stopped // nil: supd goes on
	limiter       limiter
}

// stopped is what may still be told after the last record of an orderly end: of
// the services that it left alive, and of what was not kept.
type stopped struct {
	left map[string]bool
	gap  bool // the last record was a gap, or part of the base behind it
}

// facts are what records say of one service.
type facts struct {
	spec       event.Spec
	digest     string
	want       event.Want
	wantReason string
	removed    bool

	instance                 string // not known to have ended
	running, ready, stopping bool
	completed                bool   // a oneshot has done its work
	expected                 bool   // its newest exit
	tree                     bool   // of the newest instance; what it left behind is not known to be gone
	hook                     string // an operation, not known to have ended
	row                      int    // restarts in a row, as far as they certainly count
	started                  event.Record
	startedAs                event.Spec // what the newest instance was started as
	due                      bool       // it is new and to start by itself, and no want is recorded yet
	former                   string     // an instance of the service of this name that was removed
}

func newWitness(w *policytest.World, fail func(string, ...any)) *witness {
	return &witness{
		fail: fail, w: w, facts: map[string]*facts{}, unsure: map[string]bool{}, exits: map[string]int{}, pids: map[string]int{},
		accepted: map[string]event.CommandAcceptedData{}, ended: map[string]int{}, orderedToStop: map[string]bool{},
	}
}

// again has the witness forget all but what these records say. The rest is lost.
func (x *witness) again(records []event.Encoded) {
	unsure := x.unsure
	*x = *newWitness(x.w, x.fail)
	x.unsure, x.mute = unsure, true
	for _, e := range records {
		x.see(e.Record)
	}
	x.mute = false
}

// doubt tells that ends may have gone unseen.
func (x *witness) doubt() {
	for _, id := range x.w.Instances() {
		x.unsure[id] = true
	}
}

func (x *witness) judge(ok bool, format string, args ...any) {
	if !ok && !x.mute {
		x.fail(format, args...)
	}
}

// see takes one record.
func (x *witness) see(r event.Record) {
	if x.stopped != nil {
		x.afterEnd(r)
	}
	switch d := r.Data.(type) {
	case event.SupdStoppedData:
		x.stopped = &stopped{left: map[string]bool{}}
		for name, f := range x.facts {
			if f.instance != "" || f.tree || f.hook != "" {
				x.stopped.left[name] = true
			}
		}
	case event.EngineStartedData:
		if x.boot != r.Boot {
			for _, f := range x.facts {
				f.completed = false
			}
		}
		x.boot = r.Boot
	case event.CommandAcceptedData:
		_, twice := x.accepted[d.Command]
		x.judge(!twice, "P2: command %s is accepted twice", d.Command)
		x.accepted[d.Command] = d
	case event.CommandEndedData:
		_, known := x.accepted[d.Command]
		x.ended[d.Command]++
		x.judge(known && x.ended[d.Command] == 1, "P2: command %s ends, for the %d. time (accepted: %v)", d.Command, x.ended[d.Command], known)
		x.results(d)
	case event.ServiceDefinedData:
		f := x.facts[r.Subject]
		if f == nil {
			f = &facts{want: event.Down}
			x.facts[r.Subject] = f
		}
		if added := f.removed || f.digest == ""; added {
			f.due, f.former = d.Spec.Autostart && f.want == event.Down, f.instance
		}
		f.spec, f.digest, f.removed, x.graph = d.Spec, d.Digest, false, nil
	case event.ConfigAppliedData:
		x.limiter.set(d.Start)
	default:
		if f := x.facts[r.Subject]; f != nil {
			x.seeService(f, r)
		}
	}
}

// afterEnd: nothing follows the last record but what the services do that it left
// alive, and what was not kept (P3, P4).
func (x *witness) afterEnd(r event.Record) {
	if r.Kind == event.EngineStarted {
		x.stopped = nil
		return
	}
	service := r.Subject
	if d, ok := r.Data.(event.RecoverySettledData); ok {
		service = d.Service
	}
	gap := r.Kind == event.JournalGap || r.Kind == event.StateBase && x.stopped.gap
	x.judge(gap || x.stopped.left[service], "%s of %q follows supd.stopped, which left %v alive", r.Kind, service, slices.Sorted(maps.Keys(x.stopped.left)))
	x.stopped.gap = gap
}

// results: each target has one, and no other service.
func (x *witness) results(d event.CommandEndedData) {
	a := x.accepted[d.Command]
	var got []string
	for _, res := range d.Results {
		got = append(got, res.Service)
	}
	refused := a.Verb == event.VerbApply && d.Outcome == event.Refused
	x.judge(refused || slices.Equal(got, append([]string(nil), a.Targets...)), "P2: command %s has targets %v and results for %v", d.Command, a.Targets, got)
}

func (x *witness) seeService(f *facts, r event.Record) {
	switch d := r.Data.(type) {
	case event.ServiceRemovedData:
		f.removed, f.completed, f.expected, f.due, f.row, x.graph = true, false, false, false, 0, nil
	case event.ServiceWantedData:
		f.want, f.wantReason, f.due = d.Want, d.Reason, false
		if d.Want == event.Up || d.Reason != event.ReasonCompleted {
			f.completed = false
		}
	case event.RestartScheduledData:
		if d.Shortage { // nothing of the service was tried
			x.judge(time.Duration(d.Delay) <= policy.ShortageDelay, "%s waits %v for resources", r.Subject, d.Delay)
			return
		}
		f.row++
		max := f.spec.MaxRetries
		x.judge(max < 0 || f.row <= max, "%s is restarted %d times in a row, and max_retries is %d", r.Subject, f.row, max)
		least := policy.Delay(f.spec.Backoff, f.row, 0)
		x.judge(time.Duration(d.Delay) >= least, "%s: restart %d in a row comes after %v, not %v", r.Subject, f.row, d.Delay, least)
	case event.InstanceStartingData:
		x.starting(f, r, d)
	case event.InstanceAdoptedData:
		x.adopted(d)
	case event.InstanceRunningData:
		f.running = true
	case event.InstanceReadyData:
		f.ready = true
	case event.InstanceStoppingData:
		if f.stopping = d.Instance == f.instance; !f.stopping {
			f.tree = true
		}
		x.orderedToStop[d.Instance] = true
	case event.InstanceSweptData:
		f.tree = f.tree && d.Survived > 0 && d.Method != projector.MethodLeft
	case event.InstanceExitedData:
		x.exited(f, r, d)
	case event.HookStartedData:
		f.hook = d.Operation
	case event.HookEndedData:
		f.hook = ""
	}
}

// starting: nothing of the service is there, and everything it needs is.
func (x *witness) starting(f *facts, r event.Record, d event.InstanceStartingData) {
	x.judge(f.instance == "" && !f.tree, "P1: %s of %s is to start beside %s (tree %v)", d.Instance, r.Subject, f.instance, f.tree)
	x.judge(d.SpecDigest == f.digest, "R11: %s starts with %s, and %s is applied", r.Subject, d.SpecDigest, f.digest)
	x.judge(f.want == event.Up && !f.removed, "%s starts, and it is wanted %s (removed %v)", r.Subject, f.want, f.removed)
	g := x.needs()
	for _, e := range g.Needs(r.Subject) {
		x.judge(!e.Requires || x.facts[e.Service].holds(e.Condition), "%s starts before %s is %s", r.Subject, e.Service, e.Condition)
	}
	for _, c := range g.Conflicts(r.Subject) {
		x.judge(x.facts[c].instance == "", "%s starts beside %s, with which it is in conflict", r.Subject, c)
	}
	if d.Reason == event.ReasonRestart && !x.ordered(r.Subject) {
		x.judge(x.limiter.take(r), "P9: %s is restarted, and the limiter has no token for it", r.Subject)
	}
	x.pids[d.Instance], f.startedAs = d.PID, f.spec
	if d.Reason != event.ReasonRestart {
		f.row = 0
	}
	f.instance, f.running, f.stopping, f.completed, f.started = d.Instance, false, false, false, r
	f.ready = f.spec.Ready == nil || f.spec.Oneshot()
}

// adopted: who is said to be the main process from now on is it.
func (x *witness) adopted(d event.InstanceAdoptedData) {
	pid, _, _, _ := x.w.Process(d.Instance)
	x.judge(x.mute || d.PID == pid, "R4: the main process of %s is said to be %d, and it is %d", d.Instance, d.PID, pid)
	x.pids[d.Instance] = d.PID
}

func (x *witness) needs() *event.Graph {
	if x.graph == nil {
		specs := map[string]event.Spec{}
		for name, f := range x.facts {
			if !f.removed || f.instance != "" || f.tree {
				specs[name] = f.spec
			}
		}
		x.graph = event.NewGraph(specs)
	}
	return x.graph
}

// holds: a service meets a condition.
func (f *facts) holds(condition string) bool {
	up := f != nil && !f.removed && f.instance != "" && f.running && !f.stopping
	switch {
	case f == nil || f.removed:
		return false
	case condition == event.ConditionStarted:
		return up || f.completed
	case condition == event.ConditionReady:
		return up && f.ready && !f.spec.Oneshot() || f.completed
	}
	return f.completed || !f.spec.Oneshot() && f.wantReason == event.ReasonCompleted && f.instance == "" && f.expected
}

// exited: who is said to be dead is, once, and ended as is said.
func (x *witness) exited(f *facts, r event.Record, d event.InstanceExitedData) {
	x.exits[d.Instance]++
	x.judge(x.exits[d.Instance] == 1 && f.instance == d.Instance, "P3: the end of %s is recorded %d times, the instance is %s", d.Instance, x.exits[d.Instance], f.instance)
	if !x.mute {
		_, _, alive, ended := x.w.Process(d.Instance)
		x.judge(!alive, "R4: %s is said to have ended, and it is not dead", d.Instance)
		if ended != nil && !ended.Unknown && !(x.unsure[d.Instance] && d.Cause == event.CauseUnknown) {
			code, signal := d.Code != nil && *d.Code == ended.Code, d.Signal != nil && *d.Signal == ended.Signal
			x.judge(signal || ended.Signal == "" && code, "P3: %s ended with %d %s, and %s is recorded", d.Instance, ended.Code, ended.Signal, d.Cause)
		}
	}
	f.completed = f.spec.Oneshot() && d.Expected && !f.stopping && f.want == event.Up
	f.expected, f.instance, f.tree = d.Expected, "", d.Leftovers
	if time.Duration(d.Uptime) >= time.Duration(f.spec.Backoff.ResetAfter) {
		f.row = 0
	}
}

// ordered tells that a person waits for something of a service: it need not stand
// in the limiter's queue.
func (x *witness) ordered(service string) bool {
	for id, a := range x.accepted {
		if x.ended[id] == 0 && slices.Contains(a.Targets, service) {
			return true
		}
	}
	return false
}

// definitions: what was configured is in force, wherever a batch was cut.
func (x *witness) definitions() {
	for name, f := range x.facts {
		x.judge(!f.due, "%s is new and starts by itself, and never was wanted", name)
		_, other := f.startedAs.Diff(f.spec)
		x.judge(f.removed || f.instance == "" || !other && f.former != f.instance, "%s of %s runs as it was configured before", f.instance, name)
	}
}

// finish: nothing is left open.
func (x *witness) finish() {
	for id := range x.accepted {
		x.judge(x.ended[id] == 1, "P2: command %s ended %d times", id, x.ended[id])
	}
}
