package projector

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"supd/journal/event"
)

// die lets one instance of a service live and end.
func (f *fold) die(service string, run, code int) {
	id := fmt.Sprintf("%s-%d", service, run)
	f.apply(
		service,
		event.InstanceStartingData{Instance: id, Run: event.Run(run), Reason: event.ReasonRestart},
		event.InstanceRunningData{Instance: id},
		event.InstanceExitedData{Instance: id, Code: &code, Cause: event.CauseExited, Uptime: 7},
		event.RestartScheduledData{Retry: run, Delay: 2_100_000_000},
	)
}

// Whatever dies how often, what is remembered is bounded, is the newest, and a
// base carries it without being another state (P6, P9).
func TestDeathsAreBounded(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		f := newFold(t)
		names := []string{"deaths", "web", "a,b"}
		for n := range rapid.IntRange(0, 20).Draw(r, "others") {
			names = append(names, fmt.Sprintf("s%d", n))
		}
		for _, name := range names {
			f.apply(name, defined, wantUp)
		}
		runs := map[string]int{}
		for range rapid.IntRange(0, 60).Draw(r, "deaths") {
			name := names[rapid.IntRange(0, len(names)-1).Draw(r, "who")]
			if rapid.Bool().Draw(r, "first") {
				name = names[0]
			}
			runs[name]++
			f.die(name, runs[name], runs[name]%256)
		}
		for name, n := range runs {
			list := f.s.Deaths(name)
			if len(list) != min(n, f.s.deathLimit()) && len(list) != min(n, MaxDeaths) {
				t.Fatalf("%s died %d times, %d are remembered", name, n, len(list))
			}
			last := list[len(list)-1]
			if int(last.Run) != n || *last.Code != n%256 || last.Then != fmt.Sprintf("retry %d in 2.1s", n) {
				t.Fatalf("%s: the newest is %+v", name, last)
			}
		}
		kept := f.s.Kept()
		state, _ := CutBase(string(kept))
		if state != string(f.s.Canonical()) {
			t.Fatal("a base says another state")
		}
		again, err := FromBase(decoded(t, f.bases()))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again.Canonical(), f.s.Canonical()) || !bytes.Equal(again.Kept(), kept) {
			t.Fatal("a base gives another state")
		}
		for name := range runs {
			if !reflect.DeepEqual(again.Deaths(name), f.s.Deaths(name)) && len(f.s.Deaths(name)) <= f.s.deathLimit() {
				t.Fatalf("%s: %d deaths became %d", name, len(f.s.Deaths(name)), len(again.Deaths(name)))
			}
		}
	})
}

// A thousand services that die share what may be kept.
func TestDeathsAreShared(t *testing.T) {
	const services, each = 800, 7
	f := newFold(t)
	for n := range services {
		name := fmt.Sprintf("s%d", n)
		f.apply(name, defined, wantUp)
		for run := range each {
			f.die(name, run+1, 1)
		}
	}
	_, deaths := CutBase(string(f.s.Kept()))
	all := 0
	for _, list := range deaths {
		all += len(list)
	}
	if len(deaths) != services || all > MaxAllDeaths {
		t.Errorf("%d deaths of %d services are kept", all, len(deaths))
	}
	for _, p := range f.bases() {
		if len(p.Bytes) > event.MaxRecordSize {
			t.Errorf("a part of %d bytes", len(p.Bytes))
		}
	}
}

// What is no base, or one that was damaged, is read as far as it goes.
func TestCutBase(t *testing.T) {
	for _, text := range []string{
		"", "{", `{"version":2}`, `{"deaths":`, `{"deaths":{`, `{"deaths":{}`, `{"deaths":{}}`, `{"deaths":7,"version":2}`,
		`{"deaths":{"web":[{"q":"x"}]},"version":2}`, `{"deaths":{"web":[null]},"version":2}`,
	} {
		state, deaths := CutBase(text)
		if strings.HasPrefix(text, `{"deaths":`) && strings.HasSuffix(text, `"version":2}`) && state != `{"version":2}` {
			t.Errorf("%s: the state is %q", text, state)
		}
		if len(deaths["web"]) > 1 {
			t.Errorf("%s: %v", text, deaths)
		}
	}
}

// A service that is gone is forgotten with its deaths.
func TestDeathsGoWithTheService(t *testing.T) {
	f := newFold(t).apply("web", defined, wantUp)
	for run := range MaxDeaths + 5 {
		f.die("web", run+1, 1)
	}
	if list := f.s.Deaths("web"); len(list) != MaxDeaths || list[0].Run != 6 {
		t.Errorf("%d deaths, the oldest of run %d", len(list), list[0].Run)
	}
	f.apply("web", event.ServiceRemovedData{})
	if f.s.Services["web"] != nil || f.s.Deaths("web") != nil {
		t.Errorf("%v %v", f.s.Services["web"], f.s.Deaths("web"))
	}
}

// A base is told from another one without reading its deaths, as it is by
// reading them.
func TestIsBase(t *testing.T) {
	f := newFold(t)
	f.apply("web", defined, wantUp)
	f.die("web", 1, 3)
	canonical, kept := f.s.Canonical(), string(f.s.Kept())
	if !IsBase(kept, canonical) || !IsBase(string(canonical), canonical) {
		t.Fatal("a base is not what it was made of")
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SampledFrom([]string{kept, string(canonical), keptPrefix + "{}," + string(canonical[1:])}).Draw(t, "text")
		for range rapid.IntRange(0, 2).Draw(t, "changes") {
			at := rapid.IntRange(0, len(text)).Draw(t, "at")
			end := min(len(text), at+rapid.IntRange(0, 3).Draw(t, "gone"))
			text = text[:at] + rapid.SampledFrom([]string{"", " ", ",", "{", "}", `"`, "0"}).Draw(t, "new") + text[end:]
		}
		state, _ := CutBase(text)
		if got, want := IsBase(text, canonical), state == string(canonical); got != want {
			t.Fatalf("%v, and by reading it %v: %s", got, want, text)
		}
	})
}
