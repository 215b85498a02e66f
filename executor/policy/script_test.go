package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"supd/executor/policy"
	"supd/journal/event"
)

// command carries out one line of a script.
func (p *player) command(words []string) {
	args, o := options(words[1:])
	arg := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	switch verb := words[0]; verb {
	case "define":
		p.config[args[0]] = p.spec(args[0], o)
		p.configure()
	case "undefine":
		delete(p.config, args[0])
		p.configure()
	case "set": // as define, but in the file alone
		p.config[args[0]] = p.spec(args[0], o)
	case "unset":
		delete(p.config, args[0])
	case "plan":
		for _, s := range policy.Plan(p.s, p.read("")) {
			p.sayf("%s %s %s", s.Service, s.Action, strings.Join(s.Keys, ","))
		}
	case "start", "stop", "restart", "signal", "reload", "apply", "shutdown", "scale", "dance":
		p.request(verb, args, o)
	case "advance":
		p.w.Advance(p.duration(args[0]))
	case "clock": // the wall clock is set; the boot clock is not
		p.w.Now.Wall = p.w.Now.Wall.Add(p.duration(args[0]))
	case "chance":
		_, _ = fmt.Sscan(args[0], &p.rand)
	case "term":
		p.decide(policy.Shutdown{Reason: "signal", Forced: arg(0) == "again", KeepServices: arg(0) == "keep"})
	case "engine":
		p.engine(o)
	case "settle":
		p.decide(p.settle(args))
	case "base":
		p.decide(policy.Base{})
	case "degraded":
		p.decide(policy.Note{Data: event.JournalDegradedData{Why: "disk", Since: p.w.Now.Wall}})
	case "refused":
		p.decide(policy.ConfigRefused{Actor: "uid-0", Errors: []event.ConfigError{{File: "supd.toml", Line: 1, Message: "no"}}})
	case "rejected":
		p.decide(policy.Rejected{Actor: "uid-7", Reason: event.RejectMalformed, Detail: strings.Repeat("é", 200), Count: 3})
	case "denied":
		p.decide(policy.Denied{Actor: "uid-7", Subject: "sup.n.cmd.uid-0.web", Count: 2})
	case "logger":
		p.decide(policy.LoggerStarted{Logger: event.LoggerStartedData{PID: 3}})
	case "limit": // the start limiter: RATE BURST
		p.limit = nil
		if rate := p.number(arg(0)); rate > 0 {
			p.limit = &event.StartLimit{Rate: float64(rate), Burst: p.number(arg(1))}
		}
		p.configure()
	case "want": // what the state says of a command now
		p.say(args[0])
	default:
		p.decide(p.fact(verb, arg(0), arg(1), o))
	}
}

func (p *player) say(name string) {
	id := p.ids[name]
	switch e := p.s.EndedCommand(id); {
	case e != nil:
		p.sayf("%s ended %s", name, e.Outcome)
	case p.s.Commands[id] != nil:
		p.sayf("%s is open", name)
	default:
		p.sayf("%s is not known", name)
	}
}

func (p *player) spec(name string, o map[string]string) event.Spec {
	s := baseSpec(name)
	for k, v := range o {
		if p.lifeSpec(&s, k, v) {
			continue
		}
		switch k {
		case "autostart":
			s.Autostart = true
		case "restart":
			s.Restart = v
		case "max_retries":
			s.MaxRetries = p.number(v)
		case "timeout":
			s.Stop.Timeout = event.Duration(p.duration(v))
		case "signal":
			s.Stop.Signal = v
		case "mode":
			s.Stop.Mode = v
		case "initial":
			s.Backoff.Initial = event.Duration(p.duration(v))
		case "reload":
			s.ReloadSignal = v
		case "capture":
			s.CaptureOutput, s.MergeStderr = true, v == "merged"
		case "nice":
			s.Nice = p.number(v)
		case "success":
			s.SuccessExitCodes = strings.Split(v, ",")
		case "base":
			n := 1
			s.Base, s.Replica = v, &n
		default:
			p.t.Fatalf("define knows no %s", k)
		}
	}
	return s
}

func (p *player) request(verb string, args []string, o map[string]string) {
	cmd := policy.Command{
		Actor: "uid-0", Full: o["full"] != "",
		Request: event.CommandRequest{ID: p.commandID(args[0]), Verb: event.Verb(verb), SentAt: p.w.Now.Wall},
	}
	if o["actor"] != "" {
		cmd.Actor = o["actor"]
	}
	rest := args[1:]
	switch {
	case verb == "signal":
		cmd.Request.Args, rest = map[string]string{event.ArgSignal: rest[0]}, rest[1:]
	case verb == "shutdown" && slices.Contains(rest, "keep"):
		cmd.Request.Args, rest = map[string]string{event.ArgKeepServices: "true"}, rest[1:]
	}
	if verb == "shutdown" && o["force"] != "" {
		if cmd.Request.Args == nil {
			cmd.Request.Args = map[string]string{}
		}
		cmd.Request.Args[event.ArgForce] = "true"
	}
	cmd.Request.Patterns = rest
	if verb == "restart" && o["rolling"] != "" {
		cmd.Request.Args = map[string]string{event.ArgRolling: "true"}
	}
	if verb == "scale" {
		cmd.Request.Args = map[string]string{}
		for k, v := range o {
			cmd.Request.Args[k] = v
		}
		p.scaled(o)
	}
	if verb == "apply" || verb == "scale" {
		if verb == "apply" {
			cmd.Request.Patterns = nil
		}
		for i := range p.number(o["errors"]) {
			cmd.Errors = append(cmd.Errors, event.ConfigError{File: "supd.toml", Line: i + 1, Column: 3, Message: "no"})
		}
		if cmd.Errors == nil {
			in := p.read(o["digest"])
			in.Own = o["own"] != ""
			cmd.Configure = &in
		}
	}
	p.decide(cmd)
}

