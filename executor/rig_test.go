package executor

import (
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"supd/executor/keeper"
	"supd/executor/policy"
	"supd/executor/policy/policytest"
	"supd/executor/probe"
	"supd/journal/event"
	"supd/projector"
)

// rig is a whole supd around one Core, without goroutines: a journal in
// memory, the model of the world as keeper, a clock that moves when told, and
// clients that send a command again until they know how it ended. Each call of
// the core to the outside is a place where the engine may die; its successor
// starts from what the journal kept and what the keeper holds.
type rig struct {
	t    testing.TB
	name string // of the run, for messages
	w    *policytest.World
	loop *Loop // which has no goroutine: the rig tells it when to do what
	core *Core
	ear

	basePart int // bytes in a record of a base; 0: all of it

	memory // the journal, where engines find it
	inHand string

	untilCrash int // calls until the engine dies; negative: it lives
	crashed    bool
	quit       bool

	file  policy.Configure // what an apply reads now
	ready func() error     // what the engine does when recovery is over

	// broken tells that records of this boot are gone, and that nobody has looked
	// yet for what lives without them.
	broken bool

	launchErr error
	parkErr   error
	targets   map[string]probe.Target
	mute      bool            // nobody becomes ready
	parking   map[string]bool // stubs between Park and what is told of them
	maxParks  int

	witness *witness
	asked   map[string]bool  // of the keeper, by this engine, and not answered
	owed    map[string]int64 // acts that are due, and since when

	commands map[string]event.CommandRequest // sent, and not known to have ended
	outcomes map[string]outcome
	replies  map[string][]event.CommandReply
	serial   int
	rands    func() float64
	choose   func(n int) int // what comes first of things that are due at once
	actions  []string
}

// outcome is what a client was told of a command's end.
type outcome struct {
	event.Outcome
	seq     event.Seq
	hash    string
	durable bool
}

// crash is what the death of an engine looks like.
type crash struct{}

func newRig(t testing.TB, name string, untilCrash int) *rig {
	r := &rig{
		t: t, name: name, w: policytest.New(), untilCrash: -1, commands: map[string]event.CommandRequest{},
		outcomes: map[string]outcome{}, replies: map[string][]event.CommandReply{}, rands: func() float64 { return 0.5 }, choose: func(int) int { return 0 },
	}
	r.memory.rig, r.untilCrash = r, untilCrash
	r.witness = newWitness(r.w, r.fatalf)
	r.w.Tell = r.slotted
	r.boot()
	return r
}

func (r *rig) fatalf(format string, args ...any) {
	r.t.Helper()
	from := max(0, len(r.records)-30)
	if *simSeed != 0 { // somebody looks closely
		from = 0
	}
	tail := ""
	for _, e := range r.records[from:] {
		data, _ := event.Marshal(e.Record.Data)
		tail += fmt.Sprintf("\n%d %s %s %.200s", e.Record.Seq, e.Record.Kind, e.Record.Subject, data)
	}
	r.t.Fatalf("%s: %s\n%s%s", r.name, fmt.Sprintf(format, args...), strings.Join(r.actions, "\n"), tail)
}

// saw counts a kind of event.
func (r *rig) saw(format string, args ...any) { r.w.Seen[fmt.Sprintf(format, args...)]++ }

// point is a place where the engine may die.
func (r *rig) point(at string) {
	if r.untilCrash == 0 {
		r.saw("the engine dies %s", at)
		r.untilCrash, r.crashed = -1, true
		panic(crash{})
	}
	if r.untilCrash > 0 {
		r.untilCrash--
	}
}

// do runs the engine, and another one if it dies.
func (r *rig) do(f func() error) (lived bool) {
	lived = r.try(f)
	if !lived {
		r.boot()
	}
	return lived
}

func (r *rig) try(f func() error) (lived bool) {
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(crash); !ok {
				r.fatalf("panic: %v\n%s", p, debug.Stack())
			}
			lived = false
		}
	}()
	if err := f(); err != nil {
		r.fatalf("%v", err)
	}
	for _, v := range r.w.Violations {
		r.fatalf("%s", v)
	}
	return true
}

// boot starts engines until one gets through recovery.
func (r *rig) boot() {
	for !r.try(r.start) {
	}
}

