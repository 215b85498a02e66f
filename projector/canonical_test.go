package projector

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"supd/journal/event"
)

// bases writes the state's base into the fold's journal.
func (f *fold) bases() (parts []event.Encoded) {
	f.t.Helper()
	for _, d := range f.s.Base() {
		e := f.record("", d)
		if err := f.s.Apply(e); err != nil {
			f.t.Fatal(err)
		}
		parts = append(parts, e)
	}
	return parts
}

// decoded is what a reader gets.
func decoded(t testing.TB, records []event.Encoded) []event.Encoded {
	t.Helper()
	out := make([]event.Encoded, 0, len(records))
	for _, r := range records {
		e, err := event.Decode(r.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// A base of any size, with text of any kind, gives the state again (R9).
func TestBase(t *testing.T) {
	for _, size := range []int{0, 100, MaxBasePart - 700, MaxBasePart, MaxBasePart + 1, 3*MaxBasePart + 17} {
		units := []string{"é"}
		if size == MaxBasePart+1 {
			units = []string{"x", "é", "€", "😀", `"`, "<", "\n"}
		}
		for _, unit := range units {
			f := newFold(t)
			d := defined
			for n := range 1 + size/60_000 {
				d.Spec.Directory = strings.Repeat(unit, min(60_000, size)/len(unit))
				f.apply(fmt.Sprintf("s%d", n), d, wantUp)
			}
			want := f.s.Canonical()
			parts := f.bases()
			if !bytes.Equal(f.s.Canonical(), want) {
				t.Fatal("a base changes the state")
			}
			text := ""
			for i, p := range parts {
				b := p.Record.Data.(event.StateBaseData)
				if !utf8.ValidString(b.Chunk) || len(p.Bytes) > event.MaxRecordSize {
					t.Fatalf("%d × %q: part %d of %d is %d bytes", size, unit, i+1, len(parts), len(p.Bytes))
				}
				text += basePartText(b)
			}
			if text != string(want) {
				t.Fatalf("%d × %q: the parts are not the state", size, unit)
			}
			s, err := FromBase(decoded(t, parts))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(s.Canonical(), want) || s.Seq() != f.s.Seq() || s.Hash() != f.s.Hash() {
				t.Fatalf("%d × %q: the base gives another state", size, unit)
			}
		}
	}
}

func TestBaseErrors(t *testing.T) {
	f := newFold(t)
	for n := range 40 {
		d := defined
		d.Spec.Directory = strings.Repeat("x", 60_000)
		f.apply(fmt.Sprintf("s%d", n), d)
	}
	parts := f.bases()
	if len(parts) < 3 {
		t.Fatalf("%d parts", len(parts))
	}
	for name, p := range map[string][]event.Encoded{
		"none":      nil,
		"first":     parts[1:],
		"last":      parts[:len(parts)-1],
		"not one":   f.log[:1],
		"swapped":   {parts[1], parts[0], parts[2]},
		"one twice": {parts[0], parts[0], parts[2]},
	} {
		if _, err := FromBase(p); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, bad := range []string{"", "{", `{"version":3}`, `{}`, `[]`} {
		if _, err := Parse([]byte(bad), 1, ""); err == nil {
			t.Errorf("%q: accepted", bad)
		}
	}
}

// After records that were dropped, the base makes the state true again (R10).
// The gap may claim records that were stored late all the same.
func TestGap(t *testing.T) {
	for first := range event.Seq(3) {
		f := newFold(t).apply("web", defined, wantUp)
		reader, err := Parse(f.s.Canonical(), f.s.Seq(), f.s.Hash())
		if err != nil {
			t.Fatal(err)
		}
		f.apply("web", starting, running)
		last, hash := f.s.Seq(), f.s.Hash()
		gap := f.record("", event.JournalGapData{First: first + 1, Last: last, LastHash: hash, Why: "full"})
		if err := f.s.Apply(gap); err != nil {
			t.Fatal(err)
		}
		for _, e := range append([]event.Encoded{gap}, f.bases()...) {
			if err := reader.Apply(e); err != nil {
				t.Fatal(err)
			}
			if _, base := e.Record.Data.(event.StateBaseData); reader.Stale() == base {
				t.Errorf("stale %v after %s", reader.Stale(), e.Record.Kind)
			}
		}
		if !bytes.Equal(reader.Canonical(), f.s.Canonical()) || reader.Hash() != f.s.Hash() {
			t.Error("the base does not give the state")
		}
		if f.s.Stale() {
			t.Error("who dropped the records knows the state, and is stale")
		}
	}
	f2 := newFold(t).apply("web", defined)
	bad := f2.record("", event.JournalGapData{First: 5, Last: 9, LastHash: f2.s.Hash()})
	bad.Record.Seq = 10
	if err := f2.s.Apply(bad); err == nil {
		t.Error("a gap that does not begin here is accepted")
	}
}

// Parse and Canonical are inverse for whatever a state may hold as text.
func TestCanonicalIsItsOwn(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := newFold(t)
		d := defined
		d.Spec.Command = rapid.SliceOf(rapid.String()).Draw(rt, "command")
		d.Spec.Limits = rapid.MapOf(rapid.String(), rapid.String()).Draw(rt, "limits")
		d.Spec.Backoff.Factor = rapid.Float64Range(-1e300, 1e300).Draw(rt, "factor")
		x := fatal
		x.Detail = string(rapid.SliceOf(rapid.Byte()).Draw(rt, "detail"))
		f.apply("web", d, wantUp, x)
		f.replays()
		again, err := Parse(f.s.Canonical(), f.s.Seq(), f.s.Hash())
		if err != nil {
			rt.Fatal(err)
		}
		if !bytes.Equal(again.Canonical(), f.s.Canonical()) {
			rt.Fatalf("%s\n%s", again.Canonical(), f.s.Canonical())
		}
	})
}

// FuzzParse: a base comes out of a journal that may be damaged.
func FuzzParse(f *testing.F) {
	fold := newFold(f).apply("web", defined, wantUp, starting)
	f.Add(fold.s.Canonical())
	f.Add([]byte(`{"version":1,"services":{"a":null},"commands":{"c":null},"ended":[null]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := Parse(in, 1, event.Genesis)
		if err != nil {
			return
		}
		again, err := Parse(s.Canonical(), 1, event.Genesis)
		if err != nil || !bytes.Equal(again.Canonical(), s.Canonical()) {
			t.Fatalf("not its own: %v", err)
		}
	})
}

// TestOldBase: a state of version 1, as supd wrote it before services had
// dependencies, readiness and hooks, is read: everything is where it was, and
// what ran counts as having been ready.
func TestOldBase(t *testing.T) {
	old, err := os.ReadFile("testdata/base.1.json")
	if err != nil {
		t.Fatal(err)
	}
	s, err := Parse(old, 7, event.Genesis)
	if err != nil {
		t.Fatal(err)
	}
	if s.Version != Version {
		t.Errorf("version %d", s.Version)
	}
	phases := map[event.Phase]bool{}
	for name, v := range s.Services {
		phases[v.Phase] = true
		if v.Spec.Type != event.TypeSimple || v.Spec.StartTimeout != event.Duration(event.DefaultStartTimeout) {
			t.Errorf("%s: defaults are missing: %+v", name, v.Spec)
		}
		if v.Digest != v.Spec.Digest() {
			t.Errorf("P7: %s has another digest than it was started with", name)
		}
		if x := v.LastExit; x != nil && x.Ready != x.Ran {
			t.Errorf("%s: ran %v, was ready %v", name, x.Ran, x.Ready)
		}
		if i := v.Instance; i != nil && i.IsReady() != (i.Running != nil) {
			t.Errorf("%s: an instance that runs is not ready", name)
		}
	}
	if len(phases) < 7 || len(s.Commands) == 0 {
		t.Errorf("the old base shows %v and %d open commands only", phases, len(s.Commands))
	}
	again, err := Parse(s.Canonical(), 7, event.Genesis)
	if err != nil || !bytes.Equal(again.Canonical(), s.Canonical()) {
		t.Errorf("the migrated state is not its own: %v", err)
	}
}
