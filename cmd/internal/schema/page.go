package schema

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"supd/journal/event"
)

const intro = `# Records

Every record of the journal is a JSON object with the attributes of
[CloudEvents](https://cloudevents.io) 1.0 and supd's own beside them. This page is made from the source, and so
are the [JSON Schemas](../../journal/event/schema) of all kinds.

| attribute | |
|---|---|
| ` + "`specversion`, `id`, `source`, `type`, `subject`, `time`, `data`" + ` | CloudEvents: "1.0", a UUIDv7, supd/NODE/NODE_ID, supd.KIND.v1, the service if there is one, wall clock (UTC), what the kind says |
| ` + "`mono`, `boot`" + ` | CLOCK_BOOTTIME in nanoseconds; boot id and pid namespace |
| ` + "`seq`, `prev`" + ` | contiguous from 1 for ever; SHA-256 of the stored bytes of the record before |
| ` + "`cause`" + ` | id of the record or command that led here; absent for what came from outside |
| ` + "`actor`" + ` | uid-1000, nkey-U…, signal, supd |

Subjects in the stream JOURNAL are ` + "`sup.NODE.evt.SERVICE.GROUP.WHAT`" + `, with ` + "`_`" + ` for no service.
`

// Page is the reference page of all kinds, in Markdown.
func Page(c Comments) (string, error) {
	var b strings.Builder
	b.WriteString(intro)
	shown := map[reflect.Type]bool{}
	var parts []reflect.Type
	for _, kind := range event.Kinds() {
		data, err := event.DecodeData(kind, json.RawMessage("{}"))
		if err != nil {
			return "", fmt.Errorf("cannot describe %s: %w", kind, err)
		}
		t := reflect.TypeOf(data)
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", kind, about(c.ofType(t), t.Name(), "This record"))
		parts = append(parts, fields(&b, c, t, shown)...)
	}
	b.WriteString("\n## Parts of records\n")
	for len(parts) > 0 {
		t := parts[0]
		parts = parts[1:]
		fmt.Fprintf(&b, "\n### %s\n\n%s\n", t.Name(), about(c.ofType(t), t.Name(), "This"))
		parts = append(parts, fields(&b, c, t, shown)...)
	}
	return b.String(), nil
}

// about makes a sentence without the name of the Go type.
func about(comment, name, subject string) string {
	if rest, ok := strings.CutPrefix(comment, name+" "); ok {
		return subject + " " + rest
	}
	return comment
}

// fields writes the table of a struct and returns the structs in it that have
// not been shown.
func fields(b *strings.Builder, c Comments, t reflect.Type, shown map[reflect.Type]bool) (parts []reflect.Type) {
	if t.NumField() == 0 {
		return nil
	}
	b.WriteString("\n| field | type | |\n|---|---|---|\n")
	for _, f := range fieldsOf(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" {
			continue
		}
		word := typeWord(f.Type)
		if strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero") {
			word += ", may be absent"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", name, word, strings.ReplaceAll(c.ofField(t, f.Name), "|", `\|`))
		if part := inner(f.Type); part != nil && !shown[part] {
			shown[part] = true
			parts = append(parts, part)
		}
	}
	return parts
}

// inner is the struct that a field holds, one or many; nil if none.
func inner(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t == reflect.TypeFor[time.Time]() {
		return nil
	}
	return t
}

func typeWord(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Time]():
		return "time"
	case reflect.TypeFor[event.Duration]():
		return "duration"
	case reflect.TypeFor[json.RawMessage]():
		return "JSON"
	}
	if values := closed(t); values != nil {
		return strings.Join(values, ", ")
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeWord(t.Elem()) + " or null"
	case reflect.Slice:
		return "list of " + typeWord(t.Elem())
	case reflect.Map:
		return "object of " + typeWord(t.Elem())
	case reflect.Struct:
		return fmt.Sprintf("[%s](#%s)", t.Name(), strings.ToLower(t.Name()))
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "text"
	}
	return "number"
}