// start is what an engine does first: fold what is kept, compare with what the
// keeper holds.
func (r *rig) start() error {
	s, err := r.fold()
	if err != nil {
		r.fatalf("P6: %v", err)
	}
	r.asked, r.owed = map[string]bool{}, map[string]int64{}
	r.parking, r.targets = map[string]bool{}, map[string]probe.Target{}
	r.newLoop(Config{
		State: s, Journal: rigJournal{r}, Launches: r, Clock: r, Source: "supd/test/0", Prober: r, Inbox: 64, Concurrency: 2,
	})
	settle := r.w.NewEngine()
	err = r.core.Step(policy.Started{
		Engine: event.EngineStartedData{Version: "test", PID: 1, Mode: event.ModeCrash},
		Keeper: event.KeeperStartedData{PID: r.w.Keeper, StartTime: 7},
	})
	if err == nil && r.broken {
		err = r.strangers()
	}
	if err == nil {
		err = r.settle(settle)
	}
	if err == nil && r.ready != nil && !r.core.State().Supd.Stopped {
		err = r.ready()
	}
	for _, id := range slices.Sorted(maps.Keys(r.commands)) { // clients try again
		if err == nil {
			err = r.hand(r.commands[id])
		}
	}
	return err
}

// strangers ends what lives without a record, where records are missing. It
// returns when that is proven.
func (r *rig) strangers() error {
	known := map[string]bool{}
	for _, v := range r.core.State().Services {
		if v.Instance != nil {
			known[v.Instance.ID] = true
		}
		if v.Tree != nil {
			known[v.Tree.Instance] = true
		}
		if v.LastExit != nil {
			known[v.LastExit.Instance] = true
		}
	}
	for _, in := range r.w.Strangers(func(instance string) bool { return known[instance] }) {
		r.point("among strangers")
		if err := r.core.Step(in); err != nil {
			return err
		}
	}
	r.broken = false
	return nil
}

// Now, Rand, ID implement Clock.
func (r *rig) Now() policy.Now { return r.w.Now }
func (r *rig) Rand() float64   { return r.rands() }
func (r *rig) ID() string      { r.serial++; return rigID(r.w.Now.Wall, r.serial) }

func rigID(at time.Time, n int) string {
	ms := fmt.Sprintf("%012x", at.UnixMilli())
	return ms[:8] + "-" + ms[8:] + fmt.Sprintf("-7000-8000-%012x", n)
}

// Launch implements Launches.
func (r *rig) Launch(string, string) (event.Launch, error) {
	x := event.LaunchExec{Paths: []string{"/bin/true"}, Args: []string{"true"}}
	return event.Launch{Hooks: map[string]event.LaunchExec{
		event.HookPreStart: x, event.HookPostStart: x, event.HookPreStop: x, event.HookPostStop: x,
	}}, r.launchErr
}

// Watch and Ran implement Prober: what is to be found out is kept, as a prober
// does, and dies with the engine.
func (r *rig) Watch(service string, t *probe.Target) {
	if t == nil {
		delete(r.targets, service)
		return
	}
	r.targets[service] = *t
}

func (r *rig) Ran(string, probe.Result) {}

// find has the prober find out what it is to: false if there is nothing to tell.
func (r *rig) find() bool {
	for _, name := range slices.Sorted(maps.Keys(r.targets)) {
		t := r.targets[name]
		if r.mute || t.ReadyBy == nil || t.Ready || !t.Running || t.Stopping || !slices.Contains(r.w.Running(name), t.Instance) {
			continue
		}
		r.input(policy.Ready{Service: name, Instance: t.Instance, By: t.ReadyBy.By()})
		return true
	}
	return false
}

// send has a client send a command; it will send it again until it knows.
func (r *rig) send(verb event.Verb, args map[string]string, patterns ...string) string {
	r.serial++
	req := event.CommandRequest{ID: rigID(r.w.Now.Wall, r.serial), Verb: verb, Patterns: patterns, Args: args}
	r.actions = append(r.actions, fmt.Sprintf("%d: %s %v = %s", len(r.records), verb, patterns, req.ID))
	r.commands[req.ID] = req
	r.do(func() error { return r.hand(req) })
	return req.ID
}

func (r *rig) hand(req event.CommandRequest) error {
	r.core.Await(req.ID, func(reply event.CommandReply) { r.answered(req.ID, reply) })
	cmd := policy.Command{Request: req, Actor: "uid-0"}
	if req.Verb == event.VerbApply {
		file := r.file
		cmd.Configure = &file
	}
	return r.core.Step(cmd)
}

