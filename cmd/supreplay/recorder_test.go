package main

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"supd/executor/policy"
	"supd/executor/policy/policytest"
	"supd/journal/event"
	"supd/projector"
)

// recorder writes the journals of the corpus: supd's decider in a model of the
// world, with every number drawn from the recorder itself.
type recorder struct {
	t       testing.TB
	w       *policytest.World
	s       *projector.State
	config  map[string]event.Spec
	records []event.Encoded
	serial  int
}

func newRecorder(t testing.TB) *recorder {
	r := &recorder{t: t, w: policytest.New(), s: projector.New(), config: map[string]event.Spec{}}
	r.decide(policy.Started{
		Engine: event.EngineStartedData{Version: "test", PID: 2, Mode: event.ModeFirst},
		Keeper: event.KeeperStartedData{PID: r.w.Keeper, StartTime: 7, Version: "test"},
	})
	r.decide(policy.Settle{})
	return r
}

func (r *recorder) id() string {
	r.serial++
	ms := fmt.Sprintf("%012x", r.w.Now.Wall.UnixMilli())
	return ms[:8] + "-" + ms[8:] + fmt.Sprintf("-7000-8000-%012x", r.serial)
}

func (r *recorder) mint(d event.Draft) (event.Encoded, error) {
	now := r.w.Now
	return event.Encode(event.Record{
		ID: r.id(), Source: "supd/" + testNode + "/4f3c", Kind: d.Data.Kind(), Subject: d.Subject, Time: now.Wall, Mono: now.Mono,
		Boot: now.Boot, Seq: r.s.Seq() + 1, Prev: r.s.Hash(), Cause: d.Cause, Actor: d.Actor, Data: d.Data,
	})
}

// decide decides one input; chance is another one each time, and the same in
// each recording.
func (r *recorder) decide(in policy.Input) {
	r.w.Advance(time.Millisecond)
	tx := policy.NewTx(r.s, r.w.Now, float64(r.serial*37%100)/100, r.mint)
	policy.Decide(tx, in)
	r.records = append(r.records, tx.Records...)
	for _, e := range tx.Effects {
		r.w.Effect(e)
	}
}

// run lets the world go on until nothing is due for so long.
func (r *recorder) run(limit time.Duration) {
	r.t.Helper()
	for end := r.w.Now.Mono + int64(limit); ; {
		if len(r.w.Queue) > 0 {
			in := r.w.Queue[0]
			r.w.Queue = r.w.Queue[1:]
			r.decide(in)
			continue
		}
		acted := false
		next, due := limit, ""
		for _, name := range slices.Sorted(maps.Keys(r.s.Services)) {
			v := r.s.Services[name]
			for _, d := range policy.Duties(r.s, v, r.w.Now) {
				if d.Do != policy.ActPark || r.w.Stubs(name) == 0 {
					acted = r.w.Perform(d, r.id(), v.Digest) || acted
				}
			}
			if wait, ok := policy.Wait(r.s, v, r.w.Now); ok && wait < next {
				next, due = wait, name
			}
		}
		switch {
		case acted:
		case due == "" || r.w.Now.Mono+int64(next) > end:
			return
		default:
			r.w.Advance(next)
			r.decide(policy.Tick{Service: due})
		}
	}
}

func spec(name string, change ...func(*event.Spec)) event.Spec {
	s := event.Spec{
		Command: []string{"/bin/" + name}, Base: name, Restart: event.RestartAlways, SuccessExitCodes: []string{"0"}, MaxRetries: -1, Autostart: true,
		Backoff: event.Backoff{
			Initial: event.Duration(500 * time.Millisecond), Factor: 2, Max: event.Duration(30 * time.Second),
			ResetAfter: event.Duration(10 * time.Second), Jitter: 0.1,
		},
		Stop: event.Stop{Signal: "SIGTERM", Timeout: event.Duration(10 * time.Second), Mode: event.StopTree}, Output: event.Output{OnFull: "block"},
	}
	for _, c := range change {
		c(&s)
	}
	return s
}

func (r *recorder) apply(specs ...event.Spec) {
	r.config = map[string]event.Spec{}
	in := policy.Configure{Actor: "supd", Digest: fmt.Sprint("c", r.serial)}
	for _, s := range specs {
		r.config[s.Base] = s
		in.Services = append(in.Services, policy.Definition{Name: s.Base, Spec: s})
	}
	slices.SortFunc(in.Services, func(a, b policy.Definition) int { return int(a.Name[0]) - int(b.Name[0]) })
	r.decide(in)
	r.run(time.Second)
}

func (r *recorder) command(verb event.Verb, args map[string]string, patterns ...string) {
	r.decide(policy.Command{Actor: "uid-1000", Client: &event.Client{UID: 1000, PID: 42, Comm: "supctl"}, Request: event.CommandRequest{
		ID: r.id(), Verb: verb, Patterns: patterns, Args: args, SentAt: r.w.Now.Wall,
	}})
	r.run(20 * time.Second)
}

