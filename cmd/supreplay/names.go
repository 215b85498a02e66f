package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"supd/cmd/internal/spelling"
	"supd/journal/event"
)

// checkKind refuses a pattern that matches neither a kind of record nor a group
// of kinds: a slip would otherwise look like a journal in which nothing happened.
func checkKind(pattern string) error {
	if pattern == "" {
		return nil
	}
	q := query{kind: pattern}
	if slices.ContainsFunc(event.Kinds(), q.isKind) {
		return nil
	}
	if near, _ := spelling.Kind(pattern); near != "" {
		return usage("--kind %q is no kind of record: did you mean %s?", pattern, near)
	}
	return usage("--kind %q is no kind of record: supreplay timeline -o json shows them as types", pattern)
}

// noteService says that the journal never had a service that was asked for, or
// none that matches.
func noteService(w io.Writer, src *source, pattern string) {
	names := src.services()
	if !slices.ContainsFunc(names, func(name string) bool { return is(pattern, name) }) {
		fmt.Fprintf(w, "supreplay: note: no record is about a service %s%s\n", pattern, didYouMean(pattern, names))
	}
}

// didYouMean is the end of a sentence about a service that is not there; empty
// if none has a name that is near.
func didYouMean(name string, names []string) string {
	if near := spelling.Nearest(name, names); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}

// services are those that the journal has records about, sorted. It reads the
// whole journal, for a question that went wrong.
func (s *source) services() []string {
	names := map[string]bool{}
	for st := range s.history(heads) {
		if st.finding == nil && !st.stray {
			if subject := st.rec.Record.Subject; subject != "" && !names[subject] {
				names[strings.Clone(subject)] = true // it is part of a whole block
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}