// engine starts the next engine: on the same keeper, or keeper=N; boot=N is
// another boot.
func (p *player) engine(o map[string]string) {
	if o["keeper"] != "" {
		p.w.Keeper = p.number(o["keeper"])
	}
	if o["boot"] != "" {
		p.w.Now.Boot, p.w.Now.Mono = "boot-"+o["boot"], int64(time.Hour)
	}
	in := p.started()
	if o["lost"] != "" { // all of supd was
		in.Engine.Mode, in.Heard = event.ModeAllLost, p.w.Now.Mono-int64(p.duration(o["lost"]))
	}
	p.decide(in)
}

// settle reads found instances: web/i1:closed,executed,adopted,exited:1,left,
// empty,failed:2 and results of signals: web/i1!stop.
func (p *player) settle(args []string) policy.Settle {
	var in policy.Settle
	for _, a := range args {
		if name, op, ok := strings.Cut(a, "!"); ok {
			service, instance, _ := strings.Cut(name, "/")
			if hook, is := strings.CutPrefix(op, "hook:"); is {
				in.Hooks = append(in.Hooks, p.fact("hooked", service, instance, map[string]string{"hook": hook}).(policy.HookEnded))
				continue
			}
			in.Signaled = append(in.Signaled, p.fact("signaled", service, instance, map[string]string{"op": op}).(policy.Signaled))
			continue
		}
		name, what, _ := strings.Cut(a, ":")
		service, instance, _ := strings.Cut(name, "/")
		f := policy.Found{Service: service, Instance: instance}
		for _, w := range strings.Split(what, ",") {
			k, v, _ := strings.Cut(w, ":")
			switch k {
			case "closed":
				f.GateClosed = true
			case "executed":
				f.Executed = true
			case "adopted":
				a := p.fact("adopted", service, instance, nil).(policy.Adopted)
				f.Executed, f.Adopted = true, &a
			case "followed": // meanwhile, and nobody recorded it
				f.Executed, f.PID, f.StartTime = true, 200, 2
			case "failed":
				x := policy.ExecFailed{Service: service, Instance: instance, Step: "exec", Path: "/bin/x", Error: "errno", Errno: p.number(v)}
				f.ExecFailed = &x
			case "exited":
				f.Exited = &policy.Exited{Service: service, Instance: instance, Code: p.number(v)}
			case "left":
				f.Exited.Leftovers, f.Exited.Left = true, 1
			case "empty":
				f.TreeEmpty = true
			}
		}
		in.Found = append(in.Found, f)
	}
	return in
}

// fact is something that the keeper tells.
func (p *player) fact(what, service, instance string, o map[string]string) policy.Input {
	switch what {
	case "parked":
		in := policy.Parked{Service: service, Instance: instance, PID: 100, StartTime: 1, SpecDigest: o["digest"]}
		if v := p.s.Services[service]; v != nil && in.SpecDigest == "" {
			in.SpecDigest = v.Digest
		}
		return in
	case "parkfailed":
		return policy.ParkFailed{Service: service, Instance: instance, Step: o["step"], Errno: p.number(o["errno"]), Error: "errno", Path: o["path"]}
	case "dropped":
		return policy.ParkEnded{Service: service, Instance: instance}
	case "executed":
		return policy.Executed{Service: service, Instance: instance}
	case "execfailed":
		return policy.ExecFailed{Service: service, Instance: instance, Step: o["step"], Errno: p.number(o["errno"]), Error: "errno", Path: o["path"]}
	case "exited":
		return policy.Exited{
			Service: service, Instance: instance, Unknown: o["unknown"] != "", Code: p.number(o["code"]), Signal: o["signal"],
			Leftovers: o["left"] != "", Left: p.number(o["left"]),
		}
	case "signaled":
		in := policy.Signaled{Service: service, Instance: instance, Result: o["result"], PIDs: []int{100}, Errno: p.number(o["errno"])}
		in.Operation, in.Signal, in.Scope = p.operation(o["op"], instance)
		if in.Result == "" {
			in.Result = policy.ResultSent
		}
		return in
	case "empty":
		return policy.TreeEmpty{Service: service, Instance: instance}
	case "swept":
		return policy.Swept{Service: service, Instance: instance, Method: "cgroup.kill", Survived: p.number(o["survived"])}
	case "adopted":
		return policy.Adopted{Service: service, Instance: instance, By: "keeper", Output: "attached", PID: 100, StartTime: 1}
	case "followed":
		return policy.Followed{Service: service, Instance: instance, PID: 200, StartTime: 2}
	case "lost":
		lost := policy.Lost{Service: service, Instance: instance, Leftovers: o["left"] != ""}
		if o["code"] != "" || o["signal"] != "" {
			exit := p.fact("exited", service, instance, o).(policy.Exited)
			lost.Exited = &exit
		}
		return lost
	case "forgotten":
		return policy.Forgotten{Service: service, Instance: instance}
	case "tick":
		return policy.Tick{Service: service}
	}
	if in := p.lifeFact(what, service, instance, o); in != nil {
		return in
	}
	p.t.Fatalf("the scripts know no %q", what)
	return nil
}
