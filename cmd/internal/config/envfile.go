package config

import (
	"strings"
	"unicode/utf8"
)

// assignment is one NAME=value of an environment file.
type assignment struct {
	name, value string
	offset      int
}

// envFault is what is wrong in an environment file. Its message never quotes
// what is in the file: a line that cannot be read may well be a secret.
type envFault struct {
	offset        int
	message, hint string
	warning       bool
}

// parseEnvironmentFile reads NAME=value lines. Empty lines and those that
// begin with # are skipped, "export " is tolerated. A value is taken
// literally up to the end of line or a # after a blank; in single quotes it
// is literal, in double quotes \n \r \t \" \\ \$ and \` are escapes, and
// quotes may span lines. Nothing is expanded. It reports every fault, and
// returns what could be read all the same.
func parseEnvironmentFile(data []byte) ([]assignment, []envFault) {
	r := envReader{data: string(data)}
	seen := map[string]bool{}
	for r.pos < len(r.data) {
		r.assignment(seen)
	}
	return r.found, r.faults
}

type envReader struct {
	data   string
	pos    int
	found  []assignment
	faults []envFault
}

func (r *envReader) fault(at int, message, hint string) {
	r.faults = append(r.faults, envFault{at, message, hint, false})
}

func (r *envReader) blanks() {
	for r.pos < len(r.data) && (r.data[r.pos] == ' ' || r.data[r.pos] == '\t') {
		r.pos++
	}
}

// line returns the rest of the line and goes to the next one.
func (r *envReader) line() string {
	text, _, _ := strings.Cut(r.data[r.pos:], "\n")
	r.pos = min(r.pos+len(text)+1, len(r.data))
	return strings.TrimSuffix(text, "\r")
}

// assignment reads one line, or several if quotes span them.
func (r *envReader) assignment(seen map[string]bool) {
	r.blanks()
	start := r.pos
	switch rest := r.data[r.pos:]; {
	case rest == "" || strings.ContainsRune("\r\n#", rune(rest[0])):
		r.line()
		return
	case strings.HasPrefix(rest, "export ") || strings.HasPrefix(rest, "export\t"):
		r.pos += len("export ")
		r.blanks()
		start = r.pos
	}
	equals := strings.IndexAny(r.data[r.pos:], "=\n")
	if equals < 0 || r.data[r.pos+equals] == '\n' {
		r.line()
		r.fault(start, "cannot read an environment file: want NAME=value", "a comment begins with #; a value of several lines needs quotes")
		return
	}
	name := r.data[start : start+equals]
	r.pos = start + equals + 1
	value, ok := r.value()
	if !ok {
		return
	}
	if message := checkName(name); message != "" {
		r.fault(start, message, "")
		return
	}
	if seen[name] {
		r.faults = append(r.faults, envFault{start, "variable " + name + " is set twice: the last one counts", "", true})
	}
	if message := checkValue(name, value); message != "" {
		r.fault(start, message, "")
		return
	}
	seen[name] = true
	r.found = append(r.found, assignment{name, value, start})
}

// value reads what follows the equals sign, to the end of its last line.
func (r *envReader) value() (string, bool) {
	start := r.pos
	r.blanks()
	if r.pos < len(r.data) && (r.data[r.pos] == '"' || r.data[r.pos] == '\'') {
		return r.quoted(r.data[r.pos])
	}
	r.pos = start
	text := r.line()
	for i := range len(text) {
		if text[i] == '#' && (i == 0 || text[i-1] == ' ' || text[i-1] == '\t') {
			text = text[:i]
			break
		}
	}
	return strings.Trim(text, " \t"), true
}

func (r *envReader) quoted(quote byte) (string, bool) {
	open := r.pos
	var b strings.Builder
	for r.pos++; r.pos < len(r.data) && r.data[r.pos] != quote; r.pos++ {
		if c := r.data[r.pos]; c != '\\' || quote == '\'' || r.pos+1 == len(r.data) {
			b.WriteByte(c)
			continue
		}
		r.pos++
		switch c := r.data[r.pos]; c {
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case '"', '\\', '$', '`':
			b.WriteByte(c)
		case '\n': // continues the line
		default:
			b.WriteByte('\\')
			b.WriteByte(c)
		}
	}
	if r.pos >= len(r.data) {
		r.pos = len(r.data)
		r.fault(open, "a quote is not closed", "")
		return "", false
	}
	r.pos++
	behind := r.pos
	if rest := strings.TrimLeft(r.line(), " \t"); rest != "" && rest[0] != '#' {
		r.fault(behind, "text behind a closing quote", "put the whole value in quotes")
		return "", false
	}
	return b.String(), true
}

// reserved are the variables that supd sets for every service.
var reserved = map[string]bool{"SUPD_SERVICE": true, "SUPD_INSTANCE": true, "SUPD_RUN": true, "SUPD_REPLICA": true, "SUPD_NODE_ID": true}

// checkName says what is wrong with the name of an environment variable; ""
// if nothing is. It quotes no unreadable name: that may be part of a value.
func checkName(name string) string {
	switch {
	case reserved[name]:
		return "variable " + name + " is always set by supd"
	case name == "" || len(name) > 256 || !utf8.ValidString(name):
		return "a variable's name must have 1 to 256 characters"
	}
	for _, c := range name {
		if c <= ' ' || c == '=' || c == 0x7f {
			return "a variable's name must have no blank, = or control character"
		}
	}
	return ""
}

// maxArgument is the kernel's limit of one argument or NAME=value, its ending
// NUL counted (MAX_ARG_STRLEN); exec fails beyond it.
const maxArgument = 32 * 4096

// checkValue says what is wrong with a variable's value; "" if nothing is.
func checkValue(name, value string) string {
	switch {
	case strings.ContainsRune(value, 0):
		return "variable " + name + " holds a NUL byte"
	case !utf8.ValidString(value):
		return "variable " + name + " is not valid UTF-8"
	case len(name)+len("=")+len(value) >= maxArgument:
		return "variable " + name + " is longer than the kernel takes (128 KiB)"
	}
	return ""
}
