package config

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"supd/journal/event"
)

// Bounds of readiness and health.
const (
	maxExpression = 1024     // bytes of ready.log
	minInterval   = 100 * ms // of health: a probe costs a connection or a process
	ms            = event.Duration(1e6)
)

// only refuses a table that has more or less than one of several keys.
func only(c *cell, found map[string]position, ways ...string) bool {
	var have []string
	for _, w := range ways {
		if _, ok := found[w]; ok {
			have = append(have, w)
		}
	}
	switch len(have) {
	case 1:
		return true
	case 0:
		c.wrong("", "must have one of %s", strings.Join(ways, ", "))
	default:
		c.wrong("", "must have one of %s, and has %s", strings.Join(ways, ", "), strings.Join(have, " and "))
	}
	return false
}

// probeKeys are the ways to ask a service, for ready and health.
func (s *settings) probeKeys(of string, p *event.Probe) []key {
	return []key{
		{"tcp", probeTCP(&p.TCP)},
		{"http", probeHTTP(&p.HTTP)},
		{"exec", func(c *cell) {
			if written, words, ok := readWords(c); ok {
				p.Exec, s.execs[of] = written, execText{of + ".exec", words, c.v.at}
			}
		}},
	}
}

func (s *settings) readReady(c *cell) {
	if !c.is(aTable, `a table such as { tcp = "127.0.0.1:8080" }`) {
		return
	}
	delete(s.execs, "ready")
	r := &event.Ready{Timeout: event.Duration(event.DefaultReadyTimeout)}
	found := map[string]position{}
	keys := append(s.probeKeys("ready", &r.Probe),
		key{"notify", func(c *cell) {
			boolean(&r.Notify)(c)
			if c.v.kind == aBool && !r.Notify {
				c.wrong("remove it", "can only be true")
			}
		}},
		key{"fd", func(c *cell) {
			n := -1
			if integer(&n, 3, 255)(c); n >= 0 {
				r.FD = &n
			}
		}},
		key{"log", expression(&r.Log)},
		key{"timeout", positive(&r.Timeout)},
	)
	c.l.decode(c.v, c.key, "", keys, found)
	if only(c, found, "notify", "fd", "tcp", "http", "exec", "log") {
		s.spec.Ready = r
	}
}

func (s *settings) readHealth(c *cell) {
	if !c.is(aTable, `a table such as { http = "http://127.0.0.1:8080/health" }`) {
		return
	}
	delete(s.execs, "health")
	h := &event.Health{Interval: 10000 * ms, Timeout: 3000 * ms, Failures: 3, Successes: 1, Action: event.HealthRestart}
	found := map[string]position{}
	keys := append(s.probeKeys("health", &h.Probe),
		key{"interval", positive(&h.Interval)}, key{"timeout", positive(&h.Timeout)},
		key{"failures", integer(&h.Failures, 1, 1000)}, key{"successes", integer(&h.Successes, 1, 1000)},
		key{"action", oneOf(&h.Action, event.HealthRestart, event.HealthNone)},
	)
	c.l.decode(c.v, c.key, "", keys, found)
	if h.Interval < minInterval {
		c.l.problem(found["interval"], "", "`%s.interval` must be at least %s", c.key, minInterval)
	}
	if only(c, found, "tcp", "http", "exec") {
		s.spec.Health = h
	}
}

// probeTCP reads HOST:PORT; without a host it is this machine.
func probeTCP(to *string) reader {
	return func(c *cell) {
		s, ok := c.text(`an address and a port such as "127.0.0.1:8080"`)
		if !ok {
			return
		}
		host, port, ok := cutPort(s)
		n, err := strconv.ParseUint(port, 10, 16)
		if !ok || err != nil || n == 0 || strings.ContainsAny(host, " /@") {
			c.wrong("", "must be an address and a port from 1 to 65535, not %q", s)
			return
		}
		if host == "" {
			s = "127.0.0.1" + s
		}
		*to = s
	}
}

