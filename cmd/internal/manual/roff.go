package manual

import (
	"bytes"
	"fmt"
	"strings"

	"supd/cmd/internal/version"
)

// writer writes roff, a line at a time.
type writer struct{ b bytes.Buffer }

// text writes lines that are roff already.
func (w *writer) text(line string) {
	w.b.WriteString(line)
	w.b.WriteByte('\n')
}

func (w *writer) head(name string, section int, short string) {
	w.text(`.\" Made from the program itself; do not edit.`)
	w.text(fmt.Sprintf(`.TH %s %d "" "supd %s" "supd manual"`, strings.ToUpper(escape(name)), section, version.Version))
	w.section("NAME")
	w.text(escape(name) + ` \- ` + escape(short))
}

func (w *writer) section(title string) { w.text(".SH " + strings.ToUpper(escape(title))) }

func (w *writer) item(tag, text string) {
	w.text(".TP")
	w.text(tag)
	w.text(line(escape(text)))
}

// prose writes paragraphs. Lines that begin with two blanks are shown as they
// are.
func (w *writer) prose(text string) {
	for n, paragraph := range strings.Split(strings.TrimSpace(text), "\n\n") {
		if n > 0 {
			w.text(".PP")
		}
		var as []string
		for _, l := range strings.Split(paragraph, "\n") {
			if strings.HasPrefix(l, "  ") {
				as = append(as, l)
				continue
			}
			w.verbatim(as)
			as = nil
			w.text(line(escape(l)))
		}
		w.verbatim(as)
	}
}

func (w *writer) verbatim(lines []string) {
	if len(lines) == 0 {
		return
	}
	w.text(".nf")
	for _, l := range lines {
		w.text(line(escape(l)))
	}
	w.text(".fi")
}

func bold(s string) string   { return `\fB` + escape(s) + `\fR` }
func italic(s string) string { return `\fI` + escape(s) + `\fR` }

// escape makes text mean itself in roff.
func escape(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\\':
			b.WriteString(`\e`)
		case r == '-':
			b.WriteString(`\-`)
		case r == '\'':
			b.WriteString(`\(aq`)
		case r == '`':
			b.WriteString(`\(ga`)
		case r == '^':
			b.WriteString(`\(ha`)
		case r == '~':
			b.WriteString(`\(ti`)
		case r == '"':
			b.WriteString(`\(dq`)
		case r > 126:
			fmt.Fprintf(&b, `\[u%04X]`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// line makes escaped text a line that is no request.
func line(s string) string {
	if strings.HasPrefix(s, ".") {
		return `\&` + s
	}
	return s
}
