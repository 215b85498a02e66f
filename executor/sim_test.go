package executor

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"supd/executor/policy"
	"supd/executor/policy/policytest"
	"supd/journal/event"
)

var (
	simSeed  = flag.Uint64("sim.seed", 0, "replay this one seed")
	simSeeds = flag.Uint64("sim.seeds", simDefault, "how many seeds to run")
	simFirst = flag.Uint64("sim.first", 1, "the first of them")
)

// TestSimulation runs a whole supd on a model world from one seed: commands and
// their duplicates, crashes of services, of engines at any of their calls, of
// keepers and of the machine, disks that hang, publishes in doubt, run logs that
// are lost, deaths that take time, configurations that change. Who checks stands
// outside: the world, the witness who reads the records, and the clients. A
// failure names its seed; -sim.seed replays it.
func TestSimulation(t *testing.T) {
	first, count := *simFirst, *simSeeds
	if *simSeed != 0 {
		first, count = *simSeed, 1
	}
	var next, failed atomic.Uint64
	next.Store(first)
	var all seen
	t.Run("worlds", func(t *testing.T) {
		for i := range min(runtime.GOMAXPROCS(0), int(count)) {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				for failed.Load() == 0 {
					seed := next.Add(1) - 1
					if seed >= first+count {
						return
					}
					all.add(simulateOne(t, seed, &failed))
				}
			})
		}
	})
	if failed.Load() == 0 {
		all.check(t)
		t.Log(&all)
	}
}

// simulateOne has the others stop when it fails.
func simulateOne(t *testing.T, seed uint64, failed *atomic.Uint64) (came map[string]int) {
	passed := false
	defer func() {
		if !passed {
			failed.Store(seed)
		}
	}()
	came = simulate(t, seed)
	passed = true
	return came
}

type simulation struct {
	*rig
	chance *rand.Rand
	specs  map[string]event.Spec
	limit  *event.StartLimit
	left   map[string]bool // services whose leftovers may be left alone
	sent   []event.CommandRequest
}

const simServices = 4

func simulate(t *testing.T, seed uint64) (came map[string]int) {
	s := &simulation{chance: rand.New(rand.NewPCG(seed, seed)), specs: map[string]event.Spec{}, left: map[string]bool{}}
	s.rig = newRig(t, fmt.Sprintf("seed %d", seed), -1)
	s.rands, s.choose, s.memory.direct, s.publishing = s.chance.Float64, s.chance.IntN, true, s.inDoubt
	s.everyBase, s.everyCompact, s.full = 60+s.chance.IntN(100), 30+s.chance.IntN(100), 40+s.chance.IntN(100)
	if s.one(3) {
		s.basePart = 2000 + s.chance.IntN(4000)
	}
	s.w.Behave = s.behaviour
	s.w.MayLeave = func(service string) bool { return s.left[service] }
	s.w.Oneshot = func(service string) bool {
		v := s.core.State().Services[service]
		return v != nil && v.Spec.Oneshot()
	}
	if s.one(4) {
		s.limit = &event.StartLimit{Rate: 1, Burst: 1 + s.chance.IntN(2)}
	}
	for i := range 1 + s.chance.IntN(simServices) {
		s.define(i)
	}
	s.configure()
	s.rig.ready = func() error {
		if k := s.core.State().Supd.Keeper; k.Configured {
			return nil
		}
		return s.core.Step(s.file) // a keeper's first engine applies what supd was started with (R11)
	}
	for range 20 + s.chance.IntN(80) {
		s.step()
	}
	s.end()
	return s.w.Seen
}

// end lets the unrest end, and looks where everything has come to rest.
func (s *simulation) end() {
	s.note("it calms down")
	s.hang, s.forked, s.untilCrash, s.mute, s.publishing = false, false, -1, false, nil
	s.w.Behave, s.deaf = nil, false
	s.rest()
	s.witness.definitions()
	s.configure() // an engine may have died on the last one
	s.rest()
	s.finish()
	for name, v := range s.core.State().Services {
		running := s.w.Running(name)
		if v.Want == event.Up && (v.Phase != event.PhaseRunning || len(running) != 1 || running[0] != v.Instance.ID) ||
			v.Want == event.Down && (!v.Settled() || len(running) > 0) {
			wait, ok := policy.Wait(s.core.State(), v, s.w.Now)
			s.fatalf("%s is wanted %s and %s; %v run; it waits for %v until %v (next start %+v, due in %v %v)", name, v.Want, v.Phase, running, v.Waiting, s.w.Now.Mono, v.NextStart, wait, ok)
		}
	}
}

