package event

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unsafe"
)

// Reading journals of millions of records is decoding their data. The general
// decoder looks at each byte twice and finds fields by name; here each data
// type has a plan, which takes the fields in the order that the encoder writes
// them. A plan never judges: what it does not expect, escapes for one, goes to
// the general decoder, and a test holds that both give the same.

// plans has one for each kind whose data is made of what a plan can read.
var plans = func() map[Kind]plan {
	all := make(map[Kind]plan, len(codecs))
	for kind, c := range codecs {
		if value := reader(c.data); value != nil {
			all[kind] = c.plan(value)
		}
	}
	return all
}()

// plan decodes the whole data of a record.
type plan func(text string) (Data, bool)

// planned makes the plan of a type.
func planned[T Data](value read) plan {
	return func(text string) (Data, bool) {
		d := new(T)
		if rest, ok := value(text, unsafe.Pointer(d)); !ok || rest != "" {
			return nil, false
		}
		return *d, true
	}
}

// read sets a value of its type, which begins at the pointer, from the front of
// the text and returns what is behind it. The value is zero before. Reflection
// has told the types once, when the readers were made; each read by it would
// cost more than what is read.
type read func(text string, to unsafe.Pointer) (rest string, ok bool)

var (
	timeType        = reflect.TypeFor[time.Time]()
	durationType    = reflect.TypeFor[Duration]()
	rawType         = reflect.TypeFor[json.RawMessage]()
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
	case t == rawType:
		return readRaw
	case t.Implements(unmarshalerType) || reflect.PointerTo(t).Implements(unmarshalerType):
		return nil
	}
	switch t.Kind() {
	case reflect.String:
		return readText
	case reflect.Bool:
		return readBool
	case reflect.Int:
		return readInt
	case reflect.Int64:
		return readInt64
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
	offset   uintptr
	first    string // "name":
	next     string // ,"name":
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
		fields = append(fields, planField{offset: f.Offset, first: `"` + name + `":`, next: `,"` + name + `":`, optional: options != "", read: inner})
	}
	return func(text string, to unsafe.Pointer) (string, bool) {
		text, ok := strings.CutPrefix(text, "{")
		if !ok {
			return "", false
		}
		begun := false
		for i := range fields {
			f := &fields[i]
			name := f.first
			if begun {
				name = f.next
			}
			if !strings.HasPrefix(text, name) {
				if f.optional {
					continue
				}
				return "", false
			}
			if text, ok = f.read(text[len(name):], unsafe.Add(to, f.offset)); !ok {
				return "", false
			}
			begun = true
		}
		return strings.CutPrefix(text, "}")
	}
}

func pointerReader(t reflect.Type) read {
	inner := reader(t.Elem())
	if inner == nil {
		return nil
	}
	return func(text string, to unsafe.Pointer) (string, bool) {
		if rest, null := strings.CutPrefix(text, "null"); null {
			return rest, true
		}
		p := reflect.New(t.Elem()).UnsafePointer()
		rest, ok := inner(text, p)
		*(*unsafe.Pointer)(to) = p
		return rest, ok
	}
}

