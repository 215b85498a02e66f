package schema

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"supd/journal/event"
)

// node is one schema, or a part of one.
type node map[string]any

// maker builds the schema of one kind.
type maker struct {
	comments Comments
	strict   bool
	defs     node
}

// Of is the JSON Schema (2020-12) of the records of a kind, envelope included.
func Of(kind event.Kind, c Comments, strict bool) ([]byte, error) {
	data, err := event.DecodeData(kind, json.RawMessage("{}"))
	if err != nil {
		return nil, fmt.Errorf("cannot describe %s: %w", kind, err)
	}
	m := maker{comments: c, strict: strict, defs: node{}}
	t := reflect.TypeOf(data)
	properties := m.envelope(kind)
	properties["data"] = m.object(t)
	root := node{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "urn:supd:record:" + string(kind) + ":v1",
		"title": string(kind), "description": c.ofType(t), "type": "object", "properties": properties,
		"required": []string{"specversion", "id", "source", "type", "time", "mono", "boot", "seq", "prev", "actor", "data"},
	}
	if strict {
		root["additionalProperties"] = false
	}
	if len(m.defs) > 0 {
		root["$defs"] = m.defs
	}
	b, err := json.MarshalIndent(root, "", "  ")
	return append(b, '\n'), err
}

// The patterns of what the envelope holds.
const (
	uuid7 = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
	hash  = "^[0-9a-f]{64}$"
)

// envelope describes what is the same for all kinds. It is written by hand: the
// record's own type has no JSON form of its own.
func (m maker) envelope(kind event.Kind) node {
	text := func(description string) node { return node{"type": "string", "description": description} }
	return node{
		"specversion": node{"const": event.SpecVersion, "description": "of CloudEvents"},
		"id":          node{"type": "string", "pattern": uuid7, "description": "UUIDv7"},
		"source":      node{"type": "string", "pattern": "^supd/[^/]+/[^/]+$", "description": "supd/NODE/NODE_ID"},
		"type":        node{"const": kind.Type()},
		"subject":     text("the service; absent if none"),
		"time":        node{"type": "string", "format": "date-time", "description": "wall clock, UTC; the order is that of seq"},
		"mono":        node{"type": "integer", "description": "CLOCK_BOOTTIME in nanoseconds"},
		"boot":        text("boot id and pid namespace: where mono and pids mean something"),
		"seq":         node{"type": "integer", "minimum": 1, "description": "contiguous from 1 for ever"},
		"prev":        node{"type": "string", "pattern": hash, "description": "SHA-256 of the bytes of the record before"},
		"cause":       text("id of the record or command that led here; absent for what came from outside"),
		"actor":       text("uid-1000, nkey-U…, signal, supd"),
	}
}

// closed are the types whose values are a list.
func closed(t reflect.Type) []string {
	switch t {
	case reflect.TypeFor[event.Want]():
		return []string{string(event.Up), string(event.Down)}
	case reflect.TypeFor[event.Phase]():
		var all []string
		for _, p := range event.Phases() {
			all = append(all, string(p))
		}
		return all
	case reflect.TypeFor[event.Outcome]():
		return []string{
			string(event.Done), string(event.Unchanged), string(event.Failed), string(event.Refused),
			string(event.Superseded), string(event.Expired), string(event.InDoubt),
		}
	}
	return nil
}

// of describes a type. Structs with a name are described once, under $defs.
func (m maker) of(t reflect.Type) node {
	switch t {
	case reflect.TypeFor[time.Time]():
		return node{"type": "string", "format": "date-time"}
	case reflect.TypeFor[event.Duration]():
		return node{"type": "string", "pattern": `^-?([0-9.]+(ns|µs|ms|s|m|h))+$`, "description": "as Go writes it: 1.5s"}
	case reflect.TypeFor[json.RawMessage]():
		return node{}
	}
	if values := closed(t); values != nil {
		return node{"type": "string", "enum": values}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return nullable(m.of(t.Elem()))
	case reflect.Struct:
		if _, known := m.defs[t.Name()]; !known {
			m.defs[t.Name()] = node{} // for a type that holds itself
			m.defs[t.Name()] = m.object(t)
		}
		return node{"$ref": "#/$defs/" + t.Name()}
	case reflect.Slice:
		return node{"type": []string{"array", "null"}, "items": m.of(t.Elem())}
	case reflect.Map:
		return node{"type": []string{"object", "null"}, "additionalProperties": m.of(t.Elem())}
	case reflect.String:
		return node{"type": "string"}
	case reflect.Bool:
		return node{"type": "boolean"}
	case reflect.Float64:
		return node{"type": "number"}
	case reflect.Int, reflect.Int32, reflect.Int64:
		return node{"type": "integer"}
	case reflect.Uint, reflect.Uint32, reflect.Uint64:
		return node{"type": "integer", "minimum": 0}
	}
	return node{}
}

func nullable(n node) node {
	if t, ok := n["type"].(string); ok && n["enum"] == nil {
		n["type"] = []string{t, "null"}
		return n
	}
	if _, list := n["type"].([]string); list {
		return n
	}
	return node{"anyOf": []node{n, {"type": "null"}}}
}

// fieldsOf are the fields of a struct's JSON form: those of an embedded struct
// are its own.
func fieldsOf(t reflect.Type) (fields []reflect.StructField) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous && f.Tag.Get("json") == "" {
			fields = append(fields, fieldsOf(f.Type)...)
			continue
		}
		fields = append(fields, f)
	}
	return fields
}

// object describes a struct by its JSON fields.
func (m maker) object(t reflect.Type) node {
	properties, required := node{}, []string{}
	for _, f := range fieldsOf(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" {
			continue
		}
		p := m.of(f.Type)
		if text := m.comments.ofField(t, f.Name); text != "" {
			p["description"] = text
		}
		properties[name] = p
		if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") {
			required = append(required, name)
		}
	}
	o := node{"type": "object", "properties": properties}
	if len(required) > 0 {
		o["required"] = required
	}
	if m.strict {
		o["additionalProperties"] = false
	}
	if text := m.comments.ofType(t); text != "" {
		o["description"] = text
	}
	return o
}