// answered is a client's view: nothing is said that the journal does not
// hold, and an outcome never changes (P2, P3).
func (r *rig) answered(id string, reply event.CommandReply) {
	r.point("before an answer")
	if int(reply.Seq) > len(r.records) {
		r.fatalf("P2: %s is answered %s with record %d, and %d are kept", id, reply.Status, reply.Seq, len(r.records))
	}
	if reply.Durable && reply.Seq > r.durable {
		r.fatalf("R1: %s is answered as durable at %d, and %d are", id, reply.Seq, r.durable)
	}
	r.replies[id] = append(r.replies[id], reply)
	if reply.Status == event.ReplyAccepted || reply.Status == event.ReplyBusy {
		return
	}
	if reply.Status == event.ReplyRejected { // it never was a command
		delete(r.commands, id)
		return
	}
	o := outcome{Outcome: reply.Outcome, seq: reply.Seq, durable: reply.Durable}
	if o.seq > 0 {
		o.hash = r.records[o.seq-1].Hash
	}
	before, ok := r.outcomes[id]
	if ok && before.Outcome != o.Outcome {
		r.fatalf("P2: %s ended %s and then %s", id, before.Outcome, reply.Outcome)
	}
	if o.durable = o.durable || before.durable; ok {
		o.seq, o.hash = before.seq, before.hash
	}
	r.outcomes[id] = o
	delete(r.commands, id)
}

// input hands the core something from elsewhere.
func (r *rig) input(in policy.Input) {
	delete(r.asked, answerTo(in))
	r.do(func() error { return r.decide(in) })
	r.unanswered() // what is answered is held against the state at once
}

// answerTo names the duty that an input answers.
func answerTo(in policy.Input) string {
	switch in := in.(type) {
	case policy.Signaled:
		return policy.OperationKey(in.Instance, in.Operation)
	case policy.Swept:
		return policy.OperationKey(in.Instance, in.Operation)
	case policy.HookEnded:
		return policy.OperationKey(in.Instance, in.Operation)
	}
	return ""
}

// turn does one thing that is due now; false if there is none.
func (r *rig) turn() bool {
	due := []func() bool{r.listen, r.call, r.hear}
	for len(due) > 0 {
		i := r.choose(len(due))
		if due[i]() {
			return true
		}
		due = slices.Delete(due, i, i+1)
	}
	if r.publish() {
		r.do(func() error { return r.core.SetDurable(r.durable) })
		return true
	}
	return r.find()
}

// listen hears the keeper; false if it has nothing to tell.
func (r *rig) listen() bool {
	if len(r.w.Queue) > 0 {
		in := r.w.Queue[0]
		r.w.Queue = r.w.Queue[1:]
		switch in := in.(type) {
		case policy.Parked:
			delete(r.parking, in.Instance)
		case policy.ParkFailed:
			delete(r.parking, in.Instance)
		}
		r.input(in)
		return true
	}
	return false
}

// calm runs what is due, and then time, until nothing is due within limit.
func (r *rig) calm(limit time.Duration) {
	end := r.w.Now.Mono + int64(limit)
	for range 20_000 {
		if r.turn() {
			continue
		}
		wait, ok := time.Duration(0), false
		lived := r.do(func() error {
			if err := r.core.Pass(); err != nil {
				return err
			}
			wait, ok = r.core.Next()
			return r.core.Tend()
		})
		if !lived || len(r.w.Queue) > 0 || !r.stuck() && r.durable < event.Seq(len(r.records)) {
			continue
		}
		r.late()
		if of, due := r.w.Due(); due && (!ok || of < wait) {
			wait, ok = of, true
		}
		if !ok || r.w.Now.Mono+int64(wait) > end {
			return
		}
		r.w.Advance(wait)
	}
	d, ok := r.w.Due()
	n, ok2 := r.core.Next()
	r.fatalf("it does not come to rest: the world goes on in %v (%v), the core in %v (%v); told %+v, to be found out %v", d, ok, n, ok2, r.w.Queue, r.targets)
}

