package policy_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"supd/executor/policy"
	"supd/executor/policy/policytest"
	"supd/journal/event"
)

// TestRandomHistories drives supd and a model of the world with whatever may
// happen, in any order, with engines, keepers and boots that come and go. The
// bench checks the promises after each decision; at the end the world must
// come to rest where the wants say.
func TestRandomHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newHistory(t)
		for range rapid.IntRange(10, 120).Draw(t, "steps") {
			h.step()
		}
		h.finish()
	})
}

type history struct {
	*bench
	t      *rapid.T
	sent   []policy.Command
	traces []string
}

func newHistory(t *rapid.T) *history {
	h := &history{t: t}
	h.bench = newBench(func(format string, args ...any) {
		t.Helper()
		t.Fatalf(format+"\n%s%s", append(args, h.traces, h.story(60))...)
	})
	h.w.Behave = h.behaviour
	h.boot(policy.Settle{})
	for i := range rapid.IntRange(1, 3).Draw(t, "services") {
		h.config[fmt.Sprintf("s%d", i)] = h.spec(i)
	}
	if rapid.IntRange(0, 3).Draw(t, "limited") == 0 {
		h.limit = &event.StartLimit{Rate: 1, Burst: 1}
	}
	h.configure()
	return h
}

// tellOf is something that the prober says of a live instance.
func (h *history) tellOf(name string) {
	i := h.s.Services[name].Instance
	if i == nil {
		return
	}
	in := rapid.SampledFrom([]policy.Input{
		policy.Health{Service: name, Instance: i.ID, Probe: "tcp", To: event.Unhealthy, Failures: 1, Error: "refused"},
		policy.Health{Service: name, Instance: i.ID, Probe: "tcp", To: event.Healthy},
		policy.WatchdogMissed{Service: name, Instance: i.ID},
		policy.Extended{Service: name, Instance: i.ID, For: 20 * time.Second},
		policy.Reloading{Service: name, Instance: i.ID},
	}).Draw(h.t, "probe")
	h.trace("prober %T %s", in, name)
	h.decide(in)
}

func (h *history) trace(format string, args ...any) {
	h.traces = append(h.traces, fmt.Sprintf("%d: "+format+"\n", append([]any{h.s.Seq()}, args...)...))
}

func (h *history) spec(i int) event.Spec {
	t, s := h.t, baseSpec(fmt.Sprintf("s%d", i))
	s.Autostart = rapid.Bool().Draw(t, "autostart")
	s.Restart = rapid.SampledFrom([]string{"always", "always", "on-failure", "never"}).Draw(t, "restart")
	s.MaxRetries = rapid.SampledFrom([]int{-1, -1, 0, 2}).Draw(t, "max_retries")
	s.Stop.Mode = rapid.SampledFrom([]string{"tree", "tree", "group", "main"}).Draw(t, "mode")
	s.Stop.Timeout = event.Duration(rapid.SampledFrom([]time.Duration{0, time.Second, 10 * time.Second}).Draw(t, "timeout"))
	s.Nice = rapid.IntRange(0, 1).Draw(t, "nice")
	s.ReloadSignal = rapid.SampledFrom([]string{"SIGHUP", "SIGHUP", ""}).Draw(t, "reload")
	h.life(&s, i)
	return s
}

// life adds a place in the graph, readiness and hooks. Dependencies point to
// lower numbers only: a configuration with a circle is refused before.
func (h *history) life(s *event.Spec, i int) {
	t := h.t
	one := func(in int, what string) bool { return rapid.IntRange(1, in).Draw(t, what) == 1 }
	for j := range i {
		d := event.Dependency{Name: fmt.Sprintf("s%d", j)}
		switch rapid.IntRange(0, 6).Draw(t, "edge") {
		case 0, 1:
			s.Requires = append(s.Requires, d)
		case 2:
			s.Wants = append(s.Wants, d)
		case 3:
			s.After = append(s.After, d)
		case 4:
			s.Conflicts = append(s.Conflicts, d.Name)
		}
	}
	if one(3, "ready") {
		s.Ready = &event.Ready{Notify: true, Timeout: event.Duration(3 * time.Second)}
	}
	if one(5, "oneshot") {
		s.Type, s.Remain = event.TypeOneshot, rapid.Bool().Draw(t, "remain")
	}
	if one(3, "health") {
		s.Health = &event.Health{Failures: 1, Action: rapid.SampledFrom([]string{"restart", "none"}).Draw(t, "action")}
	}
	for _, hook := range []*[]string{&s.Hooks.PreStart, &s.Hooks.PostStart, &s.Hooks.PreStop, &s.Hooks.PostStop} {
		if one(5, "hook") {
			*hook = []string{"/bin/hook"}
		}
	}
	s.Priority = rapid.IntRange(0, 1).Draw(t, "priority")
}

