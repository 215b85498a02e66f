package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"supd/journal/event"
)

// services writes services with a command; what is given is below them.
func services(below ...string) string {
	var b strings.Builder
	for i := 0; i < len(below); i += 2 {
		fmt.Fprintf(&b, "[service.%s]\ncommand = 'app'\n%s\n", below[i], below[i+1])
	}
	return b.String()
}

// TestLifeProblems holds the messages of readiness, health, hooks and limits;
// the key is on line 3.
func TestLifeProblems(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"type":             {"type = 'forking'", "3:8: `type` must be one of simple, oneshot, not \"forking\""},
		"remain":           {"remain = true", "3:10: `remain` is for services with `type = \"oneshot\"`"},
		"oneshot ready":    {"type = 'oneshot'\nready.notify = true", "4:1: `ready` is for services that go on running: a oneshot is waited for until it has completed"},
		"oneshot health":   {"type = 'oneshot'\nhealth.tcp = ':1'", "4:1: `health` is for services that go on running, and this is a oneshot"},
		"oneshot watchdog": {"type = 'oneshot'\nwatchdog = '1s'", "4:12: `watchdog` is for services that go on running, and this is a oneshot"},
		"start timeout":    {"start_timeout = 0", "3:17: `start_timeout` must be longer than 0"},
		"priority":         {"priority = 1001", "3:12: `priority` must be from -1000 to 1000, not 1001"},

		"ready none":      {"ready = { timeout = '1s' }", "3:9: `ready` must have one of notify, fd, tcp, http, exec, log"},
		"ready two":       {"ready = { tcp = ':1', log = 'x' }", "3:9: `ready` must have one of notify, fd, tcp, http, exec, log, and has tcp and log"},
		"ready no table":  {"ready = 'notify'", "3:9: `ready` must be a table, not a string"},
		"ready notify":    {"ready = { notify = false }", "3:20: `notify` can only be true"},
		"ready fd":        {"ready = { fd = 2 }", "3:16: `fd` must be from 3 to 255, not 2"},
		"ready timeout":   {"ready = { fd = 3, timeout = 0 }", "3:29: `timeout` must be longer than 0"},
		"ready log":       {"ready = { log = 'a(' }", "3:17: `log`: missing closing ): `a(`"},
		"ready log empty": {"ready = { log = '' }", "3:17: `log` must not be empty"},
		"ready log long":  {"ready = { log = '" + strings.Repeat("x", 1025) + "' }", "3:17: `log` must have at most 1024 bytes"},
		"ready tcp":       {"ready = { tcp = '127.0.0.1' }", "3:17: `tcp` must be an address and a port from 1 to 65535, not \"127.0.0.1\""},
		"ready tcp port":  {"ready = { tcp = 'a:70000' }", "3:17: `tcp` must be an address and a port from 1 to 65535, not \"a:70000\""},
		"ready http":      {"ready = { http = 'ftp://a' }", "3:18: `http` must be a URL that begins with http:// or https://"},
		"ready http host": {"ready = { http = 'http:///x' }", "3:18: `http` must be a URL that begins with http:// or https://"},
		"ready http port": {"ready = { http = 'http://a:0/' }", "3:18: `http` must have a port from 1 to 65535, not 0"},
		"ready http user": {"ready = { http = 'http://u:hush@a/' }", "3:18: `http` must hold no password: the journal would show it"},
		"ready exec":      {"ready = { exec = 'a | b' }", "3:18: `exec`: `|` means something to a shell only, and supd runs none"},
		"ready unset":     {"ready = { exec = 'app ${NO_SUCH}' }", "3:18: `ready.exec`: ${NO_SUCH} is not set"},
		"ready absent":    {"ready = { exec = 'absent' }", "3:18: warning: program not found (yet): `absent`"},
		"ready key":       {"ready = { fd = 3, sleep = 1 }", "3:19: unknown key `sleep` in [ready]"},

		"health none":     {"health = {}", "3:10: `health` must have one of tcp, http, exec"},
		"health notify":   {"health = { tcp = ':1', notify = true }", "3:24: unknown key `notify` in [health]"},
		"health interval": {"health = { tcp = ':1', interval = '10ms' }", "3:35: `health.interval` must be at least 100ms"},
		"health failures": {"health = { tcp = ':1', failures = 0 }", "3:35: `failures` must be from 1 to 1000, not 0"},
		"health action":   {"health = { tcp = ':1', action = 'stop' }", "3:33: `action` must be one of restart, none, not \"stop\""},

		"hook":          {"hooks.pre_start = 5", "3:19: `hooks.pre_start` must be a string or a list of strings, not an integer"},
		"hook empty":    {"hooks.pre_start = []", "3:19: `hooks.pre_start` must name a program"},
		"hook shell":    {"hooks.post_stop = 'rm *'", "3:19: `hooks.post_stop`: `*` means something to a shell only, and supd runs none"},
		"hook unset":    {"hooks.post_stop = '${NO_SUCH}'", "3:19: `hooks.post_stop`: ${NO_SUCH} is not set"},
		"hook unknown":  {"hooks.prestart = 'x'", "3:7: unknown key `hooks.prestart` in [service.web]"},
		"memory":        {"limits.memory = 5", "3:17: `limits.memory` must be at least 1048576 bytes, not 5"},
		"quota":         {"limits.cpu_quota = 0", "3:20: `limits.cpu_quota` must be from 0.01 to 4096, not 0"},
		"pids":          {"limits.pids = 0", "3:15: `limits.pids` must be from 1 to 4194304, not 0"},
		"names no list": {"after = 'db'", "3:9: `after` must be a list, not a string"},
		"names number":  {"after = [5]", "3:10: `after` must hold names or tables with name and condition, not an integer"},
		"no name":       {"after = [{ condition = 'ready' }]", "3:10: `after` needs a name"},
		"unknown":       {"after = ['wbe']", "3:10: `after`: no service \"wbe\""},
		"itself":        {"after = ['web']", "3:10: `after`: service `web` would wait for itself"},
		"own conflict":  {"conflicts = ['web']", "3:14: `conflicts`: service `web` would be in conflict with itself"},
		"group name":    {"groups_of = ['a b']", "3:14: `groups_of`: group name \"a b\" has ' ' at position 2: allowed are letters, digits, _ and, not first, . @ : + -"},
		"group all":     {"groups_of = ['all']", "3:14: `groups_of`: group name \"all\" is reserved: it stands for all services in commands"},
		"group service": {"groups_of = ['web']", "3:14: `groups_of`: web is the name of a service, too"},
		"group twice":   {"groups_of = ['a', 'a']", "3:19: `groups_of` names a twice"},
	} {
		t.Run(name, func(t *testing.T) {
			_, problems := loadText(service(tt.text))
			if len(problems) != 1 {
				t.Fatalf("want one problem, got:\n%s", Format(problems))
			}
			if d := cmp.Diff(tt.want, strings.TrimPrefix(problems[0].String(), "/etc/supd/supd.toml:")); d != "" {
				t.Error(d)
			}
			if strings.Contains(Format(problems), "hush") {
				t.Error("a password is in the problem")
			}
		})
	}
}

