package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"supd/journal/event"
)

// Load reads the configuration at path and resolves it for host. A file is
// read with what its include names; of a folder, supd.toml (with its
// includes) and conf.d/*.toml in name order.
//
// All problems are returned, in the order of the files and of positions
// within them. The set is nil if one of them is more than a warning.
func Load(path string, host Host) (*Set, []Problem) {
	l := &loader{
		host:     host,
		accounts: readAccounts(host),
		set:      builtin(host),
		envFiles: map[string][]assignment{},
	}
	l.inherited = l.inheritable()
	l.defaults = newSettings(host)
	trees := l.trees(path)

	found, keys := map[string]position{}, l.rootKeys()
	for _, t := range trees {
		l.decode(t, "", "", keys, found)
	}
	l.checkListen(found)
	for _, p := range l.pending {
		l.service(p)
	}
	l.checkGraph()
	l.sizeRunLog(found)
	slices.SortFunc(l.set.Replicas, func(a, b Replicas) int { return strings.Compare(a.base(), b.base()) })
	slices.SortFunc(l.set.Services, func(a, b Service) int { return strings.Compare(a.Name, b.Name) })

	problems := l.problems.sorted()
	if Failed(problems) {
		return nil, problems
	}
	return l.set, problems
}

// loader holds one Load.
type loader struct {
	host     Host
	accounts accounts
	set      *Set
	problems problems

	order   int       // of the next source
	sources []*source // configuration files
	main    *source   // the one whose include counts
	cut     bool      // a syntax error hides the rest of a file

	listen struct{ open string } // an address off the loopback that supd would listen on

	inherited map[string]string
	defaults  *settings
	pending   []pending
	found     map[string]position // of those
	names     map[string]claim
	nodes     []*member               // of the graph, one for each service as it is written
	envFiles  map[string][]assignment // by path
}

// pending is a service as found; it is resolved when all defaults are known.
type pending struct {
	name string
	at   position
	v    *value
}

// problem reports a fault; it keeps the configuration from being applied.
func (l *loader) problem(at position, hint, format string, args ...any) {
	l.problems.add(at, Problem{Message: fmt.Sprintf(format, args...), Hint: hint})
}

func (l *loader) warning(at position, hint, format string, args ...any) {
	l.problems.add(at, Problem{Message: fmt.Sprintf(format, args...), Hint: hint, Warning: true})
}

// trees reads all files of a configuration.
func (l *loader) trees(path string) []*value {
	info, err := l.host.stat(path)
	if err != nil || !info.IsDir() {
		return l.mainFile(path)
	}
	var out []*value
	top := filepath.Join(path, "supd.toml")
	parts, _ := l.host.glob(filepath.Join(globEscape(l.host.abs(path)), "conf.d", "*.toml"))
	if _, err := l.host.stat(top); err == nil || len(parts) == 0 {
		out = l.mainFile(top)
	}
	for _, part := range parts {
		shown := filepath.Join(path, "conf.d", filepath.Base(part))
		if t := l.file(shown, l.pathProblem(shown)); t != nil {
			out = append(out, t)
		}
	}
	return out
}

// pathProblem reports that a file cannot be read, at its own beginning: no
// other file asked for it.
func (l *loader) pathProblem(shown string) func(error) {
	src := newSource(shown, l.host.abs(shown), l.order, nil)
	return func(err error) {
		l.problem(src.at(0), "", "cannot read the configuration: %v", err)
	}
}

func (l *loader) mainFile(path string) []*value {
	t := l.file(path, l.pathProblem(path))
	if t == nil {
		return nil
	}
	l.main = t.at.src
	out := []*value{t}
	f := t.field("include")
	if f == nil {
		return out
	}
	c := &cell{l, "include", f.at, f.value}
	if !c.is(aList, `a list such as ["conf.d/*.toml"]`) {
		return out
	}
	c.elements(func(c *cell) {
		if pattern, ok := c.text("a pattern in quotes"); ok {
			out = append(out, l.included(c, pattern)...)
		}
	})
	return out
}

// included reads the files that match one pattern of include. A pattern may
// match nothing, a plain name may not: that is a file somebody misses.
func (l *loader) included(c *cell, pattern string) []*value {
	full := pattern
	if !filepath.IsAbs(full) {
		full = filepath.Join(globEscape(filepath.Dir(c.v.at.src.path)), pattern)
	}
	matches, err := l.host.glob(full)
	if err != nil {
		c.refuse("", "cannot read the pattern %q: %v", pattern, err)
		return nil
	}
	if len(matches) == 0 && !strings.ContainsAny(pattern, `*?[\`) {
		matches = []string{full}
	}
	var out []*value
	for _, m := range matches {
		t := l.file(m, func(err error) { c.refuse("", "cannot read %s: %v", m, err) })
		if t != nil {
			out = append(out, t)
		}
	}
	return out
}

// globEscape protects a folder's name inside a pattern.
func globEscape(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// checkInclude refuses includes of included files: the order in which files
// count would be hard to tell.
func (l *loader) checkInclude(c *cell) {
	if c.v.at.src != l.main {
		l.problem(c.at, "name the files in the main one", "`include` works in the main file only")
	}
}

// file reads one file into a tree; nil if it cannot be read or was before.
func (l *loader) file(path string, failed func(error)) *value {
	abs := l.host.abs(path)
	if slices.ContainsFunc(l.sources, func(s *source) bool { return s.path == abs }) {
		return nil
	}
	data, err := l.host.read(path)
	if err != nil {
		failed(err)
		return nil
	}
	src := newSource(path, abs, l.order, data)
	l.order++
	l.sources = append(l.sources, src)
	sum := sha256.Sum256(data)
	l.set.Files = append(l.set.Files, event.ConfigFile{Path: src.path, SHA256: hex.EncodeToString(sum[:])})
	root, complete := parse(src, data, l.problems.add)
	l.cut = l.cut || !complete
	return root
}

// readDefaults decodes [defaults] at once: services are resolved later.
func (l *loader) readDefaults(c *cell) {
	if !c.is(aTable, "") {
		return
	}
	keys := serviceKeys(l.defaults)
	for i, k := range keys {
		if k.name == "command" || k.name == "count" {
			keys[i].read = func(c *cell) { l.problem(c.at, "", "`%s` belongs to one service, not to [defaults]", c.key) }
		}
	}
	l.decode(c.v, "defaults", "", keys, l.defaults.at)
	delete(l.defaults.at, "command") // refused: services still need their own
}

// readServices notes the services of a file.
func (l *loader) readServices(c *cell) {
	if !c.is(aTable, "") {
		return
	}
	if l.found == nil {
		l.found = map[string]position{}
	}
	for _, f := range c.v.fields {
		at, twice := l.found[f.name]
		switch {
		case f.value.kind != aTable:
			l.problem(f.value.at, "write [service.NAME]", "`service.%s` must be a table, not %s", f.name, f.value.kind)
		case twice:
			l.problem(f.at, "a service is in one file whole", "service `%s` is already defined at %s", f.name, at)
		default:
			l.found[f.name] = f.at
			l.pending = append(l.pending, pending{f.name, f.at, f.value})
		}
	}
}

// service decodes one service over the defaults and resolves its replicas.
func (l *loader) service(p pending) {
	if err := event.CheckServiceName(p.name); err != nil {
		l.problem(p.at, "", "%v", err)
	}
	s, found := l.defaults.clone(), map[string]position{}
	l.decode(p.v, "service."+p.name, "", serviceKeys(s), found)
	maps.Copy(s.at, found)
	s.spec.Base = p.name
	l.resolve(p, s)
}
