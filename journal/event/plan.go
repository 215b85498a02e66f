package event

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Reading journals of millions of records is decoding their data. The general
// decoder looks at each byte twice and finds fields by name; here each data
// type has a plan, which takes the fields in the order that the encoder writes
// them. A plan never judges: what it does not expect, escapes for one, goes to
// the general decoder, and a test holds that both give the same.

// plans has one for each kind whose data is made of what a plan can read.
var plans = func() map[Kind]*plan {
	all := make(map[Kind]*plan, len(decoders))
	for kind, read := range decoders {
		d, err := read(json.RawMessage("{}"))
		if err != nil {
			continue
		}
		t := reflect.TypeOf(d)
		if value := reader(t); value != nil {
			all[kind] = &plan{t, value}
		}
	}
	return all
}()

type plan struct {
	data  reflect.Type
	value read
}

// read sets a value from the front of the text and returns what is behind it.
type read func(text string, v reflect.Value) (rest string, ok bool)

func (p *plan) decode(text string) (Data, bool) {
	v := reflect.New(p.data).Elem()
	if rest, ok := p.value(text, v); !ok || rest != "" {
		return nil, false
	}
	d, ok := v.Interface().(Data)
	return d, ok
}

var (
	timeType        = reflect.TypeFor[time.Time]()
	durationType    = reflect.TypeFor[Duration]()
	unmarshalerType = reflect.TypeFor[json.Unmarshaler]()
)

// reader makes the reader of a type; nil if it has something that only the
// general decoder reads.
func reader(t reflect.Type) read {
	switch {
	case t == timeType:
		return readTime
	case t == durationType:
		return readDuration
	case t.Implements(unmarshalerType) || reflect.PointerTo(t).Implements(unmarshalerType):
		return nil
	}
	switch t.Kind() {
	case reflect.String:
		return readText
	case reflect.Bool:
		return readBool
	case reflect.Int, reflect.Int64:
		return readInt
	case reflect.Uint64:
		return readUint
	case reflect.Float64:
		return readFloat
	case reflect.Pointer:
		return pointerReader(t)
	case reflect.Map:
		return mapReader(t)
	case reflect.Slice:
		return sliceReader(t)
	case reflect.Struct:
		return structReader(t)
	}
	return nil
}

type planField struct {
	index    int
	name     string // "name":
	optional bool
	read     read
}

func structReader(t reflect.Type) read {
	var fields []planField
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		inner := reader(f.Type)
		if f.Anonymous || name == "" || name == "-" || inner == nil || options != "" && options != "omitempty" {
			return nil
		}
		fields = append(fields, planField{index: i, name: `"` + name + `":`, optional: options != "", read: inner})
	}
	return func(text string, v reflect.Value) (string, bool) {
		text, ok := strings.CutPrefix(text, "{")
		if !ok {
			return "", false
		}
		first := true
		for i := range fields {
			f := &fields[i]
			at := text
			if !first {
				at = strings.TrimPrefix(text, ",")
			}
			if !strings.HasPrefix(at, f.name) || !first && len(at) == len(text) {
				if f.optional {
					continue
				}
				return "", false
			}
			if text, ok = f.read(at[len(f.name):], v.Field(f.index)); !ok {
				return "", false
			}
			first = false
		}
		return strings.CutPrefix(text, "}")
	}
}

func pointerReader(t reflect.Type) read {
	inner := reader(t.Elem())
	if inner == nil {
		return nil
	}
	return func(text string, v reflect.Value) (string, bool) {
		if rest, null := strings.CutPrefix(text, "null"); null {
			return rest, true
		}
		p := reflect.New(t.Elem())
		rest, ok := inner(text, p.Elem())
		v.Set(p)
		return rest, ok
	}
}

