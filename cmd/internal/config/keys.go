package config

import (
	"math"
	"strings"

	"golang.org/x/sys/unix"

	"supd/cmd/internal/spelling"
	"supd/journal/event"
)

// key is one line of the configuration reference: its name and how it is
// read.
type key struct {
	name string
	read reader
}

// merged are the keys that more than one file may have: what is below them
// is joined.
var merged = map[string]bool{"include": true, "defaults": true, "service": true}

// rootKeys are the keys of a file.
func (l *loader) rootKeys() []key {
	s := l.set
	keys := []key{
		{"include", l.checkInclude},

		{"supd.node", node(&s.Supd.Node)},
		{"supd.log_level", oneOf(&s.Supd.LogLevel, "debug", "info", "warn", "error")},
		{"supd.log_format", oneOf(&s.Supd.LogFormat, "auto", "text", "json")},
		{"supd.console", oneOf(&s.Supd.Console, "auto", "on", "off")},

		{"control.mode", octal(&s.Control.Mode)},
		{"control.admin_group", groupID(&s.Control.AdminGroup, &s.Control.AdminGID)},
		{"control.read_group", groupID(&s.Control.ReadGroup, &s.Control.ReadGID)},

		{"journal.sync", oneOf(&s.Journal.Sync, "always", "interval")},
		{"journal.max_records", integer(&s.Journal.MaxRecords, 1000, math.MaxInt64)},
		{"journal.max_size", size(&s.Journal.MaxSize, 1<<20)},
		{"journal.run_log", size(&s.Journal.RunLog, 1<<20)},
		{"journal.inbox", integer(&s.Journal.Inbox, 1, 1<<20)},

		{"output.directory", path(&s.Output.Directory)},
		{"output.max_total", size(&s.Output.MaxTotal, 1<<20)},

		{"start.concurrency", integer(&s.Start.Concurrency, 1, 1024)},
		{"start.rate", float(&s.Start.Rate, 0, 1e6)},
		{"start.burst", integer(&s.Start.Burst, 1, 1<<20)},

		{"defaults", l.readDefaults},
		{"service", l.readServices},
	}
	return append(keys, l.listenKeys()...)
}

// builtin are the values of a file that sets nothing.
func builtin(h Host) *Set {
	return &Set{
		Files:    []event.ConfigFile{},
		Supd:     Supd{Node: nodeName(h.Hostname), LogLevel: "info", LogFormat: "auto", Console: "auto"},
		Control:  Control{Mode: 0o660},
		Journal:  Journal{Sync: "always", MaxRecords: 1_000_000, MaxSize: 1 << 30, RunLog: runLogDefault, Inbox: 1024},
		Output:   Output{MaxTotal: 4 << 30},
		Start:    Start{Concurrency: max(2, h.CPUs), Burst: 100},
		Services: []Service{},
	}
}

// serviceKeys are the keys of a service and of the defaults.
func serviceKeys(s *settings) []key {
	p := &s.spec
	keys := []key{
		{"command", s.readCommand},
		{"count", s.readCount},
		{"directory", directory(&p.Directory)},
		{"user", s.readUser},
		{"group", s.readGroup},
		{"groups", s.readGroups},
		{"umask", octal(&s.umask)},
		{"environment", s.readEnvironment},
		{"environment_file", s.readEnvironmentFile},
		{"inherit_environment", boolean(&p.InheritEnv)},
		{"autostart", boolean(&p.Autostart)},

		{"restart", oneOf(&p.Restart, event.RestartAlways, event.RestartOnFailure, event.RestartNever)},
		{"success_exit_codes", s.readSuccess},
		{"backoff.initial", duration(&p.Backoff.Initial)},
		{"backoff.factor", float(&p.Backoff.Factor, 1, 100)},
		{"backoff.max", duration(&p.Backoff.Max)},
		{"backoff.reset_after", duration(&p.Backoff.ResetAfter)},
		{"backoff.jitter", float(&p.Backoff.Jitter, 0, 1)},
		{"max_retries", integer(&p.MaxRetries, -1, math.MaxInt32)},

		{"stop.signal", signal(&p.Stop.Signal)},
		{"stop.timeout", duration(&p.Stop.Timeout)},
		{"stop.mode", oneOf(&p.Stop.Mode, event.StopTree, event.StopGroup, event.StopMain)},
		{"reload.signal", signal(&p.ReloadSignal)},

		{"output.capture", boolean(&p.CaptureOutput)},
		{"output.console", boolean(&p.Output.Console)},
		{"output.merge_stderr", boolean(&p.MergeStderr)},
		{"output.max_size", size(&p.Output.MaxSize, 4096)},
		{"output.max_files", integer(&p.Output.MaxFiles, 1, 100_000)},
		{"output.max_age", duration(&p.Output.MaxAge)},
		{"output.on_full", oneOf(&p.Output.OnFull, "block", "drop")},
		{"output.compress", oneOf(&p.Output.Compress, "none", "gzip")},

		{"limits.memory", s.readMemory},
		{"limits.cpu_quota", s.readCPUQuota},
		{"limits.pids", s.readPIDs},
		{"nice", integer(&p.Nice, -20, 19)},
		{"oom_score_adj", integer(&p.OOMScoreAdj, -1000, 1000)},

		{"type", oneOfOurs(&p.Type, foreignTypes, event.TypeSimple, event.TypeOneshot)},
		{"remain", boolean(&p.Remain)},
		{"after", s.readDependencies(&p.After)},
		{"requires", s.readDependencies(&p.Requires)},
		{"wants", s.readDependencies(&p.Wants)},
		{"conflicts", s.readNames(&p.Conflicts)},
		{"groups_of", s.readNames(&p.GroupsOf)},
		{"priority", integer(&p.Priority, -1000, 1000)},
		{"ready", s.readReady},
		{"health", s.readHealth},
		{"start_timeout", positive(&p.StartTimeout)},
		{"watchdog", duration(&p.Watchdog)},
		{"hooks.pre_start", s.readHook(event.HookPreStart, &p.Hooks.PreStart)},
		{"hooks.post_start", s.readHook(event.HookPostStart, &p.Hooks.PostStart)},
		{"hooks.pre_stop", s.readHook(event.HookPreStop, &p.Hooks.PreStop)},
		{"hooks.post_stop", s.readHook(event.HookPostStop, &p.Hooks.PostStop)},
	}
	for _, r := range resources {
		keys = append(keys, key{"limits." + r.name, s.readLimit(r.name, r.number)})
	}
	return keys
}

