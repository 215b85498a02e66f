package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// Problem is one fault in a configuration. Line and Column start at 1 and
// count bytes within the line. Messages hold no values of environment
// variables, so they may enter the journal.
type Problem struct {
	File    string // as the user gave it, or as include found it
	Line    int
	Column  int
	Message string
	Hint    string // what to do about it; may be empty
	Warning bool   // the configuration can be applied all the same
}

// String is "FILE:LINE:COL: message", without the hint.
func (p Problem) String() string {
	message := p.Message
	if p.Warning {
		message = "warning: " + message
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, message)
}

// Format writes problems for people: one line each, a hint below it where
// there is one.
func Format(problems []Problem) string {
	var b strings.Builder
	for _, p := range problems {
		b.WriteString(p.String())
		b.WriteByte('\n')
		if p.Hint != "" {
			b.WriteString("    hint: " + p.Hint + "\n")
		}
	}
	return b.String()
}

// Failed tells whether one of the problems keeps the configuration from
// being applied.
func Failed(problems []Problem) bool {
	return slices.ContainsFunc(problems, func(p Problem) bool { return !p.Warning })
}

// found is a problem with the order its file was read in.
type found struct {
	order int
	Problem
}

// problems collects what is found. One fault in [defaults] shows in every
// service that inherits it, and is told once.
type problems struct {
	list []found
	seen map[Problem]bool
}

func (p *problems) add(at position, problem Problem) {
	problem.File, problem.Line, problem.Column = at.src.shown, max(at.line, 1), max(at.column, 1)
	if p.seen[problem] {
		return
	}
	if p.seen == nil {
		p.seen = map[Problem]bool{}
	}
	p.seen[problem] = true
	p.list = append(p.list, found{at.src.order, problem})
}

// failedSince tells whether more than warnings were added after the first n.
func (p *problems) failedSince(n int) bool {
	return slices.ContainsFunc(p.list[n:], func(f found) bool { return !f.Warning })
}

// sorted returns them by file in the order read, then by position.
func (p *problems) sorted() []Problem {
	slices.SortStableFunc(p.list, func(a, b found) int {
		return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column), cmp.Compare(a.Message, b.Message))
	})
	out := make([]Problem, len(p.list))
	for i, f := range p.list {
		out[i] = f.Problem
	}
	return out
}

// cause strips operation and path from a file error: the message has the
// position already.
func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