func (h *history) behaviour(string) policytest.Behaviour {
	one := func(in int, what string) bool { return rapid.IntRange(1, in).Draw(h.t, what) == 1 }
	b := policytest.Behaviour{
		Stubborn: one(4, "stubborn"), Unkillable: one(20, "unkillable"), Leaves: one(3, "leaves"),
		SweepsInVain: rapid.SampledFrom([]int{0, 0, 0, 2}).Draw(h.t, "vain"),
	}
	b.NeverReady, b.HookSilent = one(6, "never-ready"), one(8, "hook-silent")
	if one(5, "hook-fails") {
		b.HookCode = 1
	}
	if one(8, "exec-fails") {
		b.ExecErrno = rapid.SampledFrom([]int{2, 11}).Draw(h.t, "errno")
	}
	if one(10, "park-fails") {
		b.ParkErrno = rapid.SampledFrom([]int{11, 24}).Draw(h.t, "errno")
	}
	return b
}

func (h *history) pick() string { return rapid.SampledFrom(h.names()).Draw(h.t, "service") }

func (h *history) step() {
	h.rand = rapid.Float64Range(0, 0.999).Draw(h.t, "chance")
	if len(h.names()) == 0 {
		h.config["s0"] = h.spec(0)
		h.configure()
	}
	switch n := rapid.IntRange(0, 99).Draw(h.t, "what"); {
	case n < 22:
		h.command()
	case n < 50:
		h.tell()
	case n < 72:
		name := h.pick()
		h.trace("act %s", name)
		h.act(name)
	case n < 80:
		d := rapid.SampledFrom([]time.Duration{time.Millisecond, 600 * time.Millisecond, 5 * time.Second, 11 * time.Second}).Draw(h.t, "time")
		h.trace("advance %s", d)
		h.w.Advance(d)
		for _, name := range h.names() {
			h.decide(policy.Tick{Service: name})
		}
	case n < 83:
		h.tellOf(h.pick())
	case n < 88:
		name := h.pick()
		h.trace("exit %s", name)
		h.w.Exit(name, rapid.IntRange(0, 1).Draw(h.t, "code"))
	case n < 91:
		i := rapid.IntRange(0, 2).Draw(h.t, "which")
		name := fmt.Sprintf("s%d", i)
		h.trace("configure %s", name)
		if delete(h.config, name); rapid.Bool().Draw(h.t, "defined") {
			h.config[name] = h.spec(i)
		}
		if rapid.Bool().Draw(h.t, "by-command") {
			h.apply()
		} else {
			h.configure()
		}
	case n < 92:
		h.decide(policy.Base{})
	default:
		h.restart(n)
	}
}

// tell delivers what the keeper tells: usually the oldest, sometimes out of
// turn between instances, sometimes twice.
func (h *history) tell() {
	q := h.w.Queue
	if len(q) == 0 {
		return
	}
	i := rapid.IntRange(0, len(q)-1).Draw(h.t, "turn")
	for j := range i { // never before an older one of the same instance
		if policytest.InstanceOf(q[j]) == policytest.InstanceOf(q[i]) {
			i = j
			break
		}
	}
	in := q[i]
	h.w.Queue = append(q[:i:i], q[i+1:]...)
	h.trace("tell %T %v", in, in)
	h.decide(in)
	if rapid.IntRange(0, 5).Draw(h.t, "twice") == 0 {
		h.decide(in)
	}
}

