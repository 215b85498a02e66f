package policy_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"

	"supd/executor/policy"
	"supd/executor/policy/policytest"
	"supd/journal/event"
	"supd/projector"
)

// bench drives Decide on a state as the executor does, and checks after each
// decision what must hold whatever was decided.
type bench struct {
	fail     func(format string, args ...any)
	s        *projector.State
	w        *policytest.World
	rand     float64
	config   map[string]event.Spec
	limit    *event.StartLimit
	scale    map[string]int
	left     map[string]bool // services that had stop.mode main
	log      []event.Encoded
	last     *policy.Tx
	replies  map[string][]event.CommandReply
	accepted map[string]bool
	ended    map[string]int
	starts   map[string]int // instance.starting by instance
	exits    map[string]int
	adopting map[string]bool // as the executor knows: no duties until it is found out
	serial   int
}

func newBench(fail func(string, ...any)) *bench {
	return &bench{
		fail: fail, s: projector.New(), w: policytest.New(), config: map[string]event.Spec{}, left: map[string]bool{}, replies: map[string][]event.CommandReply{},
		accepted: map[string]bool{}, ended: map[string]int{}, starts: map[string]int{}, exits: map[string]int{}, adopting: map[string]bool{},
	}
}

func baseSpec(name string) event.Spec {
	return event.Spec{
		Command: []string{"/bin/" + name}, Base: name, Restart: event.RestartAlways, SuccessExitCodes: []string{"0"}, MaxRetries: -1,
		Backoff: event.Backoff{
			Initial: event.Duration(500 * time.Millisecond), Factor: 2, Max: event.Duration(30 * time.Second),
			ResetAfter: event.Duration(10 * time.Second), Jitter: 0.1,
		},
		Stop:   event.Stop{Signal: "SIGTERM", Timeout: event.Duration(10 * time.Second), Mode: event.StopTree},
		Output: event.Output{OnFull: "block"},
	}
}

// uuid is a UUIDv7 of a time.
func uuid(at time.Time, n int) string {
	ms := fmt.Sprintf("%012x", at.UnixMilli())
	return ms[:8] + "-" + ms[8:] + fmt.Sprintf("-7000-8000-%012x", n)
}

func (b *bench) id() string { b.serial++; return uuid(b.w.Now.Wall, b.serial) }

func (b *bench) mint(d event.Draft) (event.Encoded, error) {
	now := b.w.Now
	return event.Encode(event.Record{
		ID: fmt.Sprintf("r%d", b.s.Seq()+1), Source: "supd/test/0", Kind: d.Data.Kind(), Subject: d.Subject, Time: now.Wall, Mono: now.Mono,
		Boot: now.Boot, Seq: b.s.Seq() + 1, Prev: b.s.Hash(), Cause: d.Cause, Actor: d.Actor, Data: d.Data,
	})
}

// decide decides one input and carries out its effects on the world.
func (b *bench) decide(in policy.Input) *policy.Tx {
	tx := policy.NewTx(b.s, b.w.Now, b.rand, b.mint)
	policy.Decide(tx, in)
	b.log = append(b.log, tx.Records...)
	for _, r := range tx.Records {
		b.account(r.Record)
	}
	for _, e := range tx.Effects {
		if r, ok := e.(policy.Reply); ok {
			b.replies[r.Command] = append(b.replies[r.Command], r.Reply)
		}
		if a, ok := e.(policy.Adopt); ok {
			b.adopting[a.Instance] = true
		}
		b.w.Effect(e)
	}
	switch in := in.(type) {
	case policy.Adopted:
		delete(b.adopting, in.Instance)
	case policy.Lost:
		delete(b.adopting, in.Instance)
	}
	b.last = tx
	b.check()
	return tx
}

// account counts what may happen once.
func (b *bench) account(r event.Record) {
	once := func(m map[string]int, id, what string) {
		if m[id]++; m[id] > 1 {
			b.fail("%s of %s at record %d: not the first", what, id, r.Seq)
		}
	}
	switch d := r.Data.(type) {
	case event.CommandAcceptedData:
		if b.accepted[d.Command] {
			b.fail("P2: command %s was accepted twice", d.Command)
		}
		b.accepted[d.Command] = true
	case event.CommandEndedData:
		once(b.ended, d.Command, "P2: end")
	case event.InstanceStartingData:
		once(b.starts, d.Instance, "start")
		b.startsInOrder(r.Subject)
	case event.InstanceStoppingData:
		b.stopsInOrder(r.Subject, d)
	case event.InstanceExitedData:
		once(b.exits, d.Instance, "exit")
		if b.starts[d.Instance] == 0 {
			b.fail("%s exited without instance.starting", d.Instance)
		}
	}
	if r.Cause == "" && r.Actor == "supd" && r.Kind.Group() == "restart" {
		b.fail("record %d (%s) of supd's own making has no cause", r.Seq, r.Kind)
	}
}

