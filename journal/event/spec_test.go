package event

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestSpecDiff changes each field alone: exactly its key is named, and only a
// key that the process was started with restarts it (P7).
func TestSpecDiff(t *testing.T) {
	digests := map[string]string{}
	var each func(typ reflect.Type, prefix string, path []int)
	each = func(typ reflect.Type, prefix string, path []int) {
		for i := range typ.NumField() {
			field := typ.Field(i)
			key, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			change := field.Tag.Get("change")
			if name := field.Tag.Get("key"); name != "" {
				key = name // as the configuration calls it
			}
			if at := append(slices.Clone(path), i); change == "each" {
				each(field.Type, prefix+key+".", at)
			} else if key == "" || change != "R" && change != "L" {
				t.Errorf("%s needs the tags json and change (R, L or each)", field.Name)
			} else {
				differs(t, at, field.Name, prefix+key, change == "R", digests)
			}
		}
	}
	each(reflect.TypeFor[Spec](), "", nil)
}

func differs(t *testing.T, at []int, name, key string, restarts bool, digests map[string]string) {
	t.Helper()
	var a, b Spec
	fillValue(reflect.ValueOf(&b).Elem().FieldByIndex(at), new(int))
	for _, pair := range [][2]Spec{{a, b}, {b, a}} {
		keys, restart := pair[0].Diff(pair[1])
		if !slices.Equal(keys, []string{key}) || restart != restarts {
			t.Errorf("%s: keys %v, restart %v", name, keys, restart)
		}
	}
	if keys, restart := b.Diff(b); len(keys) > 0 || restart {
		t.Errorf("%s differs from itself", name)
	}
	if other := digests[b.Digest()]; other != "" || b.Digest() == a.Digest() {
		t.Errorf("%s has the digest of %q", name, other)
	}
	digests[b.Digest()] = name
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

// TestOldSpec: what an older supd stored is the specification that the same
// configuration gives today, by digest and by key (P7).
func TestOldSpec(t *testing.T) {
	stored, err := os.ReadFile("testdata/golden/service.defined.json")
	if err != nil {
		t.Fatal(err)
	}
	e, err := Decode(stored)
	if err != nil {
		t.Fatal(err)
	}
	old := e.Record.Data.(ServiceDefinedData).Spec
	if bytes.Contains(stored, []byte(`"start_timeout"`)) || old.Type != TypeSimple || old.StartTimeout != Duration(DefaultStartTimeout) {
		t.Fatalf("the golden file is not old, or defaults are missing: type %q, start_timeout %s", old.Type, old.StartTimeout)
	}
	today := old
	today.Type, today.StartTimeout = TypeSimple, Duration(DefaultStartTimeout)
	today.After, today.GroupsOf = []Dependency{}, []string{}
	if keys, _ := old.Diff(today); len(keys) > 0 || old.Digest() != today.Digest() {
		t.Errorf("an upgrade changes %v; digests %.12s and %.12s", keys, old.Digest(), today.Digest())
	}
	var raw struct {
		Data struct{ Spec json.RawMessage }
	}
	if err := json.Unmarshal(stored, &raw); err != nil {
		t.Fatal(err)
	}
	if sum := Hash(raw.Data.Spec); sum != today.Digest() {
		t.Errorf("the older supd called it %.12s, this one calls it %.12s", sum, today.Digest())
	}
	if keys, restart := (Spec{Type: TypeOneshot}).Diff(old); !restart || !slices.Contains(keys, "type") {
		t.Errorf("%v %v", keys, restart)
	}
}

func TestDependsOn(t *testing.T) {
	s := Spec{
		After:    []Dependency{{Name: "net"}, {Name: "db", Condition: ConditionStarted}},
		Requires: []Dependency{{Name: "db"}}, Wants: []Dependency{{Name: "log", Condition: ConditionReady}, {Name: "net", Condition: ConditionCompleted}},
	}
	want := []Dependency{{"db", ConditionStarted}, {"log", ConditionReady}, {"net", ConditionCompleted}}
	if got := s.DependsOn(); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}
