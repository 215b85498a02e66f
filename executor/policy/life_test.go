package policy_test

import (
	"fmt"
	"strings"

	"supd/executor/policy"
	"supd/journal/event"
)

// lifeSpec reads the options of define that are about graph, readiness,
// health and hooks. Dependencies are names with commas, each perhaps with
// :condition.
func (p *player) lifeSpec(s *event.Spec, key, value string) bool {
	words := []string{"/bin/" + key}
	switch key {
	case "requires":
		s.Requires = dependencies(value)
	case "wants":
		s.Wants = dependencies(value)
	case "after":
		s.After = dependencies(value)
	case "conflicts":
		s.Conflicts = strings.Split(value, ",")
	case "groups":
		s.GroupsOf = strings.Split(value, ",")
	case "priority":
		s.Priority = p.number(value)
	case "type":
		s.Type = value
	case "remain":
		s.Remain = true
	case "ready":
		s.Ready = &event.Ready{Notify: true, Timeout: event.Duration(p.duration(value))}
	case "start_timeout":
		s.StartTimeout = event.Duration(p.duration(value))
	case "health":
		s.Health = &event.Health{
			Probe: event.Probe{TCP: "localhost:1"}, Interval: event.Duration(1e9), Timeout: event.Duration(1e9), Failures: 3, Successes: 1, Action: value,
		}
	case "watchdog":
		s.Watchdog = event.Duration(p.duration(value))
	case event.HookPreStart:
		s.Hooks.PreStart = words
	case event.HookPostStart:
		s.Hooks.PostStart = words
	case event.HookPreStop:
		s.Hooks.PreStop = words
	case event.HookPostStop:
		s.Hooks.PostStop = words
	default:
		return false
	}
	return true
}

func dependencies(text string) (list []event.Dependency) {
	for _, d := range strings.Split(text, ",") {
		name, condition, _ := strings.Cut(d, ":")
		list = append(list, event.Dependency{Name: name, Condition: condition})
	}
	return list
}

// scaled changes how many replicas the configuration has.
func (p *player) scaled(counts map[string]string) {
	for base, text := range counts {
		n := p.number(text)
		if n > policy.MaxScale {
			continue
		}
		if p.scale == nil {
			p.scale = map[string]int{}
		}
		p.scale[base] = n
		for name, s := range p.config {
			if s.Base == base && s.Replica != nil && *s.Replica >= n {
				delete(p.config, name)
			}
		}
		for i := range n {
			name := fmt.Sprintf("%s-%d", base, i)
			if _, is := p.config[name]; !is {
				s := baseSpec(base)
				s.Replica, s.Autostart = &i, true
				p.config[name] = s
			}
		}
	}
}

// lifeFact is what the prober tells, and what came of hooks.
func (p *player) lifeFact(what, service, instance string, o map[string]string) policy.Input {
	switch what {
	case "ready":
		return policy.Ready{Service: service, Instance: instance, By: "notify"}
	case "reloading":
		return policy.Reloading{Service: service, Instance: instance}
	case "extend":
		return policy.Extended{Service: service, Instance: instance, For: p.duration(o["for"])}
	case "unhealthy":
		return policy.Health{Service: service, Instance: instance, Probe: "tcp", From: event.HealthUnknown, To: event.Unhealthy, Failures: 3, Error: "connection refused"}
	case "healthy":
		return policy.Health{Service: service, Instance: instance, Probe: "tcp", From: event.HealthUnknown, To: event.Healthy}
	case "watchdog":
		return policy.WatchdogMissed{Service: service, Instance: instance}
	case "hooked":
		in := policy.HookEnded{
			Service: service, Instance: instance, Hook: o["hook"], Operation: instance + ":hook:" + o["hook"],
			Executed: o["error"] == "", Code: p.number(o["code"]), Error: o["error"],
		}
		if v := p.s.Services[service]; v != nil && v.Hook != nil && in.Hook == "" {
			in.Hook, in.Operation = v.Hook.Name, v.Hook.Operation
		}
		return in
	}
	return nil
}