// rest is longer than any hook, sweep or backoff takes.
func (s *simulation) rest() {
	s.w.Release()
	s.calm(3 * time.Minute)
	s.w.Release()
	s.calm(3 * time.Minute)
}

func (s *simulation) one(in int) bool { return s.chance.IntN(in) == 0 }

func (s *simulation) service() string { return fmt.Sprintf("s%d", s.chance.IntN(simServices)) }

// did notes what happens, and counts its kind.
func (s *simulation) did(kind, format string, args ...any) {
	s.saw("%s", kind)
	s.note(kind+format, args...)
}

func (s *simulation) note(format string, args ...any) {
	s.actions = append(s.actions, fmt.Sprintf("%d: ", len(s.records))+fmt.Sprintf(format, args...))
}

func (s *simulation) step() {
	if s.untilCrash < 0 && s.one(4) {
		s.untilCrash = s.chance.IntN(30)
	}
	switch n := s.chance.IntN(100); {
	case n < 24:
		s.command()
	case n < 28:
		s.again()
	case n < 30:
		s.conflict()
	case n < 31:
		s.tooOld()
	case n < 55:
		for range 1 + s.chance.IntN(4) {
			s.shuffle()
			s.turn()
		}
	case n < 72:
		d := time.Duration(s.chance.IntN(3000)) * time.Millisecond
		s.did("calm", " %s", d)
		s.calm(d)
	case n < 75:
		s.speak()
	case n < 76:
		if s.one(4) {
			s.deaf = !s.deaf
			s.did("the notify socket is flooded", ": %v", s.deaf)
			break
		}
		name, whom := s.service(), s.chance.IntN(6)%3
		s.note("%s names a main process: %v, %d", name, s.w.Names(name, whom), whom)
	case n < 77:
		s.mute = !s.mute
		s.did("nobody gets ready", ": %v", s.mute)
	case n < 82:
		name := s.service()
		if s.note("exit %s", name); s.w.Exit(name, s.chance.IntN(2)) {
			s.saw("a service ends by itself")
		}
	case n < 83:
		name := s.service()
		s.note("end the stub of %s: %v", name, s.w.EndStub(name))
	case n < 86:
		if s.hang = !s.hang; s.hang && !s.forked && s.one(2) {
			s.saw("a late commit")
			s.stored = event.Seq(len(s.records)) // it gets there, and nobody is told
		}
		s.did("disk hangs", " %v", s.hang)
	case n < 87:
		d := time.Duration(s.chance.IntN(2000)) * time.Millisecond
		s.did("the engine gets no time", " for %s", d)
		s.w.Advance(d)
		s.owed = map[string]int64{}
	case n < 91:
		s.define(s.chance.IntN(simServices))
		s.configure()
	default:
		s.disaster(n)
	}
}

func (s *simulation) disaster(n int) {
	switch {
	case n < 92:
		s.did("another engine waits for the lock", "")
		s.second()
	case n < 93:
		s.did("all are lost", "")
		s.newKeeper()
		s.boot()
	case n < 94:
		s.lose(s.publisherAt(), "the run log is lost")
		s.broken = true
		s.boot()
	case n < 95:
		s.lose(s.publisherAt(), "reboot")
		s.w.Reboot()
		s.broken, s.forked = false, false
		s.boot()
	case n < 97:
		s.shutdown()
	case n < 98 && s.one(3) && s.stored == s.durable:
		s.did("JOURNAL is forked", "")
		s.forked = true
	default:
		s.did("the engine is killed", "")
		s.boot()
	}
}

// inDoubt is a publish: it is acknowledged, in part or as a whole; or nobody
// tells, and it is in JOURNAL or not (R6).
func (s *simulation) inDoubt(last event.Seq) (stored, durable event.Seq) {
	upTo := s.stored + event.Seq(s.chance.IntN(int(last-s.stored)+1))
	switch s.chance.IntN(8) {
	case 0:
		switch upTo {
		case s.stored:
			s.saw("a publish is lost, and nobody tells")
		case last:
			s.saw("a publish is stored, and nobody tells")
		default:
			s.saw("a publish is stored in part, and nobody tells")
		}
		return upTo, s.durable
	case 1:
		s.saw("a publish acknowledged in part")
		return upTo, upTo
	}
	s.saw("a publish acknowledged")
	return last, last
}

