package config

import (
	"maps"
	"slices"
	"strings"

	"supd/journal/event"
)

// RestartPolicies are the keys of a configuration that decide about restarts,
// for what-if questions: [defaults] and services set restart,
// success_exit_codes, backoff.* and max_retries; other keys are allowed, so
// that a whole configuration may be given, and mean nothing here.
type RestartPolicies struct {
	defaults *settings
	services map[string]*settings
}

// LoadRestartPolicies reads the files at path as Load does. Services need no
// command. It is nil if a problem is more than a warning.
func LoadRestartPolicies(path string, host Host) (*RestartPolicies, []Problem) {
	l := &loader{host: host, set: builtin(host), envFiles: map[string][]assignment{}}
	l.defaults = newSettings(host)
	p := &RestartPolicies{defaults: l.defaults, services: map[string]*settings{}}
	root := l.rootKeys()
	for i, k := range root {
		switch k.name {
		case "defaults":
			root[i].read = func(c *cell) { l.policy(c, "defaults", l.defaults) }
		case "service":
		default:
			root[i].read = func(*cell) {}
		}
	}
	found := map[string]position{}
	for _, t := range l.trees(path) {
		l.decode(t, "", "", root, found)
	}
	for _, s := range l.pending {
		one := newSettings(host)
		l.policy(&cell{l, s.name, s.at, s.v}, "service."+s.name, one)
		p.services[s.name] = one
	}
	problems := l.problems.sorted()
	if Failed(problems) {
		return nil, problems
	}
	return p, problems
}

// policyKey tells the keys that decide about restarts.
func policyKey(name string) bool {
	return name == "restart" || name == "success_exit_codes" || name == "max_retries" || strings.HasPrefix(name, "backoff.")
}

func (l *loader) policy(c *cell, section string, s *settings) {
	if !c.is(aTable, "") {
		return
	}
	keys := serviceKeys(s)
	for i, k := range keys {
		if !policyKey(k.name) {
			keys[i].read = func(*cell) {}
		}
	}
	l.decode(c.v, section, "", keys, s.at)
}

// Services are the names that have settings of their own, sorted.
func (p *RestartPolicies) Services() []string { return slices.Sorted(maps.Keys(p.services)) }

// Apply is the specification of a service under these policies: what they set
// for all, then what they set for the service (by its name, or the name that
// its replicas share). What they do not set stays. keys are those that are
// other than before, sorted.
func (p *RestartPolicies) Apply(name string, spec event.Spec) (now event.Spec, keys []string) {
	now = spec
	for _, s := range []*settings{p.defaults, p.services[spec.Base], p.services[name]} {
		if s == nil {
			continue
		}
		for _, f := range policyFields(&now, &s.spec) {
			if _, set := s.at[f.key]; set {
				f.copy()
			}
		}
	}
	for _, f := range policyFields(&now, &spec) {
		if !f.same() {
			keys = append(keys, f.key)
		}
	}
	slices.Sort(keys)
	return now, keys
}

// policyField is one key of two specifications.
type policyField struct {
	key  string
	copy func()
	same func() bool
}

func policyFields(to, from *event.Spec) []policyField {
	return []policyField{
		onePolicyField("restart", &to.Restart, &from.Restart),
		onePolicyField("max_retries", &to.MaxRetries, &from.MaxRetries),
		onePolicyField("backoff.initial", &to.Backoff.Initial, &from.Backoff.Initial),
		onePolicyField("backoff.factor", &to.Backoff.Factor, &from.Backoff.Factor),
		onePolicyField("backoff.max", &to.Backoff.Max, &from.Backoff.Max),
		onePolicyField("backoff.reset_after", &to.Backoff.ResetAfter, &from.Backoff.ResetAfter),
		onePolicyField("backoff.jitter", &to.Backoff.Jitter, &from.Backoff.Jitter),
		{
			"success_exit_codes", func() { to.SuccessExitCodes = slices.Clone(from.SuccessExitCodes) },
			func() bool { return slices.Equal(to.SuccessExitCodes, from.SuccessExitCodes) },
		},
	}
}

func onePolicyField[T comparable](key string, to, from *T) policyField {
	return policyField{key, func() { *to = *from }, func() bool { return *to == *from }}
}
