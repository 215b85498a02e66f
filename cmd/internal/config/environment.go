package config

import (
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// defaultPath is the PATH of a service that gets none.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment is what one service sees.
type environment struct {
	all      map[string]string
	explicit map[string]string // from environment_file and environment only
}

func (e environment) list() []string { return pairs(e.all) }

// pairs writes NAME=value, sorted.
func pairs(m map[string]string) []string {
	out := make([]string, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, name+"="+m[name])
	}
	return out
}

// private tells whether a variable is between supd and who started it.
func private(name string) bool {
	return name == "NOTIFY_SOCKET" || strings.HasPrefix(name, "SUPD_") ||
		strings.HasPrefix(name, "LISTEN_") || strings.HasPrefix(name, "WATCHDOG_")
}

// inheritable are supd's variables that services may have. Of a name that is
// there twice the first counts, as it does for getenv.
func (l *loader) inheritable() map[string]string {
	out := map[string]string{}
	for _, pair := range l.host.Environ {
		name, value, ok := strings.Cut(pair, "=")
		if _, twice := out[name]; !ok || name == "" || twice || private(name) {
			continue
		}
		out[name] = value
	}
	return out
}

// resolveEnvironment puts a service's environment together. Later ones win:
// inherited, what user sets, environment_file, environment, and last what
// supd always sets.
func (l *loader) resolveEnvironment(s *settings, name, replica string) environment {
	always := map[string]string{"SUPD_SERVICE": name, "SUPD_REPLICA": replica}
	login := map[string]string{}
	if u := s.user; u != nil {
		login["HOME"], login["USER"], login["LOGNAME"], login["SHELL"] = u.home, u.name, u.name, u.shell
		if u.shell == "" {
			login["SHELL"] = "/bin/sh"
		}
	}
	visible := map[string]string{"PATH": defaultPath}
	for _, layer := range []map[string]string{l.inherited, login, always} {
		maps.Copy(visible, layer)
	}

	e := environment{map[string]string{"PATH": defaultPath}, map[string]string{}}
	for _, f := range s.files {
		for _, a := range l.environmentFile(f) {
			e.explicit[a.name] = a.value
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.environment)) {
		t := s.environment[name]
		value, err := t.word.expand(visible)
		if err != nil {
			l.problem(t.at, "supd's own environment has no such variable; give what to use instead: ${NAME:-…}", "`environment.%s`: %v", name, err)
			continue
		}
		if message := checkValue(name, value); message != "" {
			l.problem(t.at, "", "`environment.%s`: %s", name, message)
			continue
		}
		e.explicit[name] = value
	}
	layers := []map[string]string{login, e.explicit, always}
	if s.spec.InheritEnv {
		layers = slices.Insert(layers, 0, l.inherited)
	}
	for _, layer := range layers {
		maps.Copy(e.all, layer)
	}
	l.dropUnreadable(e.all)
	return e
}

// dropUnreadable removes inherited values that a Set cannot carry, and says
// so. What the configuration sets was checked before.
func (l *loader) dropUnreadable(env map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if utf8.ValidString(name) && utf8.ValidString(env[name]) {
			continue
		}
		delete(env, name)
		l.warning(l.sources[0].at(0), "", "inherited variable %q is not valid UTF-8: services do not get it", name)
	}
}

// environmentFile reads a file once, however many services name it.
func (l *loader) environmentFile(f environmentFile) []assignment {
	if known, ok := l.envFiles[f.path]; ok {
		return known
	}
	data, err := l.host.read(f.path)
	if err != nil {
		if !f.optional || !errors.Is(err, fs.ErrNotExist) {
			l.problem(f.at, "", "`environment_file`: cannot read %s: %v", f.path, err)
		}
		return nil
	}
	src := newSource(f.path, f.path, l.order, data)
	l.order++
	found, faults := parseEnvironmentFile(data)
	for _, fault := range faults {
		l.problems.add(src.at(fault.offset), Problem{Message: fault.message, Hint: fault.hint, Warning: fault.warning})
	}
	l.envFiles[f.path] = found
	return found
}

// execText is a command as it is read.
type execText struct {
	key   string // that has it
	words []word
	at    position
}

// arguments expands a command; false if there is none to run.
func (l *loader) arguments(x execText, env environment) ([]string, bool) {
	var args []string
	for _, w := range x.words {
		arg, err := w.expand(env.all)
		if err != nil {
			l.problem(x.at, err.(*refusal).hint, "`%s`: %v", x.key, err)
			return nil, false
		}
		if len(arg) >= maxArgument {
			l.problem(x.at, "", "`%s` has an argument that is longer than the kernel takes (128 KiB)", x.key)
			return nil, false
		}
		args = append(args, arg)
	}
	if len(args) == 0 {
		return nil, false
	}
	if args[0] == "" {
		l.problem(x.at, "", "`%s` must name a program, and its first word is empty", x.key)
		return nil, false
	}
	return args, true
}

// candidates lists what exec may try, in order. That none can be run yet is
// worth a warning only: it may be installed before the service starts.
func (l *loader) candidates(s *settings, x execText, program string, env environment) []string {
	paths := []string{}
	if strings.Contains(program, "/") {
		paths = append(paths, within(s.spec.Directory, program))
	} else {
		for _, dir := range strings.Split(env.all["PATH"], ":") {
			p := within(s.spec.Directory, filepath.Join(dir, program))
			if !slices.Contains(paths, p) {
				paths = append(paths, p)
			}
		}
	}
	unusable := ""
	for _, p := range paths {
		p = strings.ReplaceAll(p, replicaMark, "0") // the first replica speaks for all
		info, err := l.host.stat(p)
		switch {
		case err != nil:
		case info.Mode().IsRegular() && info.Mode()&0o111 != 0:
			return paths
		case unusable == "":
			unusable = p
		}
	}
	written, shown := x.words[0].written, unusable
	if x.words[0].variable() {
		shown = written // what ${NAME} stands for may be a secret (P10)
	}
	switch info, err := l.host.stat(unusable); {
	case unusable == "":
		l.warning(x.at, "", "program not found (yet): `%s`", written)
	case err == nil && info.IsDir():
		l.warning(x.at, "", "program is a folder: `%s`", shown)
	default:
		l.warning(x.at, "chmod +x "+shown, "program is not executable (yet): `%s`", shown)
	}
	return paths
}

func within(dir, p string) string {
	if filepath.IsAbs(p) {
		return filepath.Clean(p)
	}
	return filepath.Join(dir, p)
}
