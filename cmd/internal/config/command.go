package config

import "supd/journal/event"

// Main is the name of the one service that Command makes.
const Main = "main"

// Command resolves a configuration without files: one service, Main, which
// runs args (at least one) as they are, in the current directory, with supd's
// environment. It is started once and never again. The set is nil if a problem
// is more than a warning; that the program is not there yet is a warning.
func Command(args []string, host Host) (*Set, []Problem) {
	l := &loader{host: host, accounts: readAccounts(host), set: builtin(host), envFiles: map[string][]assignment{}}
	l.inherited = l.inheritable()
	src := newSource("command line", "command line", 0, nil)
	l.sources = []*source{src}
	s := newSettings(host)
	s.spec.Base, s.spec.Command, s.spec.Restart = Main, args, event.RestartNever
	s.at["command"], s.words = src.at(0), []word{}
	for _, arg := range args {
		s.words = append(s.words, literal(arg))
	}
	l.resolve(pending{name: Main, at: src.at(0)}, s)
	// Who asked for one program wants to read what that program says.
	l.set.Supd.LogLevel = "warn"
	problems := l.problems.sorted()
	if Failed(problems) {
		return nil, problems
	}
	return l.set, problems
}
