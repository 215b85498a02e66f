package main

// bug is a mistake that somebody could make, and the promise it breaks.
type bug struct {
	name, promise string
	file          string // from the root of the module
	before, after string // the text that is replaced, and by what
	tests         string // a package's tests that must fail; empty: the simulation
}

// bugs are spread over policy, recovery, loop, projector and journal. A bug that
// is not found is a hole in the checkers, not in this list. The simulation has a
// journal of its own: bugs in the real one are for its package's tests.
var bugs = []bug{
	// policy
	{
		"starts beside a live instance", "P1", "executor/policy/depend.go",
		`if v.Want != event.Up || v.Removed || v.Busy() || s.Supd.Stopping != nil`,
		`if v.Want != event.Up || v.Removed || v.Tree != nil || s.Supd.Stopping != nil`, "",
	},
	{
		"a stub told again is let go", "P1", "executor/policy/decide.go",
		`if _, i := tx.instance(in.Service, in.Instance); i != nil {`,
		`if false {`, "",
	},
	{
		"a stub of the old configuration", "R11", "executor/policy/decide.go",
		` || v.Digest != in.SpecDigest {`, ` {`, "",
	},
	{
		"a stop that never escalates", "P2", "executor/policy/duty.go",
		`case now.Mono >= o.Deadline.Mono:`, `case now.Mono >= o.Deadline.Mono && o.Signal == event.Kill:`, "",
	},
	{
		"retries are not counted", "P9", "projector/service.go",
		`v.Phase, v.Retries = event.PhaseBackoff, d.Retry`, `v.Phase = event.PhaseBackoff`, "",
	},
	{
		"a contradicted want stays open", "P2", "projector/command.go",
		`if c.Verb == event.VerbStop && up(by.Verb) || up(c.Verb) && by.Verb == event.VerbStop {`,
		`if up(c.Verb) && by.Verb == event.VerbStop {`, "",
	},
	{
		"does not wait for what it requires", "", "executor/policy/depend.go",
		`return mayStart(s, v, now) && needs(s, v).met() && granted(s, v, now)`,
		`return mayStart(s, v, now) && granted(s, v, now)`, "",
	},
	{
		"the same id runs again", "P2", "executor/policy/command.go",
		`if tx.knownCommand(req.ID, contentOf(in), in.Actor) {`,
		`if tx.State.Commands[req.ID] != nil && tx.knownCommand(req.ID, contentOf(in), in.Actor) {`, "",
	},
	{
		"an id with other content is taken", "P2", "executor/policy/command.go",
		`case known != content:`, `case known != content && known == "":`, "",
	},
	{
		"leftovers are forgotten", "P1", "executor/policy/exit.go",
		`case !in.Leftovers:`, `case true:`, "",
	},
	// recovery
	{
		"an opened gate is opened again", "R3", "executor/policy/duty.go",
		`if i.Running == nil && i.ExecFailed == nil && !i.Adopted && prepared(v) {`,
		`if i.ExecFailed == nil && !i.Adopted && prepared(v) {`, "",
	},
	{
		"an exit nobody heard is swallowed", "P3", "executor/policy/recovery.go",
		"		tx.exited(*f.Exited)\n", "", "",
	},
	{
		"a stranger is left alone", "P1", "executor/policy/recovery.go",
		"		tx.act(Stranger{f.Service, f.Instance})\n", "", "",
	},
	{
		"a stranger counts as dead", "P1", "executor/work.go",
		`if c.strangers.keepDown(name) {`, `if false {`, "",
	},
	{
		"an adopted one is signalled again", "R4", "executor/policy/recovery.go",
		`if o := i.Stop; o != nil && o.Seq < tx.State.Supd.Since && !o.Signaled`,
		`if o := i.Stop; o != nil && o.Seq > tx.State.Supd.Since && !o.Signaled`, "",
	},
	{
		"a reboot is not noticed", "P1", "executor/policy/recovery.go",
		"			tx.settleReboot(v)\n", "", "",
	},
	{
		"half a batch is left so", "P2", "executor/policy/recovery.go",
		"		tx.resume(c)\n", "", "",
	},
	{
		"half a respawn is left so", "P3", "executor/policy/recovery.go",
		"		tx.resumeService(tx.State.Services[name])\n", "		_ = name\n", "",
	},
	{
		"leftovers behind a cut are left", "P1", "executor/policy/recovery.go",
		"	tx.resumeTrees()\n", "", "",
	},
	{
		"a definition behind a cut is forgotten", "P2", "executor/policy/recovery.go",
		"	tx.resumeDefinitions()\n", "", "",
	},
	// loop
	{
		"acts before the commit", "R1", "executor/work.go",
		`c.hold(d.After, ActGrace, true, func(bool) { c.perform(d) })`, `c.perform(d)`, "",
	},
	{
		"what is held is not held", "R1", "executor/hold.go",
		"	if after <= c.durable {\n		do(true)", "	if true {\n		do(true)", "",
	},
	{
		"waits for the disk", "P5", "executor/hold.go",
		`if h.until <= c.now.Mono {`, `if h.until <= c.now.Mono && !(h.act && h.after > c.durable) {`, "",
	},
	{
		"what is under way is forgotten", "R4", "executor/work.go",
		"	c.inFlight[d.Key()] = true\n", "", "",
	},
	{
		"acts before recovery is over", "R5", "executor/work.go",
		`if v == nil || !c.settled || c.unready {`, `if v == nil || c.unready {`, "",
	},
	{
		"a gap is not followed by a base", "P6", "executor/core.go",
		"	policy.Decide(tx, policy.Base{Part: c.BasePart})\n", "", "",
	},
	// projector
	{
		"a dead instance stays", "P1", "projector/service.go",
		"	v.Instance = nil\n	// What", "	// What", "",
	},
	{
		"the want is not in the base", "P6", "projector/state.go",
		"`json:\"want\"`", "`json:\"-\"`", "",
	},
	{
		"a base forgets the ended ids", "P2", "projector/canonical.go",
		"		s.ended[e.ID] = e\n", "		_ = e\n", "",
	},
	{
		"state that is in no record", "P6", "projector/service.go",
		"	v.Instance = &Instance{\n", "	v.Restarts += len(v.Pending) * 0\n	v.Definition += event.Seq(min(1, len(v.Name)*cap(v.Pending)%7))\n	v.Instance = &Instance{\n", "",
	},
	{
		"a base cut in two is not forgotten", "P6", "projector/canonical.go",
		"	if d.Part != len(s.parts)+1 {\n		s.parts = nil\n", "	if d.Part != len(s.parts)+1 {\n", "",
	},
	// the end
	{
		"a KILL is told after the end", "P3", "executor/policy/decide.go",
		`return v == nil || !v.Live()`, `return v == nil`, "",
	},
	{
		"a base follows the end", "P3", "executor/core.go",
		`if p.Base && !c.Config.State.Supd.Stopped {`, `if p.Base {`, "",
	},
	// main processes that services name
	{
		"a timer of before decides an exit", "P1", "executor/follow.go",
		`if l.ends[s.Instance] != x {`, `if l.ends[s.Instance] == nil {`, "",
	},
	{
		"an exit does not wait for the keeper", "P1", "executor/follow.go",
		`if _, waits := l.follows[instance]; waits {`, `if _, waits := l.follows[instance]; waits && x.slot.TreeEmpty {`, "",
	},
	{
		"an exit that was taken back stays", "P1", "executor/translate.go",
		"		delete(l.ends, x.Slot.Instance) // it was not the end\n", "", "",
	},
	{
		"nothing is heard before an exit", "P1", "executor/table.go",
		`		if l.undecided(slot, &f) {`, `		if false {`, "./executor TestFollowAcrossEngines",
	},
	// timers and the limiter
	{
		"a nearer deadline is not set", "P2", "executor/timers.go",
		`if t.at[service] == mono {`, `if _, set := t.at[service]; set {`, "",
	},
	{
		"one more than the limiter has", "P9", "executor/policy/limiter.go",
		`return float64(ahead(s, v)) < math`, `return float64(ahead(s, v)) <= math`, "",
	},
	// journal
	{
		"half a base is begun with", "P6", "journal/replay.go",
		"			if d.Part != d.Parts {\n				continue", "			if d.Part == 0 {\n				continue", "./journal TestBaseCutAtEveryPart",
	},
	{
		"a gap forgets what a gap had counted", "P4", "journal/thin.go",
		"			t.gap.Counts[kind] += n\n", "			_, _ = kind, n\n", "./journal TestThinning",
	},
	{
		"what is in doubt is published again", "R6", "journal/publisher.go",
		"		p.settled = false // in doubt: it may have been stored, or will be (R6)\n", "", "./journal TestPublisher",
	},
	{
		"goes on behind a fork", "R6", "journal/publisher.go",
		`case errors.Is(err, ErrFork):`, `case errors.Is(err, ErrFork) && p.settled:`, "./journal TestPublisher",
	},
}