func TestGraphProblems(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"circle": {
			services("a", "after = ['b']", "b", "requires = ['c']", "c", "wants = ['a']"),
			"9:10: `wants`: services wait for each other: a → b → c → a",
		},
		"circle through a replica": {
			services("a", "after = ['b-1']", "b", "count = 2\nafter = ['a']"),
			"7:10: `after`: services wait for each other: a → b → a",
		},
		"own replica":      {services("b", "count = 2\nafter = ['b-0']"), "4:10: `after`: service `b` would wait for itself"},
		"no such replica":  {services("a", "after = ['b-2']", "b", "count = 2"), "3:10: `after`: no service \"b-2\""},
		"near":             {services("a", "requires = ['databse']", "database", ""), "3:13: `requires`: no service \"databse\""},
		"twice":            {services("a", "after = ['b', { name = 'b' }]", "b", ""), "3:15: `after` names b twice"},
		"condition":        {services("a", "after = [{ name = 'b', condition = 'up' }]", "b", ""), "3:36: `condition` must be one of started, ready, completed, not \"up\""},
		"never completes":  {services("a", "after = [{ name = 'b', condition = 'completed' }]", "b", ""), "3:10: `after`: service `b` never completes: it is no oneshot"},
		"a group":          {services("a", "after = ['g']", "b", "groups_of = ['g']"), "3:10: `after`: g is a group"},
		"group of a base":  {services("a", "groups_of = ['b']", "b", "count = 1"), "3:14: `groups_of`: b is the name of a service, too"},
		"conflict unknown": {services("a", "conflicts = ['x']"), "3:14: `conflicts`: no service \"x\""},
		"conflict": {
			services("a", "requires = ['b']\nconflicts = ['b']", "b", ""),
			"3:13: `requires`: service `a` could never start: it needs `a` and `b`, which are in conflict at /etc/supd/supd.toml:4:14",
		},
		"conflict far": {
			services("a", "requires = ['b', 'd']", "b", "requires = ['c']", "c", "conflicts = ['d']", "d", ""),
			"3:13: `requires`: service `a` could never start: it needs `c` and `d`, which are in conflict at /etc/supd/supd.toml:9:14",
		},
		"defaults": {"[defaults]\nafter = ['db']\n" + services("db", "", "web", ""), "2:10: `after`: service `db` would wait for itself"},
	} {
		t.Run(name, func(t *testing.T) {
			_, problems := loadText(tt.text)
			if len(problems) != 1 {
				t.Fatalf("want one problem, got:\n%s", Format(problems))
			}
			if d := cmp.Diff(tt.want, strings.TrimPrefix(problems[0].String(), "/etc/supd/supd.toml:")); d != "" {
				t.Error(d)
			}
		})
	}
	if _, problems := loadText(services("a", "requires = ['databse']", "database", "")); problems[0].Hint != "did you mean database?" {
		t.Errorf("the hint is %q", problems[0].Hint)
	}
}