// late finds acts that wait for longer than R1 allows, by what the world sees of
// them: the engine had all the time it wanted, so it waits for the disk (P5).
func (r *rig) late() {
	due := map[string]bool{}
	if r.core.State().Supd.Stopped {
		return // nothing is due any more: the keeper is about to end
	}
	for name, v := range r.core.State().Services {
		i := v.Instance
		if i == nil || i.Boot != r.w.Now.Boot {
			continue
		}
		started := v.Spec.Hooks.PreStart == nil || i.PreStarted
		if _, gate, _, _ := r.w.Process(i.ID); gate && started {
			due[name+": the gate of "+i.ID] = true
		}
		o := i.Stop
		if o == nil || o.Signaled || o.Killed != nil || o.Hooked && !o.PreStop || i.Running == nil {
			continue
		}
		if op := projector.StopOperation(i.ID, o.Signal); r.w.Sent(i.ID, op) == 0 && r.w.Now.Mono < o.Deadline.Mono {
			due[name+": "+op] = true
		}
	}
	for what := range r.owed {
		if !due[what] {
			delete(r.owed, what)
		}
	}
	for what := range due {
		since, known := r.owed[what]
		if !known {
			r.owed[what] = r.w.Now.Mono
		} else if r.w.Now.Mono-since > int64(ActGrace) {
			r.fatalf("P5: %s waits for %s", what, time.Duration(r.w.Now.Mono-since))
		}
	}
}

// finish checks what must hold in the end.
func (r *rig) finish() {
	s := r.core.State()
	if len(r.commands) > 0 || len(s.Commands) > 0 {
		open := ""
		for _, c := range s.Commands {
			open += fmt.Sprintf("; %s %s of %v has results %v", c.ID, c.Verb, c.Targets, c.Results)
			for _, name := range c.Targets {
				if v := s.Services[name]; v != nil && c.Results[name].Outcome == "" {
					open += fmt.Sprintf(", and %s is %s, wanted %s, instance %+v, tree %+v, hook %+v, waiting %+v", name, v.Phase, v.Want, v.Instance, v.Tree, v.Hook, v.Waiting)
				}
			}
		}
		r.fatalf("P2: no end: %v%s", slices.Sorted(maps.Keys(r.commands)), open)
	}
	r.witness.finish()
	for id, o := range r.outcomes {
		r.kept(id, o)
	}
	r.replay(s)
	if r.maxParks > 2 {
		r.fatalf("P9: %d stubs were parked at once", r.maxParks)
	}
}