// resources are the limits of setrlimit, by their keys.
var resources = []struct {
	name   string
	number int
}{
	{"nofile", unix.RLIMIT_NOFILE},
	{"core", unix.RLIMIT_CORE},
	{"nproc", unix.RLIMIT_NPROC},
	{"as", unix.RLIMIT_AS},
	{"cpu", unix.RLIMIT_CPU},
	{"data", unix.RLIMIT_DATA},
	{"fsize", unix.RLIMIT_FSIZE},
	{"memlock", unix.RLIMIT_MEMLOCK},
	{"msgqueue", unix.RLIMIT_MSGQUEUE},
	{"nice", unix.RLIMIT_NICE},
	{"rtprio", unix.RLIMIT_RTPRIO},
	{"rttime", unix.RLIMIT_RTTIME},
	{"rss", unix.RLIMIT_RSS},
	{"sigpending", unix.RLIMIT_SIGPENDING},
	{"stack", unix.RLIMIT_STACK},
	{"locks", unix.RLIMIT_LOCKS},
}

// decode reads a table by its keys. section is what messages call the table;
// prefix is how far into its keys we are. Where each key was found goes into
// found; a key that another file set before is refused.
func (l *loader) decode(t *value, section, prefix string, keys []key, found map[string]position) {
	for _, f := range t.fields {
		name := prefix + f.name
		k, isGroup := lookup(keys, name)
		before, twice := found[name]
		switch {
		case strings.Contains(f.name, ".") || k == nil && !isGroup:
			l.unknown(f, section, prefix, keys)
		case isGroup && f.value.kind != aTable:
			l.problem(f.value.at, "", "`%s` must be a table, not %s", name, f.value.kind)
		case isGroup:
			l.decode(f.value, section, name+".", keys, found)
		case twice && !merged[name]:
			l.problem(f.at, "", "`%s` is already set at %s", name, before)
		default:
			found[name] = f.value.at
			k.read(&cell{l, name, f.at, f.value})
		}
	}
}

// lookup finds a key, or tells that the name begins some.
func lookup(keys []key, name string) (k *key, isGroup bool) {
	for i := range keys {
		if keys[i].name == name {
			return &keys[i], false
		}
		isGroup = isGroup || strings.HasPrefix(keys[i].name, name+".")
	}
	return nil, isGroup
}

// unknown reports a key nobody knows, and what may have been meant.
func (l *loader) unknown(f *field, section, prefix string, keys []key) {
	var near []string
	hint := ""
	for _, k := range keys {
		rest, ok := strings.CutPrefix(k.name, prefix)
		if !ok {
			continue
		}
		first, _, _ := strings.Cut(rest, ".")
		near = append(near, first)
		if hint == "" && strings.HasSuffix(rest, "."+f.name) {
			hint = "did you mean `" + k.name + "`?"
		}
	}
	known := func(name string) bool {
		k, isGroup := lookup(keys, name)
		return k != nil || isGroup
	}
	words := foreign
	if section == "" {
		words = foreignTables
	}
	k, isGroup := lookup(serviceKeys(&settings{}), f.name)
	switch n := spelling.Nearest(f.name, near); {
	case foreignHint(words, f.name, known) != "":
		hint = foreignHint(words, f.name, known)
	case n != "":
		hint = "did you mean `" + prefix + n + "`?"
	case section == "" && prefix == "" && (k != nil || isGroup):
		hint = "what belongs to one service goes below [service.NAME], what belongs to all below [defaults]"
	}
	where := ""
	if section != "" {
		where = " in [" + section + "]"
	}
	l.problem(f.at, hint, "unknown key `%s`%s", prefix+f.name, where)
}
