package event

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestSpecDiff changes each field alone: exactly its key is named, and only a
// key that the process was started with restarts it (P7).
func TestSpecDiff(t *testing.T) {
	typ := reflect.TypeFor[Spec]()
	digests := map[string]string{}
	for i := range typ.NumField() {
		field := typ.Field(i)
		key, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		change := field.Tag.Get("change")
		if name := field.Tag.Get("key"); name != "" {
			key = name // as the configuration calls it
		}
		if key == "" || change != "R" && change != "L" {
			t.Errorf("%s needs the tags json and change (R or L)", field.Name)
			continue
		}
		var a, b Spec
		fillValue(reflect.ValueOf(&b).Elem().Field(i), new(int))
		for _, pair := range [][2]Spec{{a, b}, {b, a}} {
			keys, restart := pair[0].Diff(pair[1])
			if !slices.Equal(keys, []string{key}) || restart != (change == "R") {
				t.Errorf("%s: keys %v, restart %v", field.Name, keys, restart)
			}
		}
		if keys, restart := b.Diff(b); len(keys) > 0 || restart {
			t.Errorf("%s differs from itself", field.Name)
		}
		if other := digests[b.Digest()]; other != "" || b.Digest() == a.Digest() {
			t.Errorf("%s has the digest of %q", field.Name, other)
		}
		digests[b.Digest()] = field.Name
	}
}

func TestSpecDiffMany(t *testing.T) {
	a := Spec{Nice: 1, MaxRetries: 2, Groups: []string{}, Limits: map[string]string{}}
	b := Spec{Nice: 2, MaxRetries: 3}
	if keys, restart := a.Diff(b); !slices.Equal(keys, []string{"max_retries", "nice"}) || !restart {
		t.Errorf("%v %v", keys, restart)
	}
	b.Nice = 1
	if keys, restart := a.Diff(b); !slices.Equal(keys, []string{"max_retries"}) || restart {
		t.Errorf("%v %v: absent and empty are one", keys, restart)
	}
}
