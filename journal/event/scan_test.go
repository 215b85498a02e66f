package event

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// same holds the promise of the fast decoder: it gives what the general one
// gives, or nothing.
func same(t interface{ Fatalf(string, ...any) }, b []byte) (fast bool) {
	var r Record
	if !decodeCanonical(b, &r) {
		return false
	}
	e, err := decodeAny(b)
	if err != nil {
		t.Fatalf("the fast decoder takes what the general one refuses (%v): %q", err, b)
	}
	if !reflect.DeepEqual(r, e.Record) {
		t.Fatalf("the decoders differ:\n%#v\n%#v\n%s", r, e.Record, b)
	}
	var head Record
	if _, ok := Scan(b, &head); !ok {
		t.Fatalf("the head is not the record's: %+v", head)
	}
	head.Data = r.Data
	if !reflect.DeepEqual(r, head) {
		t.Fatalf("the head is not the record's: %+v", head)
	}
	return true
}

// Nearly every kind has a plan: a field whose type has no reader would make
// reading a journal slow without a word.
func TestPlans(t *testing.T) {
	general := []Kind{ServiceDefined, JournalGap} // a specification; raw records
	for _, k := range Kinds() {
		want := true
		for _, g := range general {
			want = want && k != g
		}
		if _, has := plans[k]; want && !has {
			t.Errorf("%s has no plan: see reader for the types that have one", k)
		}
	}
	for _, file := range goldenFiles() {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		same(t, []byte(strings.TrimSpace(string(b))))
	}
}

func TestDecodersAgree(t *testing.T) {
	kinds := Kinds()
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom(kinds).Draw(t, "kind")
		d, err := codecs[kind].decode([]byte("{}"))
		if err != nil {
			t.Skip(err)
		}
		v := reflect.New(reflect.TypeOf(d)).Elem()
		v.Set(reflect.ValueOf(d))
		if kind != StateBase {
			draw(t, v)
		}
		e, err := Encode(Record{
			ID: "id", Source: "supd/n/1", Kind: kind, Subject: text(t), Time: instant(t), Mono: rapid.Int64().Draw(t, "mono"),
			Boot: text(t), Seq: Seq(rapid.Uint64Range(1, 1<<50).Draw(t, "seq")), Prev: Genesis, Cause: text(t), Actor: text(t),
			Data: v.Interface().(Data),
		})
		if err != nil {
			t.Skip(err)
		}
		b := e.Bytes
		if rapid.Bool().Draw(t, "damaged") {
			at := rapid.IntRange(0, len(b)-1).Draw(t, "at")
			b[at] = rapid.SampledFrom([]byte("0\"{}[],:\\ n-.e")).Draw(t, "byte")
		}
		same(t, b)
	})
}

func text(t *rapid.T) string {
	return rapid.SampledFrom([]string{"", "web", "a b", "ä", "<&>", "\x01", `"`, "\xff", "01950000-0000-7000-8000-000000000001"}).Draw(t, "text")
}

func instant(t *rapid.T) time.Time {
	sec := rapid.Int64Range(-62135596800, 253402300799).Draw(t, "sec")
	return time.Unix(sec, rapid.SampledFrom([]int64{0, 1, 120, 5e6, 999999999}).Draw(t, "nano")).UTC()
}

// draw fills a value at random.
func draw(t *rapid.T, v reflect.Value) {
	switch {
	case v.Type() == timeType:
		v.Set(reflect.ValueOf(instant(t)))
		return
	case v.Kind() == reflect.Pointer:
		if rapid.Bool().Draw(t, "set") {
			v.Set(reflect.New(v.Type().Elem()))
			draw(t, v.Elem())
		}
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text(t))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	case reflect.Int, reflect.Int64:
		v.SetInt(rapid.Int64().Draw(t, "int"))
	case reflect.Uint64:
		v.SetUint(rapid.Uint64().Draw(t, "uint"))
	case reflect.Float64:
		v.SetFloat(rapid.Float64().Draw(t, "float"))
	case reflect.Struct:
		for i := range v.NumField() {
			draw(t, v.Field(i))
		}
	case reflect.Slice:
		if n := rapid.IntRange(-1, 2).Draw(t, "n"); n >= 0 && v.Type().Elem().Kind() != reflect.Uint8 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				draw(t, v.Index(i))
			}
		}
	case reflect.Map:
		if n := rapid.IntRange(-1, 2).Draw(t, "n"); n >= 0 {
			v.Set(reflect.MakeMap(v.Type()))
			for range n {
				key, x := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
				draw(t, key)
				draw(t, x)
				v.SetMapIndex(key, x)
			}
		}
	}
}

// The usual record must not fall back: that would show in speed alone.
func TestUsualRecordsAreFast(t *testing.T) {
	signal, code := "SIGKILL", 3
	for _, d := range []Data{
		InstanceStartingData{Instance: "i", Run: 3, PID: 5, Reason: "restart"},
		InstanceExitedData{Instance: "i", Code: &code, Signal: &signal, Uptime: Duration(time.Second)},
		RestartScheduledData{Retry: 1, Jitter: 0.25, Exit: Exit{Code: &code}, Policy: RestartPolicy{Backoff: Backoff{Factor: 2}}},
		CommandAcceptedData{Command: "c", Patterns: []string{"web"}, Targets: []string{"web", "db"}, Args: map[string]string{"force": "true"}, Client: &Client{UID: 1}},
		CommandEndedData{Command: "c", Outcome: Done, Results: []Result{{Service: "web", Outcome: Done}}},
		InstanceSweptData{Instance: "i", Killed: []Process{{PID: 3, Comm: "sh"}}},
	} {
		e, err := Encode(Record{ID: "id", Source: "s", Kind: d.Kind(), Subject: "web", Time: goldenTime, Seq: 1, Prev: Genesis, Actor: "supd", Data: d})
		if err != nil {
			t.Fatal(err)
		}
		if !same(t, e.Bytes) {
			t.Errorf("the general decoder is needed for %s", e.Bytes)
		}
	}
}

func FuzzCanonical(f *testing.F) {
	for _, file := range goldenFiles() {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(strings.TrimSpace(string(b))))
	}
	f.Add(stored())
	f.Add(stored("false", "true", `"mono":0`, `"mono":-0`))
	f.Add(stored(`"forced":false`, `"forced":false,"forced":true`))
	f.Fuzz(func(t *testing.T, b []byte) { same(t, b) })
}

func BenchmarkDecode(b *testing.B) {
	signal := "SIGSEGV"
	e, err := Encode(Record{
		ID: "01950000-0000-7000-8000-000000000001", Source: "supd/n1/4f3c", Kind: InstanceExited, Subject: "web", Time: goldenTime, Mono: 123456789,
		Boot: "0195-boot/4026531836", Seq: 4711, Prev: Genesis, Cause: "01950000-0000-7000-8000-000000000000", Actor: "supd",
		Data: InstanceExitedData{Instance: "0195aaaa-0000-7000-8000-000000000001", Signal: &signal, Cause: CauseSignaled, Uptime: Duration(90 * time.Second)},
	})
	if err != nil {
		b.Fatal(err)
	}
	for name, f := range map[string]func(){
		"head":    func() { var r Record; Scan(e.Bytes, &r) },
		"fast":    func() { var r Record; decodeCanonical(e.Bytes, &r) },
		"general": func() { _, _ = decodeAny(e.Bytes) },
		"hash":    func() { Hash(e.Bytes) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
}
