// Package config reads supd's configuration strictly: every key is known from
// the start, every fault is reported with file, line and column, and all of
// them at once, so that one look at `supd check` is enough.
//
// # How it works
//
//	files ─parse─▶ positioned trees ─decode by key tables─▶ settings ─resolve─▶ Set
//
// Parsing keeps the position of every key and value, because most faults are
// found long after the syntax is known to be right: an unknown user, a
// replica whose name is taken, a program's variable that is not set. The key
// tables in keys.go read like the configuration reference: one line for each
// key, with where it goes and what it may be.
// What services say of each other is checked in graph.go, when all are known.
//
// Resolving turns what is written into what the kernel needs: names into ids,
// PATH into candidates, ${NAME} into values, count into replicas. The result
// is split in two (R11): event.Spec may enter the journal and holds no value
// of an environment variable, event.Launch holds them all and is stored by
// digest with mode 0600. Messages of problems go to the journal too
// (config.rejected), so none of them ever quotes an environment value (P10).
//
// # Choices
//
//   - Relative paths of include, directory, environment_file and
//     output.directory start at the folder of the file that has them.
//   - ${NAME} is replaced in a string command, in the values of environment
//     and nowhere else. What replaces it is never split or read again. Single
//     quotes and a backslash protect it in commands; a value of environment
//     that must hold a literal "${" belongs into an environment_file, which
//     is taken literally.
//   - Values of environment see the inherited variables (those of supd that a
//     service may have, passed on or not), what user sets, PATH, SUPD_SERVICE
//     and SUPD_REPLICA; they do not see each other.
//   - A key may be set once: a second file that sets it again is refused, and
//     a service is in one file whole.
//
// A service with count is kept as a template, too (Replicas), from which
// Set.Scaled makes any number of replicas: the same that the files would make
// with that count. So a command that scales reads no files, of which some may
// have been edited and not applied (R11).
//
// The same files on the same host give the same bytes of Set. Nothing here
// keeps state between calls; Load may be called from several goroutines.
package config
