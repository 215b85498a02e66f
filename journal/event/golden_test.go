package event

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var rewrite = flag.Bool("rewrite", false, "write golden files for kinds that have none; one that exists is for ever")

var goldenTime = time.Date(2026, 3, 4, 5, 6, 7, 890_000_000, time.UTC)

// TestGolden holds the stored form of each kind for ever: new binaries read
// old journals (R9), so a golden file is never rewritten. A kind whose data
// gains a field gets one more file (KIND.2.json): the newest shows each field,
// the older ones are read and written as they always were. A kind whose data
// changes in a way that old bytes do not survive needs a new kind.
func TestGolden(t *testing.T) {
	for _, k := range Kinds() {
		t.Run(string(k), func(t *testing.T) {
			file, n := goldenFile(k, 1), 1
			for ; exists(goldenFile(k, n)); n++ {
				file = goldenFile(k, n)
				readsGolden(t, k, file)
			}
			newest, err := os.ReadFile(file)
			if err == nil {
				e, _ := Decode(newest)
				if cmp.Equal(goldenRecord(t, k), e.Record) {
					return
				}
			}
			if !*rewrite {
				t.Fatalf("no golden file shows each field of today's data (go test ./journal/event -rewrite adds one): %v", err)
			}
			e, err := Encode(goldenRecord(t, k))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(goldenFile(k, n), e.Bytes, 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
	files, _ := filepath.Glob("testdata/golden/*.json")
	for _, f := range files {
		name := strings.TrimRight(strings.TrimSuffix(filepath.Base(f), ".json"), ".0123456789")
		if _, ok := codecs[Kind(name)]; !ok {
			t.Errorf("%s: this version no longer reads the kind", f)
		}
	}
}

func goldenFile(k Kind, n int) string {
	if n == 1 {
		return filepath.Join("testdata", "golden", string(k)+".json")
	}
	return filepath.Join("testdata", "golden", fmt.Sprintf("%s.%d.json", k, n))
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

func readsGolden(t *testing.T, k Kind, file string) {
	t.Helper()
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	e, err := Decode(want)
	if err != nil {
		t.Fatal(err)
	}
	if e.Record.Kind != k {
		t.Errorf("%s: kind %s", file, e.Record.Kind)
	}
	again, err := Encode(e.Record)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again.Bytes, want) || again.Hash != e.Hash {
		t.Errorf("%s: not the same bytes\nwant %s\n got %s", file, want, again.Bytes)
	}
}

// goldenRecord has a value in each field of the kind's data.
func goldenRecord(t *testing.T, k Kind) Record {
	t.Helper()
	empty, err := codecs[k].decode([]byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	v := reflect.New(reflect.TypeOf(empty)).Elem()
	fillValue(v, new(int))
	return Record{
		ID: "0195f1c0-0000-7000-8000-000000000007", Source: "supd/host/4f3c", Kind: k, Subject: "web.1", Time: goldenTime, Mono: 1234567890,
		Boot: "boot/pidns", Seq: 7, Prev: Hash([]byte("before")), Cause: "0195f1c0-0000-7000-8000-000000000006", Actor: "uid-1000",
		Data: v.Interface().(Data),
	}
}

// fillValue gives each field a value of its own.
func fillValue(v reflect.Value, n *int) {
	*n++
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		*x = goldenTime.Add(time.Duration(*n) * time.Second)
		return
	case *[]byte, *interface{ MarshalJSON() ([]byte, error) }:
		return
	}
	if v.Type().String() == "json.RawMessage" {
		v.SetBytes([]byte(`{"a":1}`))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("<text & " + string(rune('a'+*n%26)) + ">")
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n))
	case reflect.Float64:
		v.SetFloat(float64(*n) + 0.25)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillValue(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fillValue(v.Index(i), n)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 2 {
			key, val := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fillValue(key, n)
			fillValue(val, n)
			v.SetMapIndex(key, val)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fillValue(v.Field(i), n)
		}
	}
}
