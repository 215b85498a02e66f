package timeline

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"supd/journal/event"
)

func ptr[T any](v T) *T { return &v }

func record(kind event.Kind, service string, d event.Data) event.Record {
	return event.Record{
		Seq: 42, Kind: kind, Subject: service, Actor: "supd", Data: d,
		Time: time.Date(2026, 3, 4, 5, 6, 7, 89e6, time.UTC),
	}
}

func TestLine(t *testing.T) {
	tests := []struct {
		name    string
		service string
		actor   string
		data    event.Data
		want    string
	}{
		{
			"exit by code", "web", "",
			event.InstanceExitedData{Code: ptr(3), Uptime: event.Duration(90 * time.Second), MaxRSS: 3 << 20},
			"2026-03-04 05:06:07.089     42 web              instance.exited      exit code 3, up 1m30s, cpu 0s, 3.0 MiB",
		},
		{
			"exit by signal", "web", "",
			event.InstanceExitedData{Signal: ptr("KILL"), OOM: true},
			"2026-03-04 05:06:07.089     42 web              instance.exited      signal KILL, out of memory, up 0s, cpu 0s",
		},
		{
			"unknown exit", "web", "",
			event.InstanceExitedData{},
			"2026-03-04 05:06:07.089     42 web              instance.exited      unknown exit, up 0s, cpu 0s",
		},
		{
			"command", "", "uid-5",
			event.CommandAcceptedData{Command: "c", Verb: "signal", Targets: []string{"a", "b"}, Args: map[string]string{"signal": "HUP"}},
			"2026-03-04 05:06:07.089     42 -                command.accepted     signal signal=HUP a, b (c) by uid-5",
		},
		{
			"reload", "web", "",
			event.InstanceReloadingData{Instance: "i", By: "signal", Took: event.Duration(1500 * time.Microsecond)},
			"2026-03-04 05:06:07.089     42 web              instance.reloading   by signal, after 1.5ms",
		},
		{
			"apply of a wrong configuration", "", "",
			event.CommandEndedData{Command: "c", Outcome: event.Refused, Results: []event.Result{{Outcome: event.Refused, Error: "a.toml:1:2: no"}}},
			"2026-03-04 05:06:07.089     42 -                command.ended        refused after 0s: refused: a.toml:1:2: no (c)",
		},
		{
			"failed command", "", "",
			event.CommandEndedData{Command: "c", Outcome: event.Failed, Results: []event.Result{
				{Service: "a", Outcome: event.Done}, {Service: "b", Outcome: event.Failed, Error: "no"},
			}},
			"2026-03-04 05:06:07.089     42 -                command.ended        failed after 0s: b failed: no (c)",
		},
		{
			"escape", "web", "",
			event.ServiceFatalData{Reason: "exec", Retries: 1, Detail: "a\x1b[2Jb\nc"},
			"2026-03-04 05:06:07.089     42 web              service.fatal        exec after 1 retry: a·[2Jb·c",
		},
		{"no text", "web", "", event.ServiceRemovedData{}, "2026-03-04 05:06:07.089     42 web              service.removed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := record(tt.data.Kind(), tt.service, tt.data)
			if tt.actor != "" {
				r.Actor = tt.actor
			}
			if got := Line(r); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

// Every kind must say something of its own: a kind that is new and was
// forgotten here would show as an empty text.
func TestEveryKindHasAText(t *testing.T) {
	for _, k := range event.Kinds() {
		if k == event.ServiceRemoved {
			continue // says nothing but its kind
		}
		d := zeroData(t, k)
		if Text(record(k, "web", d)) == "" {
			t.Errorf("%s: no text", k)
		}
	}
}

// zeroData gets the data type of a kind through the decoder.
func zeroData(t *testing.T, k event.Kind) event.Data {
	t.Helper()
	stored := `{"specversion":"1.0","id":"x","source":"s","type":"` + k.Type() + `","time":"2026-01-01T00:00:00Z","seq":1,"prev":"` +
		strings.Repeat("0", 64) + `","actor":"supd","data":{}}`
	e, err := event.Decode([]byte(stored))
	if err != nil {
		t.Fatal(err)
	}
	v := reflect.New(reflect.TypeOf(e.Record.Data)).Elem()
	fill(v)
	return v.Interface().(event.Data)
}

// fill sets strings, so that texts made of one field alone are not empty.
func fill(v reflect.Value) {
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.String:
			f.SetString("x")
		case reflect.Slice:
			if f.Type().Elem().Kind() == reflect.Struct {
				f.Set(reflect.MakeSlice(f.Type(), 7, 7))
			}
		}
	}
}

func TestUndecoded(t *testing.T) {
	_, err := event.Decode([]byte("{"))
	if got := Undecoded(event.Record{}, err); !strings.Contains(got, "cannot decode") {
		t.Error(got)
	}
}

// Lines are put together by hand where the libraries are slow; both give the same.
func TestLineByHand(t *testing.T) {
	zones := []*time.Location{time.UTC, time.FixedZone("east", 5*3600+1800), time.FixedZone("west", -7*3600-17)}
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(-70_000_000_000, 260_000_000_000).Draw(t, "sec"), rapid.Int64Range(0, 999_999_999).Draw(t, "nano")).
			In(rapid.SampledFrom(zones).Draw(t, "zone"))
		if got, want := string(appendTime(nil, at)), at.Format(TimeFormat); got != want {
			t.Fatalf("%s is not %s", got, want)
		}
		text := string(rapid.SliceOf(rapid.Byte()).Draw(t, "text"))
		if harmless([]byte(text)) && clean(text) != text {
			t.Fatalf("%q is not harmless", text)
		}
	})
	for x := range 256 {
		if got, want := harmless([]byte{'a', byte(x), 'b'}), x >= ' ' && x < 0x7f; got != want {
			t.Errorf("byte %d: %v", x, got)
		}
	}
}
