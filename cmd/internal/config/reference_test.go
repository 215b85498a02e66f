package config

import (
	"reflect"
	"strings"
	"testing"

	"supd/journal/event"
)

// The reference has each key that is read, and no other.
func TestReferenceIsComplete(t *testing.T) {
	l := &loader{set: builtin(Host{})}
	entries := Reference()
	covered := func(name string) bool {
		for _, e := range entries {
			if e.Key == name || strings.HasPrefix(e.Key, name+".") || strings.HasPrefix(name, e.Key+".") {
				return true
			}
		}
		return false
	}
	known := func(keys []key, name string) bool {
		for _, k := range keys {
			if k.name == name || strings.HasPrefix(k.name, name+".") || strings.HasPrefix(name, k.name+".") {
				return true
			}
		}
		return false
	}
	for _, k := range l.rootKeys() {
		if k.name != "service" && !covered(k.name) {
			t.Errorf("%s is not in the reference", k.name)
		}
	}
	for _, k := range serviceKeys(&settings{}) {
		if !covered(ofService + k.name) {
			t.Errorf("%s is not in the reference", ofService+k.name)
		}
	}
	seen := map[string]bool{}
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Key, ofService)
		switch {
		case seen[e.Key]:
			t.Errorf("%s is there twice", e.Key)
		case ok && !known(serviceKeys(&settings{}), rest), !ok && !known(l.rootKeys(), e.Key):
			t.Errorf("%s is no key", e.Key)
		case e.Type == "" || e.Default == "" || e.Change == "" || !strings.HasSuffix(e.Text, "."):
			t.Errorf("%s is not described: %+v", e.Key, e)
		}
		seen[e.Key] = true
	}
}

// What the reference says of changes is what event.Spec says to the plan.
func TestReferenceKnowsChanges(t *testing.T) {
	checked := 0
	for key, change := range specChanges(reflect.TypeFor[event.Spec](), "") {
		exact := false
		for _, e := range Reference() {
			exact = exact || e.Key == ofService+key
		}
		for _, e := range Reference() {
			if e.Key != ofService+key && (exact || !strings.HasPrefix(e.Key, ofService+key+".")) {
				continue
			}
			if key == "output" && (e.Key == ofService+"output.capture" || e.Key == ofService+"output.merge_stderr") {
				continue // fields of their own
			}
			checked++
			if string(e.Change) != change {
				t.Errorf("%s: the reference says %s, the plan does %s", e.Key, e.Change, change)
			}
		}
	}
	if checked < 40 {
		t.Errorf("only %d keys were checked", checked)
	}
}

// specChanges is what a change of each key does, by the tags of a specification.
func specChanges(t reflect.Type, prefix string) map[string]string {
	changes := map[string]string{}
	for i := range t.NumField() {
		f := t.Field(i)
		key := f.Tag.Get("key")
		if key == "" {
			key, _, _ = strings.Cut(f.Tag.Get("json"), ",")
		}
		if change := f.Tag.Get("change"); change != "each" {
			changes[prefix+key] = change
			continue
		}
		for inner, change := range specChanges(f.Type, key+".") {
			changes[inner] = change
		}
	}
	return changes
}