// check holds after every decision.
func (b *bench) check() {
	if n := b.s.Resolved(); len(n) > 0 {
		b.fail("resolved commands are left over: %v", n)
	}
	for _, v := range b.w.Violations {
		b.fail("%s", v)
	}
	pending := map[string]bool{}
	for name, v := range b.s.Services {
		if v.Phase == event.PhaseWaiting && (v.Want == event.Down || v.Busy()) {
			b.fail("%s waits and is not about to start", name)
		}
		if v.Hook != nil && v.Hook.Name == event.HookPostStop && (!v.PostStop || v.Live()) {
			b.fail("%s: post_stop runs and is not due", name)
		}
		if v.Phase == event.PhaseExited && v.Want == event.Up && !v.Busy() { // a hook of it may be under way
			b.fail("%s is wanted, exited, and nothing follows", name)
		}
		if v.Phase == event.PhaseBackoff && (v.NextStart == nil || v.Want == event.Down) {
			b.fail("%s is in backoff without a next start or a want", name)
		}
		for _, id := range v.Pending {
			c := b.s.Commands[id]
			if c == nil {
				b.fail("%s: pending %s is not an open command", name, id)
				continue
			}
			if _, done := c.Results[name]; done {
				b.fail("%s: %s is pending and has a result", name, id)
			}
			pending[id+" "+name] = true
		}
	}
	for id, c := range b.s.Commands {
		if b.ended[id] > 0 {
			b.fail("P2: ended command %s is open", id)
		}
		for _, name := range c.Targets {
			if _, done := c.Results[name]; !done && !pending[id+" "+name] {
				b.fail("P2: nothing will end command %s for %s", id, name)
			}
		}
	}
}

func (b *bench) configure() *policy.Tx { return b.decide(b.read("")) }

// read is what reading the configuration gives; its digest is of what it says
// unless one is given.
func (b *bench) read(digest string) policy.Configure {
	in := policy.Configure{Actor: "supd", Digest: digest, Start: b.limit, Scale: b.scale}
	for _, name := range slices.Sorted(maps.Keys(b.config)) {
		in.Services = append(in.Services, policy.Definition{Name: name, Spec: b.config[name]})
		b.left[name] = b.left[name] || b.config[name].Stop.Mode == event.StopMain
	}
	b.w.MayLeave = func(service string) bool { return b.left[service] }
	b.w.Awaits = func(service string) bool { v := b.s.Services[service]; return v != nil && v.Spec.Ready != nil }
	b.w.Oneshot = func(service string) bool { v := b.s.Services[service]; return v != nil && v.Spec.Oneshot() }
	if digest == "" {
		text, _ := event.Marshal(b.config)
		in.Digest = event.Hash(text)[:6]
	}
	return in
}

// boot starts an engine on what the last one left: the state read back from
// its canonical form.
func (b *bench) boot(settle policy.Settle) {
	s, err := projector.Parse(b.s.Canonical(), b.s.Seq(), b.s.Hash())
	if err != nil {
		b.fail("%v", err)
		return
	}
	b.s, b.adopting = s, map[string]bool{}
	b.decide(b.started())
	b.decide(settle)
}

func (b *bench) started() policy.Started {
	return policy.Started{
		Engine: event.EngineStartedData{Version: "test", PID: 2, Mode: event.ModeCrash},
		Keeper: event.KeeperStartedData{PID: b.w.Keeper, StartTime: 7, Version: "test"},
	}
}

// act carries out the duties of one service, and its due deadline.
func (b *bench) act(name string) (acted bool) {
	v := b.s.Services[name]
	if v == nil || v.Instance != nil && b.adopting[v.Instance.ID] {
		return false
	}
	for _, d := range policy.Duties(b.s, v, b.w.Now) {
		if d.Do == policy.ActPark && b.w.Stubs(name) > 0 {
			continue
		}
		acted = b.w.Perform(d, b.id(), v.Digest) || acted
	}
	return acted
}

func (b *bench) names() []string { return slices.Sorted(maps.Keys(b.s.Services)) }

// deliver hands over the oldest thing the keeper has to tell.
func (b *bench) deliver() bool {
	if len(b.w.Queue) == 0 {
		return false
	}
	in := b.w.Queue[0]
	b.w.Queue = b.w.Queue[1:]
	b.decide(in)
	return true
}

// calm lets the world run until nothing more is due, at most for the given
// time, and tells whether it came to rest: duties terminate.
func (b *bench) calm(limit time.Duration) bool {
	end := b.w.Now.Mono + int64(limit)
	for range 10_000 {
		if b.deliver() {
			continue
		}
		acted := false
		for _, name := range b.names() {
			acted = b.act(name) || acted
		}
		if acted {
			continue
		}
		next, due := time.Duration(0), ""
		for _, name := range b.names() {
			if wait, ok := policy.Wait(b.s, b.s.Services[name], b.w.Now); ok && (due == "" || wait < next) {
				next, due = wait, name
			}
		}
		if due == "" {
			return true
		}
		if b.w.Now.Mono+int64(next) > end {
			return false
		}
		b.w.Advance(next)
		b.decide(policy.Tick{Service: due})
	}
	b.fail("duties do not terminate: %v", b.names())
	return false
}

// replay folds the stored bytes and compares with the state that decisions
// built (P6).
func (b *bench) replay() {
	s := projector.New()
	for i, stored := range b.log {
		e, err := event.Decode(stored.Bytes)
		if err != nil {
			b.fail("%v", err)
			return
		}
		if err := s.Apply(e); err != nil {
			b.fail("%v", err)
			return
		}
		if i%97 == 0 {
			again, err := projector.Parse(s.Canonical(), s.Seq(), s.Hash())
			if err != nil || !bytes.Equal(again.Canonical(), s.Canonical()) {
				b.fail("P6: the canonical form of record %d is not its own: %v", s.Seq(), err)
				return
			}
			s = again // and the fold goes on from this base
		}
	}
	if got, want := s.Canonical(), b.s.Canonical(); !bytes.Equal(got, want) {
		b.fail("P6: replay differs\n got %s\nwant %s", got, want)
	}
}