func sliceReader(t reflect.Type) read {
	inner := reader(t.Elem())
	if inner == nil || t.Elem().Kind() == reflect.Uint8 {
		return nil
	}
	return func(text string, v reflect.Value) (string, bool) {
		if rest, null := strings.CutPrefix(text, "null"); null {
			return rest, true
		}
		text, ok := strings.CutPrefix(text, "[")
		if !ok {
			return "", false
		}
		s := reflect.MakeSlice(t, 0, 0)
		if rest, empty := strings.CutPrefix(text, "]"); empty {
			v.Set(s)
			return rest, true
		}
		for {
			x := reflect.New(t.Elem()).Elem()
			if text, ok = inner(text, x); !ok || text == "" {
				return "", false
			}
			s = reflect.Append(s, x)
			end := text[0]
			text = text[1:]
			switch end {
			case ',':
			case ']':
				v.Set(s)
				return text, true
			default:
				return "", false
			}
		}
	}
}

func mapReader(t reflect.Type) read {
	inner := reader(t.Elem())
	if inner == nil || t.Key().Kind() != reflect.String || reader(t.Key()) == nil {
		return nil
	}
	return func(text string, v reflect.Value) (string, bool) {
		if rest, null := strings.CutPrefix(text, "null"); null {
			return rest, true
		}
		text, ok := strings.CutPrefix(text, "{")
		if !ok {
			return "", false
		}
		m := reflect.MakeMap(t)
		v.Set(m)
		if rest, empty := strings.CutPrefix(text, "}"); empty {
			return rest, true
		}
		for end := byte(','); end == ','; text = text[1:] {
			name, rest, good := quoted(text)
			if rest, ok = strings.CutPrefix(rest, ":"); !good || !ok {
				return "", false
			}
			key, x := reflect.New(t.Key()).Elem(), reflect.New(t.Elem()).Elem()
			key.SetString(name)
			if text, ok = inner(rest, x); !ok || text == "" {
				return "", false
			}
			m.SetMapIndex(key, x)
			if end = text[0]; end != ',' && end != '}' {
				return "", false
			}
		}
		return text, true
	}
}

// quoted cuts a text without escapes off.
func quoted(text string) (value, rest string, ok bool) {
	if text == "" || text[0] != '"' {
		return "", "", false
	}
	n := 1 + plain(text[1:])
	if n == len(text) || text[n] != '"' {
		return "", "", false
	}
	return text[1:n], text[n+1:], true
}

func readText(text string, v reflect.Value) (string, bool) {
	value, rest, ok := quoted(text)
	if ok {
		v.SetString(value)
	}
	return rest, ok
}

func readTime(text string, v reflect.Value) (string, bool) {
	value, rest, ok := quoted(text)
	if !ok {
		return "", false
	}
	t, ok := canonicalTime(value)
	if ok {
		*v.Addr().Interface().(*time.Time) = t
	}
	return rest, ok
}

func readDuration(text string, v reflect.Value) (string, bool) {
	value, rest, ok := quoted(text)
	if !ok {
		return "", false
	}
	d, err := time.ParseDuration(value)
	v.SetInt(int64(d))
	return rest, err == nil
}

func readBool(text string, v reflect.Value) (string, bool) {
	if rest, ok := strings.CutPrefix(text, "true"); ok {
		v.SetBool(true)
		return rest, true
	}
	return strings.CutPrefix(text, "false")
}

func readUint(text string, v reflect.Value) (string, bool) {
	value, rest, ok := number(text)
	v.SetUint(value)
	return rest, ok
}

func readInt(text string, v reflect.Value) (string, bool) {
	value, rest, ok := whole(text)
	v.SetInt(value)
	return rest, ok
}

// readFloat takes the forms that the encoder writes; what it takes too much of
// fits no end of a field.
func readFloat(text string, v reflect.Value) (string, bool) {
	n := 0
	for n < len(text) && strings.IndexByte("0123456789.eE+-", text[n]) >= 0 {
		n++
	}
	if !json.Valid([]byte(text[:n])) { // the grammar of JSON is narrower than ParseFloat's
		return "", false
	}
	value, err := strconv.ParseFloat(text[:n], 64)
	v.SetFloat(value)
	return text[n:], err == nil
}
