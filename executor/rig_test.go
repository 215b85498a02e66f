package executor

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
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
	core *Core

	records []event.Encoded // what is kept; it survives engines
	durable event.Seq
	hang    bool // the disk takes nothing
	bases   int
	inHand  string

	untilCrash int // calls until the engine dies; negative: it lives
	crashed    bool
	quit       bool

	file policy.Configure // what an apply reads now

	launchErr error
	parkErr   error
	targets   map[string]probe.Target
	mute      bool // nobody becomes ready
	parking   int  // stubs between Park and what is told of them
	maxParks  int

	commands map[string]event.CommandRequest // sent, and not known to have ended
	outcomes map[string]event.Outcome
	replies  map[string][]event.CommandReply
	serial   int
	rands    func() float64
	actions  []string
}

// crash is what the death of an engine looks like.
type crash struct{}

func newRig(t testing.TB, name string, untilCrash int) *rig {
	r := &rig{
		t: t, name: name, w: policytest.New(), untilCrash: -1, commands: map[string]event.CommandRequest{},
		outcomes: map[string]event.Outcome{}, replies: map[string][]event.CommandReply{}, rands: func() float64 { return 0.5 },
	}
	r.untilCrash = untilCrash
	r.boot()
	return r
}

func (r *rig) fatalf(format string, args ...any) {
	r.t.Helper()
	from := max(0, len(r.records)-30)
	tail := ""
	for _, e := range r.records[from:] {
		tail += fmt.Sprintf("\n%d %s %s", e.Record.Seq, e.Record.Kind, e.Record.Subject)
	}
	r.t.Fatalf("%s: %s\n%s%s", r.name, fmt.Sprintf(format, args...), strings.Join(r.actions, "\n"), tail)
}

// point is a place where the engine may die.
func (r *rig) point() {
	if r.untilCrash == 0 {
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
				panic(fmt.Sprintf("%s: %v\n%s", r.name, p, strings.Join(r.actions, "\n")))
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
	s := projector.New()
	for _, stored := range r.records {
		e, err := event.Decode(stored.Bytes)
		if err != nil {
			return err
		}
		if err := s.Apply(e); err != nil {
			return err
		}
	}
	r.parking, r.targets = 0, map[string]probe.Target{}
	r.core = NewCore(Config{
		State: s, Journal: rigJournal{r}, Keeper: rigKeeper{r}, Launches: r, Clock: r, Source: "supd/test/0", Prober: r,
		Inbox: 64, Concurrency: 2, Quit: func(bool) { r.quit = true },
	})
	settle := r.w.NewEngine()
	err := r.core.Step(policy.Started{
		Engine: event.EngineStartedData{Version: "test", PID: 1, Mode: event.ModeCrash},
		Keeper: event.KeeperStartedData{PID: r.w.Keeper, StartTime: 7},
	})
	if err == nil {
		err = r.core.Step(settle)
	}
	for _, id := range slices.Sorted(maps.Keys(r.commands)) { // clients try again
		if err == nil {
			err = r.hand(r.commands[id])
		}
	}
	return err
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
	r.point()
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
	if before, ok := r.outcomes[id]; ok && before != reply.Outcome {
		r.fatalf("P2: %s ended %s and then %s", id, before, reply.Outcome)
	}
	r.outcomes[id] = reply.Outcome
	delete(r.commands, id)
}

// input hands the core something from elsewhere.
func (r *rig) input(in policy.Input) { r.do(func() error { return r.core.Step(in) }) }

// turn does one thing that is due now; false if there is none.
func (r *rig) turn() bool {
	if len(r.w.Queue) > 0 {
		in := r.w.Queue[0]
		r.w.Queue = r.w.Queue[1:]
		switch in.(type) {
		case policy.Parked, policy.ParkFailed:
			r.parking--
		}
		r.input(in)
		return true
	}
	if last := event.Seq(len(r.records)); !r.hang && r.durable < last {
		r.durable = last
		r.do(func() error { return r.core.SetDurable(last) })
		return true
	}
	return r.find()
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
		if !lived || len(r.w.Queue) > 0 || !r.hang && r.durable < event.Seq(len(r.records)) {
			continue
		}
		if !ok || r.w.Now.Mono+int64(wait) > end {
			return
		}
		r.w.Advance(wait)
	}
	r.fatalf("it does not come to rest")
}

