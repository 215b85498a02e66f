package config

import (
	"fmt"
	"slices"
	"strings"
)

// part is a piece of text: a literal, or a variable to be replaced.
type part struct {
	literal string
	name    string // of the variable; empty: a literal
	instead string // replaces a variable that is unset or empty
	has     bool   // instead is there: ${NAME:-instead}
}

// word is one argument of a command, or one value of environment.
type word struct {
	parts   []part
	written string // as it is in the file
}

// expand replaces the variables. What replaces them is not read again.
func (w word) expand(lookup map[string]string) (string, error) {
	var b strings.Builder
	for _, p := range w.parts {
		v, set := lookup[p.name]
		switch {
		case p.name == "":
			b.WriteString(p.literal)
		case p.has && v == "":
			b.WriteString(p.instead)
		case set:
			b.WriteString(v)
		default:
			return "", &refusal{fmt.Sprintf("${%s} is not set", p.name), fmt.Sprintf("set it below environment, or give what to use instead: ${%s:-…}", p.name)}
		}
	}
	return b.String(), nil
}

// variable tells whether a word has any.
func (w word) variable() bool {
	return slices.ContainsFunc(w.parts, func(p part) bool { return p.name != "" })
}

// literal is a word without variables.
func literal(s string) word { return word{[]part{{literal: s}}, s} }

// refusal is an error with advice.
type refusal struct{ message, hint string }

func (r *refusal) Error() string { return r.message }

// Advice for what looks like shell and is not.
const (
	shellHint  = `for a shell, write ["/bin/sh", "-c", "…"]; to mean the character itself, put it in single quotes`
	dollarHint = `write ${NAME} for a variable; for a shell, write ["/bin/sh", "-c", "…"]; to mean the character itself, put it in single quotes`
)

// splitCommand splits a command into words as a shell would: blanks separate,
// single quotes keep everything, double quotes keep all but ${NAME} and
// backslash, a backslash keeps the next character. Everything else a shell
// would act on is refused: silently passed on it would surprise whoever wrote
// it.
func splitCommand(text string) ([]word, error) {
	s := splitter{rest: strings.TrimRight(text, " \t\r\n")}
	for {
		blanks := " \t"
		if len(s.words) == 0 {
			blanks = " \t\r\n"
		}
		s.rest = strings.TrimLeft(s.rest, blanks)
		if after, ok := strings.CutPrefix(s.rest, "\\\n"); ok { // the command goes on in the next line
			s.rest = after
			continue
		}
		if s.rest == "" && assigns(s.words) {
			return nil, &refusal{"NAME=value before the program sets a variable in a shell only", "set it below environment"}
		}
		if s.rest == "" {
			return s.words, nil
		}
		if err := s.word(); err != nil {
			return nil, err
		}
	}
}

// assigns tells whether a shell would take the first word for NAME=value.
func assigns(words []word) bool {
	if len(words) == 0 {
		return false
	}
	name, _, ok := strings.Cut(words[0].written, "=")
	return ok && isVariable(name)
}

type splitter struct {
	rest  string
	words []word
	parts []part
}

func (s *splitter) literal(text string) {
	if n := len(s.parts); n > 0 && s.parts[n-1].name == "" {
		s.parts[n-1].literal += text
		return
	}
	s.parts = append(s.parts, part{literal: text})
}

// word takes one word off rest.
func (s *splitter) word() error {
	start := s.rest
	if c := s.rest[0]; c == '~' || c == '#' {
		return &refusal{fmt.Sprintf("`%c` at the start of a word: supd runs no shell", c), shellHint}
	}
	s.parts = nil
	for s.rest != "" && s.rest[0] != ' ' && s.rest[0] != '\t' {
		if err := s.piece(); err != nil {
			return err
		}
	}
	s.words = append(s.words, word{s.parts, start[:len(start)-len(s.rest)]})
	return nil
}

