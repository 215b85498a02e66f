package keeper

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"supd/executor/keeper/wire"
)

// TestByService holds the index against a look at everything, as slots come, go
// and take each other's place.
func TestByService(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all, index := map[string]*slot{}, byService[*slot]{}
		var ever []*slot
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				s := newSlot(rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "service"), rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "instance"), wire.StateGone)
				if old := all[s.Instance]; old != nil && old.Service != s.Service {
					t.Skip("an instance never changes its service")
				}
				all[s.Instance] = s
				index.add(s.Service, s.Instance, s)
				ever = append(ever, s)
			},
			"remove": func(t *rapid.T) {
				if len(ever) == 0 {
					t.Skip("there is none")
				}
				s := rapid.SampledFrom(ever).Draw(t, "slot")
				if all[s.Instance] == s {
					delete(all, s.Instance)
				}
				index.remove(s.Service, s.Instance, s)
			},
			"": func(t *rapid.T) {
				n := 0
				for service, slots := range index {
					if len(slots) == 0 {
						t.Fatalf("an empty set is kept for service %q", service)
					}
					n += len(slots)
				}
				if n != len(all) {
					t.Fatalf("%d slots in the index, want %d", n, len(all))
				}
				for s := range maps.Values(all) {
					if index[s.Service][s.Instance] != s {
						t.Fatalf("instance %s of service %q is not in the index", s.Instance, s.Service)
					}
				}
			},
		})
	})
}

// TestSettingsOfOne has settings reach all instances of the service and no other,
// before and after others end.
func TestSettingsOfOne(t *testing.T) {
	h := &holdings{byInstance: map[string]*holding{}, services: byService[*holding]{}, common: [4]int{-1, -1, -1, -1}}
	told := func(service, instance string, state wire.State) {
		h.follow(&wire.Slot{Service: service, Instance: instance, State: state})
	}
	told("a", "1", wire.StateOpen)
	told("a", "2", wire.StateOpen)
	told("b", "3", wire.StateOpen)
	told("a", "4", wire.StateOpen)
	told("a", "4", wire.StateGone)
	h.settings("a", []byte("new"))
	var got []string
	for _, instance := range slices.Sorted(maps.Keys(h.byInstance)) {
		got = append(got, instance+string(h.byInstance[instance].data))
	}
	if want := []string{"1new", "2new", "3"}; !slices.Equal(got, want) {
		t.Fatalf("settings are %q, want %q", got, want)
	}
	if len(h.services["a"]) != 2 {
		t.Fatalf("%d instances of a are known, want 2: one has gone", len(h.services["a"]))
	}
}

// BenchmarkSettings measures what an engine that has started says of all its
// services, for one of them: it must not grow with their number.
func BenchmarkSettings(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h := &holdings{byInstance: map[string]*holding{}, services: byService[*holding]{}, common: [4]int{-1, -1, -1, -1}}
			names := make([]string, n)
			for i := range names {
				names[i] = fmt.Sprintf("s-%d", i)
				h.follow(&wire.Slot{Service: names[i], Instance: names[i], State: wire.StateOpen})
			}
			for i := 0; b.Loop(); i++ {
				h.settings(names[i%n], nil)
			}
		})
	}
}
