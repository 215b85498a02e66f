package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"supd/journal/event"
)

// cell is one key with its value, being read.
type cell struct {
	l   *loader
	key string   // dotted, as messages call it
	at  position // of the key
	v   *value
}

// reader takes a cell's value where it belongs, or reports what is wrong.
type reader func(*cell)

// wrong reports what the value must be: "`key` must …".
func (c *cell) wrong(hint, format string, args ...any) {
	c.l.problem(c.v.at, hint, "`%s` %s", c.key, fmt.Sprintf(format, args...))
}

// refuse reports why the value will not do: "`key`: cannot …".
func (c *cell) refuse(hint, format string, args ...any) {
	c.l.problem(c.v.at, hint, "`%s`: %s", c.key, fmt.Sprintf(format, args...))
}

// failed reports an error from reading the value.
func (c *cell) failed(err error) {
	hint := ""
	if r, ok := err.(*refusal); ok {
		hint = r.hint
	}
	c.refuse(hint, "%v", err)
}

// is tells whether the value has the kind wanted, and reports it if not.
func (c *cell) is(want kind, example string) bool {
	if c.v.kind == want {
		return true
	}
	hint := ""
	if example != "" {
		hint = "write " + example
	}
	c.wrong(hint, "must be %s, not %s", want, c.v.kind)
	return false
}

// text returns the value of a string without NUL bytes: no string of ours
// can hold one on its way to the kernel.
func (c *cell) text(example string) (string, bool) {
	if !c.is(aString, example) {
		return "", false
	}
	if strings.ContainsRune(c.v.text, 0) {
		c.wrong("", "holds a NUL byte")
		return "", false
	}
	return c.v.text, true
}

// parsed reads a string by a parser.
func parsed[T any](to *T, parse func(string) (T, error), example string) reader {
	return func(c *cell) {
		if s, ok := c.text(example); ok {
			v, err := parse(s)
			if err != nil {
				c.failed(err)
				return
			}
			*to = v
		}
	}
}

func boolean(to *bool) reader {
	return func(c *cell) {
		if c.is(aBool, "true or false without quotes") {
			*to = c.v.text == "true"
		}
	}
}

func integer[T int | int64](to *T, least, most int64) reader {
	return func(c *cell) {
		if !c.is(anInt, "a number without quotes") {
			return
		}
		n, err := parseInteger(c.v.text)
		if err != nil || n < least || n > most {
			c.wrong("", "must be from %d to %d, not %s", least, most, c.v.text)
			return
		}
		*to = T(n)
	}
}

func float(to *float64, least, most float64) reader {
	return func(c *cell) {
		if c.v.kind != anInt && c.v.kind != aFloat {
			c.wrong("write a number without quotes", "must be a number, not %s", c.v.kind)
			return
		}
		n, err := parseFloat(c.v.text)
		if err != nil || !(n >= least && n <= most) { // so that NaN is refused
			c.wrong("", "must be from %g to %g, not %s", least, most, c.v.text)
			return
		}
		*to = n
	}
}

func oneOf(to *string, options ...string) reader { return oneOfOurs(to, nil, options...) }

// oneOfOurs is oneOf with what to write instead of words that other supervisors
// have there.
func oneOfOurs(to *string, foreign map[string]string, options ...string) reader {
	return func(c *cell) {
		s, ok := c.text(fmt.Sprintf("%q", options[0]))
		if !ok {
			return
		}
		if !slices.Contains(options, s) {
			c.wrong(foreign[strings.ToLower(s)], "must be one of %s, not %q", strings.Join(options, ", "), s)
			return
		}
		*to = s
	}
}

// duration reads a time span; the integer 0 is one, all others need a unit.
func duration(to *event.Duration) reader {
	text := parsed(to, parseDuration, `a duration such as "10s"`)
	return func(c *cell) {
		if c.v.kind == anInt && c.v.text == "0" {
			*to = 0
			return
		}
		if c.v.kind == anInt {
			c.wrong(fmt.Sprintf("write the unit too: %q", c.v.text+"s"), "must be a string, not %s", c.v.kind)
			return
		}
		text(c)
	}
}

// positive reads a time span longer than none.
func positive(to *event.Duration) reader {
	return func(c *cell) {
		d := event.Duration(-1)
		duration(&d)(c)
		if d == 0 {
			c.wrong("", "must be longer than 0")
		} else if d > 0 {
			*to = d
		}
	}
}

// size reads bytes, as an integer or with a unit.
func size(to *int64, least int64) reader {
	return func(c *cell) {
		n, s := int64(0), c.v.text
		var err error
		switch c.v.kind {
		case anInt:
			n, err = parseInteger(s)
		case aString:
			n, err = parseSize(s)
		default:
			c.wrong(`write bytes, or a size such as "16MiB"`, "must be a size, not %s", c.v.kind)
			return
		}
		if err != nil {
			c.failed(err)
			return
		}
		if n < least {
			c.wrong("", "must be at least %d bytes, not %s", least, s)
			return
		}
		*to = n
	}
}

func octal(to *uint32) reader {
	return parsed(to, parseOctal, `octal digits in quotes, such as "0022"`)
}

func signal(to *string) reader {
	return parsed(to, parseSignal, `a signal's name in quotes, such as "TERM"`)
}

// path reads a path; a relative one begins at the folder of its file.
func path(to *string) reader {
	return func(c *cell) {
		if s, ok := c.text(`a path in quotes`); ok {
			if s == "" {
				c.wrong("", "must not be empty")
				return
			}
			*to = c.resolve(s)
		}
	}
}

func (c *cell) resolve(p string) string {
	if !filepath.IsAbs(p) {
		p = filepath.Join(filepath.Dir(c.v.at.src.path), p)
	}
	return filepath.Clean(p)
}

// directory reads the path of a folder that exists.
func directory(to *string) reader {
	return func(c *cell) {
		var p string
		path(&p)(c)
		if p == "" {
			return
		}
		info, err := c.l.host.stat(p)
		switch {
		case err != nil:
			c.refuse("create it first", "cannot use directory %s: %v", p, cause(err))
		case !info.IsDir():
			c.refuse("", "cannot use directory %s: not a directory", p)
		default:
			*to = p
		}
	}
}

// elements calls read for each element of a list.
func (c *cell) elements(read func(*cell)) {
	for _, item := range c.v.items {
		read(&cell{c.l, c.key, c.at, item})
	}
}

// idText reads a user or group: a name or an id.
func (c *cell) idText() (string, bool) {
	if c.v.kind == anInt {
		return c.v.text, true
	}
	return c.text("a name or an id")
}

// node reads the name of this node: one token of a subject.
func node(to *string) reader {
	return func(c *cell) {
		s, ok := c.text("a name in quotes")
		if ok && s != nodeName(s) {
			c.wrong("", "must have 1 to 64 letters, digits, - and _, not %q", s)
			return
		}
		if ok {
			*to = s
		}
	}
}

// nodeName makes a token of subjects from a host's name.
func nodeName(host string) string {
	if host == "" {
		return "localhost"
	}
	return strings.Map(func(r rune) rune {
		if r < 0x80 && (isVariable("_"+string(r)) || r == '-') {
			return r
		}
		return '_'
	}, host[:min(len(host), 64)])
}