// publisherAt says how many records JOURNAL has when the others are lost: the
// publisher may be anywhere, and plain publishes cut a batch in two.
func (s *simulation) publisherAt() event.Seq {
	last := s.stored
	if !s.stuck() {
		last = event.Seq(len(s.records))
	}
	cuts := slices.DeleteFunc(slices.Clone(s.inside), func(seq event.Seq) bool { return seq < s.durable || seq > last })
	if parts := slices.DeleteFunc(slices.Clone(cuts), s.between); len(parts) > 0 {
		s.saw("a base is cut in two")
		return parts[s.chance.IntN(len(parts))]
	}
	if len(cuts) > 0 && s.one(2) {
		s.saw("a batch is cut in two")
		return cuts[s.chance.IntN(len(cuts))]
	}
	return s.durable + event.Seq(s.chance.IntN(int(last-s.durable)+1))
}

// between tells that the next record is not a part of a base whose first it follows.
func (s *simulation) between(seq event.Seq) bool {
	d, ok := s.records[seq].Record.Data.(event.StateBaseData)
	return !ok || d.Part == 1
}

// lose keeps the first records only.
func (s *simulation) lose(kept event.Seq, why string) {
	s.did(why, ": %d of %d records stay, %d are durable", kept, len(s.records), s.durable)
	if int(kept) < len(s.records) {
		s.saw("%s with records", why)
	}
	s.rig.lose(kept)
}

// shuffle has the keeper tell what it has to in another order between
// instances, or twice, as a keeper does that was asked again.
func (s *simulation) shuffle() {
	q := s.w.Queue
	if len(q) == 0 || !s.one(3) {
		return
	}
	i := s.chance.IntN(len(q))
	for j := range i { // never before an older one of the same instance
		if policytest.InstanceOf(q[j]) == policytest.InstanceOf(q[i]) {
			i = j
			break
		}
	}
	in := q[i]
	q = append(q[:i:i], q[i+1:]...)
	s.w.Queue = append([]policy.Input{in}, q...)
	if i > 0 {
		s.saw("told in another order")
	}
	if s.one(3) {
		s.saw("told twice")
		s.w.Queue = append([]policy.Input{in}, s.w.Queue...)
	}
}

func (s *simulation) command() {
	verbs := []event.Verb{event.VerbStart, event.VerbStart, event.VerbStop, event.VerbStop, event.VerbRestart, event.VerbSignal, event.VerbReload}
	verb := verbs[s.chance.IntN(len(verbs))]
	var args map[string]string
	switch {
	case verb == event.VerbSignal:
		args = map[string]string{event.ArgSignal: "USR1"}
	case verb == event.VerbRestart && s.one(3):
		args = map[string]string{event.ArgRolling: "true"}
	}
	target := s.service()
	if s.one(3) {
		target = "all"
	}
	id := s.send(verb, args, target)
	s.sent = append(s.sent, event.CommandRequest{ID: id, Verb: verb, Args: args, Patterns: []string{target}})
}

// pick is a command that was sent and accepted.
func (s *simulation) pick() (event.CommandRequest, bool) {
	s.sent = slices.DeleteFunc(s.sent, func(req event.CommandRequest) bool {
		_, known := s.witness.accepted[req.ID]
		return !known
	})
	if len(s.sent) == 0 {
		return event.CommandRequest{}, false
	}
	return s.sent[s.chance.IntN(len(s.sent))], true
}

// again sends a command that was sent before: nothing happens twice (P2).
func (s *simulation) again() {
	req, ok := s.pick()
	if !ok {
		return
	}
	s.did("a command again", " %s", req.ID)
	if _, ended := s.outcomes[req.ID]; !ended {
		s.commands[req.ID] = req
	}
	s.do(func() error {
		before, known := len(s.records), s.core.State().EndedCommand(req.ID) != nil
		err := s.hand(req)
		if known && len(s.records) != before {
			s.fatalf("P2: %s, which has ended, writes %d records", req.ID, len(s.records)-before)
		}
		return err
	})
}

// conflict sends another command with an id that is taken.
func (s *simulation) conflict() {
	req, ok := s.pick()
	if !ok {
		return
	}
	other := event.CommandRequest{ID: req.ID, Verb: event.VerbStop, Patterns: []string{"all", "s*"}}
	s.note("conflict with %s", req.ID)
	s.do(func() error {
		if st := s.core.State(); st.Commands[req.ID] == nil && st.EndedCommand(req.ID) == nil {
			return nil
		}
		s.saw("another command with its id")
		s.core.Await(req.ID, func(r event.CommandReply) {
			if r.Status != event.ReplyRejected || r.Reason != event.RejectIDConflict {
				s.fatalf("P2: another command with the id %s is %s (%s)", req.ID, r.Status, r.Outcome)
			}
		})
		return s.core.Step(policy.Command{Request: other, Actor: "uid-0"})
	})
}