func sliceReader(t reflect.Type) read {
	inner := reader(t.Elem())
	if inner == nil || t.Elem().Kind() == reflect.Uint8 {
		return nil
	}
	return func(text string, to unsafe.Pointer) (string, bool) {
		if rest, null := strings.CutPrefix(text, "null"); null {
			return rest, true
		}
		text, ok := strings.CutPrefix(text, "[")
		if !ok {
			return "", false
		}
		s := reflect.NewAt(t, to).Elem()
		s.Set(reflect.MakeSlice(t, 0, 0))
		if rest, empty := strings.CutPrefix(text, "]"); empty {
			return rest, true
		}
		for n := 0; ; n++ {
			s.Grow(1)
			s.SetLen(n + 1)
			if text, ok = inner(text, s.Index(n).Addr().UnsafePointer()); !ok || text == "" {
				return "", false
			}
			end := text[0]
			text = text[1:]
			switch end {
			case ',':
			case ']':
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
	return func(text string, to unsafe.Pointer) (string, bool) {
		if rest, null := strings.CutPrefix(text, "null"); null {
			return rest, true
		}
		text, ok := strings.CutPrefix(text, "{")
		if !ok {
			return "", false
		}
		m := reflect.MakeMap(t)
		reflect.NewAt(t, to).Elem().Set(m)
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
			if text, ok = inner(rest, x.Addr().UnsafePointer()); !ok || text == "" {
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

// escaped cuts a text off that has the escapes of a quote, a backslash and the
// ends of lines, and no other: a part of a base is megabytes of these.
func escaped(text string) (value, rest string, ok bool) {
	if text == "" || text[0] != '"' {
		return "", "", false
	}
	text = text[1:]
	var b []byte
	for {
		n := plain(text)
		if n+1 >= len(text) {
			return "", "", false
		}
		if b == nil {
			b = make([]byte, 0, len(text))
		}
		if b = append(b, text[:n]...); text[n] == '"' {
			return unsafe.String(unsafe.SliceData(b), len(b)), text[n+1:], true
		}
		at := strings.IndexByte(escapes, text[n+1])
		if text[n] != '\\' || at < 0 {
			return "", "", false
		}
		b = append(b, meant[at])
		text = text[n+2:]
	}
}

// What stands behind a backslash, and what is meant by it.
const (
	escapes = `"\nrt`
	meant   = "\"\\\n\r\t"
)

func readText(text string, to unsafe.Pointer) (string, bool) {
	value, rest, ok := quoted(text)
	if !ok {
		value, rest, ok = escaped(text)
	}
	if ok {
		*(*string)(to) = value
	}
	return rest, ok
}

// readRaw takes no text: where one is, the general decoder finds its end.
func readRaw(string, unsafe.Pointer) (string, bool) { return "", false }

func readTime(text string, to unsafe.Pointer) (string, bool) {
	value, rest, ok := quoted(text)
	if !ok {
		return "", false
	}
	t, ok := canonicalTime(value)
	if ok {
		*(*time.Time)(to) = t
	}
	return rest, ok
}

func readDuration(text string, to unsafe.Pointer) (string, bool) {
	value, rest, ok := quoted(text)
	if !ok {
		return "", false
	}
	if value == "0s" { // most of them
		return rest, true
	}
	d, err := time.ParseDuration(value)
	*(*Duration)(to) = Duration(d)
	return rest, err == nil
}

func readBool(text string, to unsafe.Pointer) (string, bool) {
	if rest, ok := strings.CutPrefix(text, "true"); ok {
		*(*bool)(to) = true
		return rest, true
	}
	return strings.CutPrefix(text, "false")
}

func readUint(text string, to unsafe.Pointer) (string, bool) {
	value, rest, ok := number(text)
	*(*uint64)(to) = value
	return rest, ok
}

func readInt64(text string, to unsafe.Pointer) (string, bool) {
	value, rest, ok := whole(text)
	*(*int64)(to) = value
	return rest, ok
}

func readInt(text string, to unsafe.Pointer) (string, bool) {
	value, rest, ok := whole(text)
	*(*int)(to) = int(value)
	return rest, ok && int64(int(value)) == value
}

// readFloat takes the forms that the encoder writes; what it takes too much of
// fits no end of a field.
func readFloat(text string, to unsafe.Pointer) (string, bool) {
	n, digits := 0, true
	for n < len(text) && (text[n]-'0' <= 9 || strings.IndexByte(".eE+-", text[n]) >= 0) {
		digits = digits && text[n]-'0' <= 9
		n++
	}
	if digits {
		value, rest, ok := number(text)
		*(*float64)(to) = float64(value)
		return rest, ok && n <= 15 // more may not be exact
	}
	if !json.Valid([]byte(text[:n])) { // the grammar of JSON is narrower than ParseFloat's
		return "", false
	}
	value, err := strconv.ParseFloat(text[:n], 64)
	*(*float64)(to) = value
	return text[n:], err == nil
}