func (h *history) command() {
	if len(h.sent) > 0 && rapid.IntRange(0, 4).Draw(h.t, "again") == 0 {
		cmd := rapid.SampledFrom(h.sent).Draw(h.t, "sent")
		h.trace("again %s", cmd.Request.ID)
		before := len(h.log)
		h.decide(cmd)
		if len(h.log) != before {
			h.fail("P2: the same command again wrote records")
		}
		return
	}
	verb := rapid.SampledFrom([]event.Verb{"start", "start", "stop", "stop", "restart", "signal", "reload"}).Draw(h.t, "verb")
	cmd := policy.Command{Actor: "uid-0", Request: event.CommandRequest{
		ID: h.id(), Verb: verb, Patterns: []string{rapid.SampledFrom(append(h.names(), "all", "s*")).Draw(h.t, "target")},
	}}
	if verb == event.VerbRestart && rapid.Bool().Draw(h.t, "rolling") {
		cmd.Request.Args = map[string]string{event.ArgRolling: "true"}
	}
	if verb == event.VerbSignal {
		cmd.Request.Args = map[string]string{event.ArgSignal: "HUP"}
	}
	h.trace("%s %v", verb, cmd.Request.Patterns)
	h.decide(cmd)
	if h.accepted[cmd.Request.ID] {
		h.sent = append(h.sent, cmd)
	}
}

// apply sends the configuration as it is now, or one that is wrong.
func (h *history) apply() {
	in := h.read("")
	cmd := policy.Command{
		Actor: "uid-0", Request: event.CommandRequest{ID: h.id(), Verb: event.VerbApply}, Configure: &in,
	}
	if rapid.IntRange(0, 9).Draw(h.t, "wrong") == 0 {
		cmd.Configure, cmd.Errors = nil, []event.ConfigError{{File: "supd.toml", Line: 1, Column: 1, Message: "no"}}
	}
	targets := map[string]bool{}
	if cmd.Configure != nil {
		for _, p := range policy.Plan(h.s, in) {
			targets[p.Service] = p.Action != event.PlanStay
		}
	}
	h.trace("apply %s", cmd.Request.ID)
	h.connect(targets)
	before := len(h.log)
	h.decide(cmd)
	for _, e := range h.log[before:] {
		if r := e.Record; r.Kind.Group() != "command" && r.Subject != "" && !targets[r.Subject] { // nor has to do with what it changes
			h.fail("P7: record %d (%s) is about %s, which the plan leaves alone", r.Seq, r.Kind, r.Subject)
		}
	}
	if h.accepted[cmd.Request.ID] {
		h.sent = append(h.sent, cmd)
	}
}

func (h *history) restart(n int) {
	switch {
	case n < 95:
		h.trace("engine dies")
		h.boot(h.w.NewEngine())
	case n < 97:
		h.trace("all are lost")
		h.w.NewKeeper()
		h.boot(policy.Settle{})
	case n < 98:
		h.trace("reboot")
		h.w.Reboot()
		h.boot(policy.Settle{})
	default:
		h.trace("shutdown")
		in := policy.Shutdown{
			Reason: "signal", Forced: rapid.Bool().Draw(h.t, "forced"), KeepServices: rapid.Bool().Draw(h.t, "keep"),
		}
		h.decide(in)
		if rapid.Bool().Draw(h.t, "completes") {
			if !in.Forced {
				h.w.Release()
			}
			h.calm(5 * time.Minute) // hooks of which nothing is heard take their time
			if !h.s.Supd.Stopped {
				h.fail("an orderly end does not come: %s", h.s.Canonical())
			}
		}
		h.w.NewKeeper()
		h.boot(policy.Settle{})
	}
}

// finish ends the unrest and looks where everything came to rest.
func (h *history) finish() {
	h.trace("finish")
	h.w.Release()
	h.w.Behave = nil
	h.calm(5 * time.Minute)
	if len(h.s.Commands) > 0 {
		h.fail("P2: commands never end: %s", h.s.Canonical())
	}
	for _, name := range h.names() {
		v := h.s.Services[name]
		running := h.w.Running(name)
		switch {
		case v.Want == event.Up && (v.Phase != event.PhaseRunning || len(running) != 1 || running[0] != v.Instance.ID):
			h.fail("%s is wanted and %s; %v run", name, v.Phase, running)
		case v.Want == event.Down && (!v.Settled() || len(running) > 0):
			h.fail("%s is not wanted and %s; %v run", name, v.Phase, running)
		}
	}
	for id := range h.accepted {
		if h.ended[id] != 1 {
			h.fail("P2: command %s ended %d times", id, h.ended[id])
		}
	}
	h.replay()
}