func probeHTTP(to *string) reader {
	return func(c *cell) {
		s, ok := c.text(`a URL such as "http://127.0.0.1:8080/ready"`)
		if !ok {
			return
		}
		u, err := url.Parse(s)
		switch {
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
			c.wrong("", "must be a URL that begins with http:// or https://")
			return
		case u.User != nil:
			c.wrong("give the password to a program, with exec", "must hold no password: the journal would show it")
			return
		}
		if p := u.Port(); p != "" {
			if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
				c.wrong("", "must have a port from 1 to 65535, not %s", p)
				return
			}
		}
		*to = s
	}
}

// expression reads a regular expression of Go's, which never takes long.
func expression(to *string) reader {
	return func(c *cell) {
		s, ok := c.text("a regular expression in quotes")
		if !ok {
			return
		}
		_, err := regexp.Compile(s)
		switch {
		case s == "":
			c.wrong("", "must not be empty")
		case len(s) > maxExpression:
			c.wrong("", "must have at most %d bytes", maxExpression)
		case err != nil:
			c.refuse("", "%s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		default:
			*to = s
		}
	}
}

func (s *settings) readHook(name string, to *[]string) reader {
	return func(c *cell) {
		if written, words, ok := readWords(c); ok {
			*to, s.execs["hooks."+name] = written, execText{c.key, words, c.v.at}
		}
	}
}

// resolvedExecs are commands beside the main one, by the key that has them.
type resolvedExecs map[string]event.LaunchExec

func (l *loader) resolveExecs(s *settings, env environment) resolvedExecs {
	out := resolvedExecs{}
	for _, k := range slices.Sorted(maps.Keys(s.execs)) {
		x := s.execs[k]
		if args, ok := l.arguments(x, env); ok {
			out[k] = event.LaunchExec{Paths: l.candidates(s, x, args[0], env), Args: args}
		}
	}
	return out
}

func (r resolvedExecs) to(launch *event.Launch) {
	launch.Hooks = nil
	for k, x := range r {
		switch hook, isHook := strings.CutPrefix(k, "hooks."); {
		case isHook && launch.Hooks == nil:
			launch.Hooks = map[string]event.LaunchExec{hook: x}
		case isHook:
			launch.Hooks[hook] = x
		case k == "ready":
			launch.ReadyExec = &x
		default:
			launch.HealthExec = &x
		}
	}
}

// checkLife looks at type, remain, ready and health together.
func (l *loader) checkLife(s *settings) {
	if s.spec.Oneshot() {
		if _, set := s.at["restart"]; !set {
			s.spec.Restart = event.RestartNever // always would try a failing one for ever
		}
		if s.spec.Ready != nil {
			l.problem(s.at["ready"], "", "`ready` is for services that go on running: a oneshot is waited for until it has completed")
		}
		if s.spec.Health != nil {
			l.problem(s.at["health"], "", "`health` is for services that go on running, and this is a oneshot")
		}
		if s.spec.Watchdog != 0 {
			l.problem(s.at["watchdog"], "", "`watchdog` is for services that go on running, and this is a oneshot")
		}
	} else if s.spec.Remain {
		l.problem(s.at["remain"], "", "`remain` is for services with `type = \"oneshot\"`")
	}
}

// Limits of cgroups, with the controllers that they need.

func (s *settings) readMemory(c *cell) {
	n := int64(-1)
	if size(&n, 1<<20)(c); n >= 0 && c.controller("memory") {
		s.spec.Cgroup.Memory = &n
	}
}

func (s *settings) readCPUQuota(c *cell) {
	n := -1.0
	if float(&n, 0.01, 4096)(c); n >= 0 && c.controller("cpu") {
		s.spec.Cgroup.CPUQuota = &n
	}
}

func (s *settings) readPIDs(c *cell) {
	n := int64(-1)
	if integer(&n, 1, 1<<22)(c); n >= 0 && c.controller("pids") {
		s.spec.Cgroup.PIDs = &n
	}
}

// controller refuses a limit that nothing here could enforce.
func (c *cell) controller(name string) bool {
	if slices.Contains(c.l.host.Controllers, name) {
		return true
	}
	why := c.l.host.NoController
	if why == "" {
		why = "supd's cgroup does not have it"
	}
	c.l.problem(c.at, "remove it, or see `supctl info` for what is there", "`%s` needs the cgroup controller %s: %s", c.key, name, why)
	return false
}