// finish checks what must hold in the end.
func (r *rig) finish() {
	s := r.core.State()
	if len(r.commands) > 0 || len(s.Commands) > 0 {
		r.fatalf("P2: no end: %v, %s", slices.Sorted(maps.Keys(r.commands)), s.Canonical())
	}
	ends, starts := map[string]int{}, map[string]int{}
	again := projector.New()
	for _, stored := range r.records {
		e, err := event.Decode(stored.Bytes)
		if err == nil {
			err = again.Apply(e)
		}
		if err != nil {
			r.fatalf("P6: %v", err)
		}
		switch d := e.Record.Data.(type) {
		case event.CommandAcceptedData:
			starts[d.Command]++
		case event.CommandEndedData:
			ends[d.Command]++
		}
	}
	for id, n := range starts {
		if n != 1 || ends[id] != 1 {
			r.fatalf("P2: %s was accepted %d times and ended %d times", id, n, ends[id])
		}
	}
	if !bytes.Equal(again.Canonical(), s.Canonical()) {
		r.fatalf("P6: replay differs")
	}
	if r.maxParks > 2 {
		r.fatalf("P9: %d stubs were parked at once", r.maxParks)
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

// rigJournal is the journal in memory.
type rigJournal struct{ *rig }

func (j rigJournal) Append(batch []event.Encoded) error {
	j.point()
	for _, e := range batch {
		prev := event.Genesis
		if n := len(j.records); n > 0 {
			prev = j.records[n-1].Hash
		}
		if e.Record.Prev != prev || int(e.Record.Seq) != len(j.records)+1 {
			j.fatalf("R6: record %d does not follow", e.Record.Seq)
		}
		j.records = append(j.records, e)
		if e.Record.Kind == event.StateBase {
			j.bases = len(j.records) / 200
		}
	}
	j.point()
	return nil
}

func (j rigJournal) Pressure() Pressure { return Pressure{Base: len(j.records)/200 > j.bases} }
func (j rigJournal) Compact([]byte, event.Seq, string) error {
	return errors.New("never asked for")
}
func (j rigJournal) Undurable() event.JournalGapData { return event.JournalGapData{} }
func (j rigJournal) Drop([]event.Encoded, []byte, event.Seq, string) error {
	return errors.New("never asked for")
}
func (j rigJournal) NoteInHand(id string) { j.inHand = id }
func (j rigJournal) ClearInHand()         { j.inHand = "" }

// rigKeeper is the world behind the core's port. It checks that acts come
// after their records.
type rigKeeper struct{ *rig }

// authorised finds the newest record that allows an act, and holds the act
// against R1: durable, or kept for 20 ms, or in a degraded time.
func (k rigKeeper) authorised(act, instance string, allows func(event.Data) bool) {
	for _, e := range slices.Backward(k.records) {
		if !allows(e.Record.Data) {
			continue
		}
		waited := k.w.Now.Mono-e.Record.Mono >= int64(ActGrace)
		if e.Record.Seq > k.durable && !waited && !k.core.State().Supd.Degraded {
			k.fatalf("R1: %s %s before record %d was durable or 20 ms old", act, instance, e.Record.Seq)
		}
		return
	}
	k.fatalf("R3: %s %s without a record", act, instance)
}

func (k rigKeeper) Park(p keeper.Park) error {
	k.point()
	if p.Task != 0 {
		return k.runHook(p)
	}
	if k.parkErr != nil {
		return k.parkErr
	}
	k.parking++
	k.maxParks = max(k.maxParks, k.parking)
	k.w.Park(p.Service, p.Instance, "")
	k.point()
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
	k.w.Hook(policy.Duty{Service: p.Service, Instance: h.Instance, Operation: h.Operation, Hook: h.Name, Deadline: p.Deadline})
	k.point()
	return nil
}

func (k rigKeeper) Grant(uint32) error { return nil }

func (k rigKeeper) Open(instance string) error {
	k.point()
	k.authorised("open", instance, func(d event.Data) bool {
		x, ok := d.(event.InstanceStartingData)
		return ok && x.Instance == instance
	})
	k.w.Open(instance)
	k.point()
	return nil
}

func (k rigKeeper) Signal(instance, operation string, sig syscall.Signal, scope keeper.Scope) error {
	k.point()
	stranger := operation == projector.KillOperation(instance)
	for _, v := range k.core.State().Services {
		stranger = stranger && (v.Instance == nil || v.Instance.ID != instance)
	}
	if !stranger {
		k.authorised("signal", instance, func(d event.Data) bool {
			switch d := d.(type) {
			case event.InstanceStoppingData:
				return d.Instance == instance && !strings.HasPrefix(operation, projector.SignalOperation(""))
			case event.CommandAcceptedData:
				return operation == projector.SignalOperation(d.Command)
			}
			return false
		})
	}
	k.w.Signal(instance, operation, event.SignalName(int(sig)), scope.String())
	k.point()
	return nil
}

func (k rigKeeper) Sweep(instance, operation, _ string) error {
	k.point()
	k.w.Sweep(instance, operation)
	k.point()
	return nil
}

func (k rigKeeper) Drop(instance string) error {
	k.point()
	k.w.Drop(instance)
	return nil
}

func (k rigKeeper) Forget(instance string) error {
	k.point()
	k.w.Forget(instance)
	return nil
}

func (k rigKeeper) Adopt(a keeper.Adopt) error {
	k.point()
	k.w.Adopt(a.Service, a.Instance)
	k.point()
	return nil
}
