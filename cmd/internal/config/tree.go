package config

import (
	"bytes"
	"errors"
	"sort"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// source is one file that was read.
type source struct {
	shown string // as problems call it
	path  string // absolute
	order int
	lines []int // offsets of the lines' first bytes
}

func newSource(shown, path string, order int, data []byte) *source {
	s := &source{shown: shown, path: path, order: order, lines: []int{0}}
	for i, c := range data {
		if c == '\n' {
			s.lines = append(s.lines, i+1)
		}
	}
	return s
}

// position is where something is written; line and column start at 1.
type position struct {
	src          *source
	line, column int
}

func (s *source) at(offset int) position {
	line := sort.SearchInts(s.lines, offset+1)
	return position{s, line, offset - s.lines[line-1] + 1}
}

// kind is what a value is, in the words of messages.
type kind string

const (
	aString kind = "a string"
	anInt   kind = "an integer"
	aFloat  kind = "a number with a fraction"
	aBool   kind = "true or false"
	aTime   kind = "a date or time"
	aList   kind = "a list"
	aTable  kind = "a table"
)

var kinds = map[unstable.Kind]kind{
	unstable.String: aString, unstable.Integer: anInt, unstable.Float: aFloat, unstable.Bool: aBool,
	unstable.LocalDate: aTime, unstable.LocalTime: aTime, unstable.LocalDateTime: aTime, unstable.DateTime: aTime,
	unstable.Array: aList, unstable.InlineTable: aTable,
}

// value is one TOML value and where it is.
type value struct {
	kind   kind
	at     position
	text   string   // of scalars: the content of a string, else as written
	items  []*value // of lists
	fields []*field // of tables, in the order written
	index  map[string]*field
	header bool // a table with its own [header], or a list of such
}

// field is one key of a table.
type field struct {
	name  string
	at    position // of the key
	value *value
}

// field returns what a key of this table holds; nil where it is not set.
func (v *value) field(name string) *field { return v.index[name] }

// set adds a key that is not there yet.
func (v *value) set(n name, to *value) *field {
	f := &field{n.text, n.at, to}
	if v.index == nil {
		v.index = map[string]*field{}
	}
	v.fields, v.index[n.text] = append(v.fields, f), f
	return f
}

// builder makes a tree of one file. go-toml's parser knows the syntax of
// expressions and their positions; that keys are defined once, and what may
// extend what, is checked by go-toml's decoder afterwards, except for the
// common faults that deserve the position of the earlier definition.
type builder struct {
	src    *source
	parser unstable.Parser
	report func(position, Problem)
	faulty bool
}

// parse returns the tree of what could be read, and whether that is all of it.
func parse(src *source, data []byte, report func(position, Problem)) (root *value, complete bool) {
	b := &builder{src: src, report: report}
	root = &value{kind: aTable, at: src.at(0), header: true}
	b.parser.Reset(data)
	for table := root; b.parser.NextExpression(); {
		switch n := b.parser.Expression(); n.Kind {
		case unstable.Table:
			table = b.table(root, n)
		case unstable.ArrayTable:
			table = b.arrayTable(root, n)
		case unstable.KeyValue:
			b.keyValue(table, n)
		}
	}
	if err := b.parser.Error(); err != nil {
		b.syntax(err, data)
		return root, false
	}
	if !b.faulty {
		b.decodeCheck(data)
	}
	return root, !b.faulty
}

// fault reports what makes the file no valid TOML.
func (b *builder) fault(at position, message string) {
	b.faulty = true
	b.report(at, Problem{Message: message})
}

func (b *builder) syntax(err error, data []byte) {
	at, message := b.src.at(0), err.Error()
	var perr *unstable.ParserError
	if errors.As(err, &perr) {
		message = perr.Message
		// The highlight is a piece of data: what is left of the capacity
		// behind its start tells where.
		if offset := cap(data) - cap(perr.Highlight); perr.Highlight != nil && offset >= 0 && offset <= len(data) {
			at = b.src.at(offset)
		}
	}
	b.fault(at, "cannot read TOML: "+message)
}

// decodeCheck lets the decoder find what the tree let pass.
func (b *builder) decodeCheck(data []byte) {
	var all map[string]any
	err := toml.Unmarshal(data, &all)
	if err == nil {
		return
	}
	at, message := b.src.at(0), err.Error()
	var derr *toml.DecodeError
	if errors.As(err, &derr) {
		at.line, at.column = derr.Position()
	}
	b.fault(at, "cannot read TOML: "+strings.TrimPrefix(message, "toml: "))
}

// name is one part of a dotted key.
type name struct {
	text string
	at   position
	end  int // offset behind it
}

func (b *builder) names(it unstable.Iterator) []name {
	var out []name
	for it.Next() {
		n := it.Node()
		start := int(n.Raw.Offset)
		out = append(out, name{string(n.Data), b.src.at(start), start + int(n.Raw.Length)})
	}
	return out
}

// descend goes into the table called n, making it where it is missing. Where
// something else has the name the result is a table that belongs to nothing:
// the decoder reports the conflict.
func (b *builder) descend(t *value, n name) *value {
	f := t.field(n.text)
	if f == nil {
		f = t.set(n, &value{kind: aTable, at: n.at})
	}
	v := f.value
	if v.kind == aList && v.header {
		v = v.items[len(v.items)-1]
	}
	if v.kind != aTable {
		return &value{kind: aTable, at: n.at}
	}
	return v
}

func (b *builder) table(root *value, n *unstable.Node) *value {
	t, names := root, b.names(n.Key())
	for _, part := range names {
		t = b.descend(t, part)
	}
	last := names[len(names)-1]
	if t.header {
		b.fault(last.at, "table ["+joined(names)+"] is already defined at "+t.at.String())
		return t
	}
	t.header, t.at = true, last.at
	return t
}

func (b *builder) arrayTable(root *value, n *unstable.Node) *value {
	t, names := root, b.names(n.Key())
	for _, part := range names[:len(names)-1] {
		t = b.descend(t, part)
	}
	last := names[len(names)-1]
	item := &value{kind: aTable, at: last.at, header: true}
	f := t.field(last.text)
	if f == nil {
		f = t.set(last, &value{kind: aList, at: last.at, header: true})
	}
	if f.value.kind == aList && f.value.header {
		f.value.items = append(f.value.items, item)
	}
	return item
}

func (b *builder) keyValue(t *value, n *unstable.Node) {
	names := b.names(n.Key())
	for _, part := range names[:len(names)-1] {
		t = b.descend(t, part)
	}
	last := names[len(names)-1]
	if old := t.field(last.text); old != nil {
		b.fault(last.at, "`"+joined(names)+"` is already set at "+old.at.String())
		return
	}
	// Lists carry no position of their own: they begin behind the "=".
	data := b.parser.Data()
	rest := bytes.TrimLeft(data[last.end:], " \t=")
	t.set(last, b.value(n.Value(), b.src.at(len(data)-len(rest))))
}

// value copies a node; at is where it is if the node does not say.
func (b *builder) value(n *unstable.Node, at position) *value {
	if n.Raw.Length > 0 {
		at = b.src.at(int(n.Raw.Offset))
	}
	v := &value{kind: kinds[n.Kind], at: at}
	switch it := n.Children(); v.kind {
	case aList:
		for it.Next() {
			v.items = append(v.items, b.value(it.Node(), at))
		}
	case aTable:
		v.header = true
		for it.Next() {
			b.keyValue(v, it.Node())
		}
	default:
		v.text = string(n.Data)
	}
	return v
}

// String is "FILE:LINE:COL".
func (p position) String() string {
	return strings.TrimSuffix(Problem{File: p.src.shown, Line: p.line, Column: p.column}.String(), ": ")
}

func joined(names []name) string {
	parts := make([]string, len(names))
	for i, n := range names {
		parts[i] = n.text
	}
	return strings.Join(parts, ".")
}
