package event

import (
	"reflect"
	"slices"
	"strings"
)

// Sharing lets specifications that were decoded one by one have in common what
// is equal in them: of a thousand services most differ in a name and little
// else, and the rest would be in memory a thousand times. Values stay what they
// were; nobody may change a shared list in place. The zero value is ready. One
// goroutine uses it, and forgets it afterwards.
type Sharing struct {
	texts map[string]string
	lists map[string][]string
}

// Spec shares what s holds.
func (h *Sharing) Spec(s *Spec) { h.value(reflect.ValueOf(s).Elem()) }

// Launch shares what l holds.
func (h *Sharing) Launch(l *Launch) { h.value(reflect.ValueOf(l).Elem()) }

func (h *Sharing) value(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(h.text(v.String()))
	case reflect.Struct:
		for i := range v.NumField() {
			h.value(v.Field(i))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			h.value(v.Elem())
		}
	case reflect.Slice:
		if list, ok := v.Interface().([]string); ok {
			if len(list) > 0 { // nil and empty are not the same in JSON
				v.Set(reflect.ValueOf(h.list(list)))
			}
			return
		}
		for i := range v.Len() {
			h.value(v.Index(i))
		}
	}
}

func (h *Sharing) text(s string) string {
	if s == "" {
		return s
	}
	if known, ok := h.texts[s]; ok {
		return known
	}
	if h.texts == nil {
		h.texts = map[string]string{}
	}
	h.texts[s] = s
	return s
}

func (h *Sharing) list(l []string) []string {
	// A key of another list may be the same text; then this one keeps its own.
	key := strings.Join(l, "\x00")
	known, ok := h.lists[key]
	if ok && slices.Equal(known, l) {
		return known
	}
	fresh := make([]string, len(l)) // no spare room that two might append into
	for i, s := range l {
		fresh[i] = h.text(s)
	}
	if h.lists == nil {
		h.lists = map[string][]string{}
	}
	if !ok {
		h.lists[key] = fresh
	}
	return fresh
}