// tooOld sends a command whose id is older than what is remembered (R8).
func (s *simulation) tooOld() {
	s.serial++
	req := event.CommandRequest{ID: rigID(s.w.Now.Wall.Add(-25*time.Hour), s.serial), Verb: event.VerbStop, Patterns: []string{"all"}}
	s.did("a command of yesterday", " %s", req.ID)
	s.do(func() error {
		s.core.Await(req.ID, func(r event.CommandReply) {
			if r.Outcome != event.Expired {
				s.fatalf("R8: an id of yesterday is %s (%s)", r.Status, r.Outcome)
			}
		})
		return s.core.Step(policy.Command{Request: req, Actor: "uid-0"})
	})
}

// speak has a service say something, of an instance that may be gone by now.
func (s *simulation) speak() {
	name := s.service()
	v := s.core.State().Services[name]
	if v == nil || v.Instance == nil || v.Instance.Running == nil {
		return // a stub at its gate is ours and says nothing
	}
	id := v.Instance.ID
	in := []policy.Input{
		policy.Ready{Service: name, Instance: id, By: "notify"},
		policy.Reloading{Service: name, Instance: id},
		policy.Extended{Service: name, Instance: id, For: 5 * time.Second},
		policy.WatchdogMissed{Service: name, Instance: id},
		policy.Health{Service: name, Instance: id, Probe: "tcp", From: event.Healthy, To: event.Unhealthy, Failures: 3, Error: "x"},
		policy.Health{Service: name, Instance: id, Probe: "tcp", From: event.Unhealthy, To: event.Healthy},
	}[s.chance.IntN(6)]
	s.saw("it says %T", in)
	s.note("%+v", in)
	s.input(in)
}

func (s *simulation) shutdown() {
	s.did("an orderly end", "")
	in := policy.Shutdown{Reason: "signal", KeepServices: s.one(2), Forced: s.one(2)}
	for !s.do(func() error { return s.core.Step(in) }) { // the keeper tells the next engine again
	}
	if !in.Forced {
		s.w.Release()
	}
	s.hang, s.forked = false, false
	s.calm(3 * time.Minute) // a hook may take its time
	if !s.quit || !s.core.State().Supd.Stopped {
		s.fatalf("an orderly end does not come")
	}
	s.quit = false
	s.newKeeper()
	s.boot()
}

// newKeeper loses the keeper. One thing is left out here because supd cannot do
// it: a stranger (row 9) that outlives both its KILL and the keeper that sent it
// is known to nobody. Strangers end before.
func (s *simulation) newKeeper() {
	recorded := map[string]bool{}
	for _, e := range s.records {
		if d, ok := e.Record.Data.(event.InstanceStartingData); ok {
			recorded[d.Instance] = true
		}
	}
	for _, id := range s.w.Instances() {
		if _, gate, _, _ := s.w.Process(id); !recorded[id] && !gate {
			s.w.Vanish(id)
		}
	}
	s.w.NewKeeper()
	s.witness.doubt()
}

// second starts an engine while this one lives. It may fold and look; until it
// has the lock, which this one holds, it must not act (R5). In supd it is told
// nothing before that: no keeper's table, no command.
func (s *simulation) second() {
	lived := s.try(func() error {
		state, err := s.fold()
		if err != nil {
			return err
		}
		c := NewCore(Config{
			State: state, Journal: lockedJournal{}, Keeper: lockedKeeper{}, Launches: s, Clock: s.rig, Source: "supd/test/0",
			Prober: s, Inbox: 64, Concurrency: 2, Quit: func(bool) { s.fatalf("R5: an engine without the lock ends supd") },
		})
		if err := c.SetDurable(s.durable); err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(state.Services)) {
			c.OutputPending(name, "x", false) // makes it look for duties
		}
		return c.Pass()
	})
	if !lived {
		s.fatalf("R5: an engine without the lock acts")
	}
}

// lockedJournal and lockedKeeper take nothing: whoever calls them panics.
type (
	lockedJournal struct{ Journal }
	lockedKeeper  struct{ Keeper }
)