// lose keeps the first records only. What was called durable must be among
// them (P3); clients of whom nothing is known any more have gone.
func (r *rig) lose(kept event.Seq) {
	r.cut(kept)
	r.w.Unsay() // what is lost may be named again
	r.witness.doubt()
	r.witness.again(slices.DeleteFunc(slices.Clone(r.records), func(e event.Encoded) bool { return r.gone(e.Record.Seq) }))
	for _, id := range slices.Sorted(maps.Keys(r.outcomes)) {
		if o := r.outcomes[id]; o.durable || int(o.seq) <= len(r.records) && !r.gone(o.seq) {
			r.kept(id, o)
		} else {
			delete(r.outcomes, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(r.commands)) {
		if _, known := r.witness.accepted[id]; !known {
			delete(r.commands, id)
		}
	}
}

// kept: what a client was told is still in the journal (P3).
func (r *rig) kept(id string, o outcome) {
	if o.seq > 0 && (int(o.seq) > len(r.records) || r.records[o.seq-1].Hash != o.hash) {
		r.fatalf("P3: %s was answered %s with record %d, which is not there (durable %v)", id, o.Outcome, o.seq, o.durable)
	}
}

func (r *rig) expect(service string, phase event.Phase, want event.Want) {
	r.t.Helper()
	v := r.core.State().Services[service]
	running := r.w.Running(service)
	if v == nil || v.Phase != phase || v.Want != want || (phase == event.PhaseRunning && len(running) != 1) || v.Settled() && len(running) > 0 {
		r.fatalf("%s should be %s and %s: %+v, running %v", service, phase, want, v, running)
	}
}

// rigKeeper is the world behind the core's port. It checks that acts come
// after their records.
type rigKeeper struct{ *rig }

// once: no engine asks again for what is under way.
func (k rigKeeper) once(key string) {
	if k.asked[key] {
		k.fatalf("R4: %s is asked for while it is under way", key)
	}
	k.asked[key] = true
}

// authorised finds a record that allows an act, newest first, and holds the act
// against R1: durable, or kept for 20 ms, or in a degraded time.
func (k rigKeeper) authorised(act, instance string, allows func(event.Data) bool) {
	newest := event.Seq(0)
	for _, e := range slices.Backward(k.records) {
		if !allows(e.Record.Data) {
			continue
		}
		newest = max(newest, e.Record.Seq)
		waited := k.w.Now.Mono-e.Record.Mono >= int64(ActGrace)
		if e.Record.Seq <= k.durable || waited || k.core.late() {
			return
		}
	}
	if newest > 0 {
		k.fatalf("R1: %s %s before record %d was durable or 20 ms old", act, instance, newest)
	}
	k.fatalf("R3: %s %s without a record", act, instance)
}

// signaling tells which records have an operation sent. A stop may be recorded
// again, and its signal may be held when the main process ends: what the tree is
// sent follows from what comes after that.
func signaling(instance, operation string) func(event.Data) bool {
	ended := false
	return func(d event.Data) bool {
		switch d := d.(type) {
		case event.InstanceExitedData:
			ended = ended || d.Instance == instance && operation == projector.TreeOperation(instance)
		case event.InstanceStoppingData:
			whole := operation == projector.KillOperation(instance) || operation == projector.TreeOperation(instance)
			return d.Instance == instance && !ended && (whole || operation == projector.StopOperation(instance, d.Signal))
		case event.CommandAcceptedData:
			return operation == projector.SignalOperation(d.Command)
		}
		return false
	}
}

func (k rigKeeper) Park(p keeper.Park) error {
	k.point("before park")
	if p.Task != 0 {
		return k.runHook(p)
	}
	if k.parkErr != nil {
		return k.parkErr
	}
	k.parking[p.Instance] = true
	k.maxParks = max(k.maxParks, len(k.parking))
	k.w.Park(p.Service, p.Instance, "")
	k.point("after park")
	return nil
}

// runHook runs a hook in the world, which knows it by its operation.
func (k rigKeeper) runHook(p keeper.Park) error {
	h := k.core.State().Services[p.Service].Hook
	if h == nil || p.Instance != taskID(h.Operation) || p.Owner != h.Instance {
		k.fatalf("R3: a hook without a record: %+v", p)
	}
	k.authorised("hook", h.Instance, func(d event.Data) bool {
		x, ok := d.(event.HookStartedData)
		return ok && x.Operation == h.Operation
	})
	k.once(policy.OperationKey(h.Instance, h.Operation))
	k.w.Hook(policy.Duty{Service: p.Service, Instance: h.Instance, Operation: h.Operation, Hook: h.Name, Deadline: p.Deadline})
	k.point("before a hook")
	return nil
}

func (k rigKeeper) Grant(uint32) error { return nil }

func (k rigKeeper) Open(instance string) error {
	k.point("before open")
	k.authorised("open", instance, func(d event.Data) bool {
		x, ok := d.(event.InstanceStartingData)
		return ok && x.Instance == instance
	})
	for _, e := range slices.Backward(k.records) {
		if d, ok := e.Record.Data.(event.InstanceRunningData); ok && d.Instance == instance {
			k.fatalf("R3: the gate of %s is to be opened, and it runs", instance)
		}
		if e.Record.Kind == event.InstanceStarting && e.Record.Data.(event.InstanceStartingData).Instance == instance {
			break
		}
	}
	k.once("open/" + instance)
	k.w.Open(instance)
	k.point("after open")
	return nil
}

func (k rigKeeper) Signal(instance, operation string, sig syscall.Signal, scope keeper.Scope) error {
	k.point("before signal")
	stranger := operation == projector.KillOperation(instance)
	for _, v := range k.core.State().Services {
		stranger = stranger && (v.Instance == nil || v.Instance.ID != instance)
	}
	if !stranger {
		k.authorised("signal", instance, signaling(instance, operation))
	}
	k.once(policy.OperationKey(instance, operation))
	k.w.Signal(instance, operation, event.SignalName(int(sig)), scope.String())
	k.point("after signal")
	return nil
}

func (k rigKeeper) Sweep(instance, operation, _ string) error {
	k.point("before sweep")
	k.once(policy.OperationKey(instance, operation))
	k.w.Sweep(instance, operation)
	k.point("after sweep")
	return nil
}

func (k rigKeeper) Drop(instance string) error {
	k.point("before drop")
	for name, f := range k.witness.facts {
		if f.instance == instance {
			k.fatalf("R3: the stub of %s is let go, and it is an instance of %s", instance, name)
		}
	}
	k.w.Drop(instance)
	return nil
}

func (k rigKeeper) Forget(instance string) error {
	k.point("before forget")
	k.w.Forget(instance)
	return nil
}

func (k rigKeeper) Adopt(a keeper.Adopt) error {
	k.point("before adopt")
	if pid := k.witness.pids[a.Instance]; pid != 0 && (a.PID != pid || a.StartTime != uint64(pid)) {
		k.fatalf("R4: %s is to be adopted as pid %d, and it is recorded as %d", a.Instance, a.PID, pid)
	}
	k.w.Adopt(a.Service, a.Instance, a.PID)
	k.point("after adopt")
	return nil
}