// up lets services run for a time.
func (r *recorder) up(d time.Duration) { r.w.Advance(d); r.run(0) }

func (r *recorder) exit(name string, code int) {
	r.t.Helper()
	if !r.w.Exit(name, code) {
		r.t.Fatalf("%s does not run", name)
	}
	r.run(time.Minute)
}

// engine kills the engine; meanwhile happens.
func (r *recorder) engine(mode string, meanwhile func()) {
	settle := r.w.NewEngine()
	if meanwhile != nil {
		meanwhile()
		settle = r.w.NewEngine()
	}
	r.decide(policy.Started{
		Engine: event.EngineStartedData{Version: "test", PID: 3, Mode: mode, BaseSeq: 1, Replayed: len(r.records)},
		Keeper: event.KeeperStartedData{PID: r.w.Keeper, StartTime: 7, Version: "test"},
	})
	r.decide(settle)
	r.run(time.Minute)
}

// scenarios are the journals of the corpus, by name.
var scenarios = map[string]func(r *recorder){
	"crash-loop": func(r *recorder) {
		r.apply(spec("web", func(s *event.Spec) { s.MaxRetries = 6 }), spec("db"))
		for range 7 {
			r.up(2 * time.Second)
			r.exit("web", 1)
		}
		r.command(event.VerbStart, nil, "web")
		for range 3 {
			r.up(12 * time.Second) // stable: the counting begins anew
			r.exit("web", 3)
		}
		r.exit("db", 0)
	},
	"commands": func(r *recorder) {
		r.apply(spec("web"), spec("db"), spec("job", func(s *event.Spec) { s.Restart, s.Autostart = event.RestartOnFailure, false }))
		r.command(event.VerbRestart, nil, "web", "db")
		r.command(event.VerbStop, nil, "db")
		r.command(event.VerbStop, nil, "db")
		r.command(event.VerbStart, nil, "d*")
		r.command(event.VerbStart, nil, "none")
		r.command(event.VerbSignal, map[string]string{event.ArgSignal: "SIGUSR1"}, "web")
		r.command(event.VerbStart, nil, "job")
		r.exit("job", 4)
		r.exit("job", 0)
		r.decide(policy.Rejected{Actor: "uid-7", Reason: event.RejectMalformed, Detail: "no", Count: 2})
		r.decide(policy.Denied{Actor: "uid-7", Subject: "sup.n1.cmd.uid-0.web", Count: 1})
		r.decide(policy.Shutdown{Reason: "signal"})
		r.run(20 * time.Second)
	},
	"configuration": func(r *recorder) {
		r.apply(spec("web"), spec("db"))
		r.apply(spec("web", func(s *event.Spec) { s.Nice = 5 }), spec("db", func(s *event.Spec) { s.MaxRetries = 2 }), spec("new"))
		r.decide(policy.ConfigRefused{Actor: "uid-0", Errors: []event.ConfigError{{File: "supd.toml", Line: 1, Message: "no"}}})
		for range 3 {
			r.up(time.Second)
			r.exit("db", 1)
		}
		r.decide(policy.Base{})
		r.apply(spec("new"))
	},
	"engine-kill": func(r *recorder) {
		r.apply(spec("web"), spec("db"))
		r.engine(event.ModeCrash, func() { r.w.Exit("web", 9) })
		r.up(time.Second)
		r.w.NewKeeper()
		r.w.Keeper++
		r.engine(event.ModeAllLost, nil)
		r.exit("db", 1)
		r.w.Reboot()
		r.engine(event.ModeReboot, nil)
		r.exit("web", 1)
	},
	"leftovers": func(r *recorder) {
		r.w.Behave = func(name string) policytest.Behaviour {
			return policytest.Behaviour{Leaves: true, Stubborn: name == "db", SweepsInVain: map[string]int{"web": 1}[name]}
		}
		r.apply(spec("web"), spec("db"))
		r.up(3 * time.Second)
		r.exit("web", 1)
		r.command(event.VerbStop, nil, "db")
		r.command(event.VerbRestart, nil, "web")
	},
	"dependencies": func(r *recorder) {
		broken := true
		r.w.Behave = func(name string) policytest.Behaviour {
			b := policytest.Behaviour{}
			if name == "db" && broken {
				b.ExecErrno = 2
			}
			return b
		}
		needs := func(s *event.Spec) {
			s.Requires = []event.Dependency{{Name: "db", Condition: "started"}}
		}
		r.apply(spec("db", func(s *event.Spec) { s.MaxRetries = 1 }), spec("web", needs))
		broken = false
		r.command(event.VerbStart, nil, "web")
		r.up(20 * time.Second)
		r.exit("db", 1)
		r.exit("web", 1)
		r.command(event.VerbStop, nil, "db")
	},
}