// piece takes a quoted part, an escaped character, a variable or a plain
// character off rest.
func (s *splitter) piece() error {
	c := s.rest[0]
	switch c {
	case '\'':
		end := strings.IndexByte(s.rest[1:], '\'')
		if end < 0 {
			return &refusal{"a single quote is not closed", ""}
		}
		s.literal(s.rest[1 : 1+end])
		s.rest = s.rest[end+2:]
		return nil
	case '"':
		s.rest = s.rest[1:]
		return s.doubleQuoted()
	case '\\':
		return s.escaped("")
	case '$', '`':
		return s.dollar()
	case '*', '?', '[', '|', '&', ';', '<', '>', '(', ')':
		op := string(c)
		if len(s.rest) > 1 && s.rest[1] == c && strings.ContainsRune("|&<>;", rune(c)) {
			op += op
		}
		return &refusal{fmt.Sprintf("`%s` means something to a shell only, and supd runs none", op), shellHint}
	case '\n', '\r':
		return &refusal{"a command is one line", shellHint}
	}
	s.literal(s.rest[:1])
	s.rest = s.rest[1:]
	return nil
}

func (s *splitter) doubleQuoted() error {
	for s.rest != "" {
		var err error
		switch s.rest[0] {
		case '"':
			s.rest = s.rest[1:]
			return nil
		case '\\':
			err = s.escaped("\"\\$`\n")
		case '$', '`':
			err = s.dollar()
		default:
			s.literal(s.rest[:1])
			s.rest = s.rest[1:]
		}
		if err != nil {
			return err
		}
	}
	return &refusal{"a double quote is not closed", ""}
}

// escaped takes a backslash and what follows it. Of the characters in only
// (all, where it is empty) the backslash goes away; an escaped end of line
// goes with it.
func (s *splitter) escaped(only string) error {
	if len(s.rest) == 1 {
		return &refusal{"a backslash at the end escapes nothing", ""}
	}
	c := s.rest[1:2]
	switch {
	case c == "\n":
	case only == "" || strings.Contains(only, c):
		s.literal(c)
	default:
		s.literal(`\` + c)
	}
	s.rest = s.rest[2:]
	return nil
}

// dollar takes a variable, and refuses everything else a shell replaces.
func (s *splitter) dollar() error {
	switch {
	case strings.HasPrefix(s.rest, "${"):
		p, n, err := variable(s.rest)
		if err != nil {
			return err
		}
		s.parts, s.rest = append(s.parts, p), s.rest[n:]
		return nil
	case s.rest[0] == '`':
		return &refusal{"a backtick means something to a shell only, and supd runs none", shellHint}
	case strings.HasPrefix(s.rest, "$("):
		return &refusal{"`$(` means something to a shell only, and supd runs none", shellHint}
	case strings.HasPrefix(s.rest, "$$"):
		return &refusal{"`$$` means something to a shell only, and supd runs none", shellHint}
	}
	return &refusal{"a `$` that does not begin ${NAME}", dollarHint}
}

// variable reads ${NAME} or ${NAME:-instead} at the start of s and returns
// its length.
func variable(s string) (part, int, error) {
	end := strings.IndexByte(s, '}')
	if end < 0 {
		return part{}, 0, &refusal{"`${` is not closed", ""}
	}
	p := part{}
	p.name, p.instead, p.has = strings.Cut(s[2:end], ":-")
	if !isVariable(p.name) || strings.ContainsAny(p.instead, "${`\"'\\") {
		return part{}, 0, &refusal{"cannot read a variable: want ${NAME} or ${NAME:-text}", "names are letters, digits and _, the first no digit; the text is taken as it is and has no quotes, backslashes or variables"}
	}
	return p, end + 1, nil
}

func isVariable(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// template reads a value of environment: ${NAME} is replaced, all else is
// literal.
func template(text string) (word, error) {
	s := splitter{rest: text}
	for s.rest != "" {
		n := strings.Index(s.rest, "${")
		if n < 0 {
			n = len(s.rest)
		}
		if n > 0 {
			s.literal(s.rest[:n])
			s.rest = s.rest[n:]
			continue
		}
		p, n, err := variable(s.rest)
		if err != nil {
			err.(*refusal).hint = `"${" is always a variable here; a value that has it literally belongs into an environment_file`
			return word{}, err
		}
		s.parts, s.rest = append(s.parts, p), s.rest[n:]
	}
	return word{s.parts, text}, nil
}