func TestNoController(t *testing.T) {
	host := testHost(map[string]string{"supd.toml": service("limits.pids = 5")})
	host.Controllers, host.NoController = nil, "cgroup2 is not mounted"
	_, problems := Load("/etc/supd/supd.toml", host)
	want := "/etc/supd/supd.toml:3:8: `limits.pids` needs the cgroup controller pids: cgroup2 is not mounted\n    hint: remove it, or see `supctl info` for what is there\n"
	if d := cmp.Diff(want, Format(problems)); d != "" {
		t.Error(d)
	}
}

// TestExecsAreResolved: what hooks and probes run is resolved as the command is,
// and a service that has its own way to be ready has that of defaults no more.
func TestExecsAreResolved(t *testing.T) {
	set, problems := loadText(`
[defaults]
environment = { WHO = "two words" }
ready = { exec = "app default" }
hooks = { pre_start = "app 'first one' ${WHO}" }
[service.a]
command = "app"
health = { exec = ["app", "${WHO}"] }
[service.b]
command = "app"
ready = { tcp = ":80" }
hooks.pre_start = ["app"]
`)
	if set == nil {
		t.Fatal(Format(problems))
	}
	a, b := set.Services[0], set.Services[1]
	paths := []string{"/usr/bin/app", "/bin/app"}
	for what, c := range map[string]struct{ got, want any }{
		"hooks":        {a.Launch.Hooks, map[string]event.LaunchExec{"pre_start": {Paths: paths, Args: []string{"app", "first one", "two words"}}}},
		"hook written": {a.Spec.Hooks.PreStart, []string{"app 'first one' ${WHO}"}},
		"ready":        {a.Launch.ReadyExec, &event.LaunchExec{Paths: paths, Args: []string{"app", "default"}}},
		"health":       {a.Launch.HealthExec, &event.LaunchExec{Paths: paths, Args: []string{"app", "${WHO}"}}},
		"own ready":    {b.Spec.Ready.TCP, "127.0.0.1:80"},
		"own hook":     {b.Launch.Hooks, map[string]event.LaunchExec{"pre_start": {Paths: paths, Args: []string{"app"}}}},
		"not ready":    {b.Launch.ReadyExec, (*event.LaunchExec)(nil)},
	} {
		if d := cmp.Diff(c.want, c.got); d != "" {
			t.Errorf("%s:\n%s", what, d)
		}
	}
}

// TestCircles: a configuration is refused for a circle exactly when there is
// one.
func TestCircles(t *testing.T) {
	circles := 0
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 8).Draw(t, "services")
		reach := make([][]bool, n)
		var text []string
		for i := range n {
			reach[i] = make([]bool, n)
			lists := map[string][]string{}
			for j := range n {
				if i != j && rapid.IntRange(0, 3).Draw(t, "edge") == 0 {
					key := rapid.SampledFrom(ordering).Draw(t, "key")
					lists[key] = append(lists[key], fmt.Sprintf("'s%d'", j))
					reach[i][j] = true
				}
			}
			below := ""
			for _, key := range ordering {
				below += key + " = [" + strings.Join(lists[key], ", ") + "]\n"
			}
			text = append(text, fmt.Sprintf("s%d", i), below)
		}
		for k := range n {
			for i := range n {
				for j := range n {
					reach[i][j] = reach[i][j] || reach[i][k] && reach[k][j]
				}
			}
		}
		circle := false
		for i := range n {
			circle = circle || reach[i][i]
		}
		set, problems := loadText(services(text...))
		if circle != (set == nil) {
			t.Fatalf("circle: %v, but:\n%s", circle, Format(problems))
		}
		if circle {
			circles++
		}
	})
	if circles < 10 {
		t.Errorf("only %d circles were drawn", circles)
	}
}
