package event

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func stored(change ...string) []byte {
	b, err := Encode(Record{
		ID: "id", Source: "s", Kind: SupdStopped, Time: goldenTime, Seq: 1, Prev: Genesis, Actor: "supd", Data: SupdStoppedData{Reason: "signal"},
	})
	if err != nil {
		panic(err)
	}
	s := string(b.Bytes)
	for i := 0; i+1 < len(change); i += 2 {
		s = strings.Replace(s, change[i], change[i+1], 1)
	}
	return []byte(s)
}

func TestDecodeErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []byte
		want string
	}{
		{"nothing", nil, "unexpected end"},
		{"no JSON", []byte("supd"), "invalid character"},
		{"half", stored()[:40], "unexpected end"},
		{"two", append(stored(), stored()...), "after top-level value"},
		{"too large", []byte(strings.Repeat(" ", MaxRecordSize+1)), "are more than"},
		{"other version", stored(`"specversion":"1.0"`, `"specversion":"2.0"`), "specversion"},
		{"no id", stored(`"id":"id"`, `"id":""`), "id"},
		{"no seq", stored(`"seq":1`, `"seq":0`), "seq"},
		{"negative seq", stored(`"seq":1`, `"seq":-1`), "cannot unmarshal"},
		{"short prev", stored(Genesis, "00"), "prev"},
		{"no data", stored(`,"data":{"reason":"signal","keep_services":false,"forced":false}`, ``), "unexpected end"},
		{"wrong data", stored(`"forced":false`, `"forced":3`), "cannot unmarshal"},
		{"unknown kind", stored("supd.supd.stopped.v1", "supd.supd.danced.v1"), "unknown record kind"},
		{"kind of a later version", stored("stopped.v1", "stopped.v2"), "unknown record kind"},
		{"foreign type", stored("supd.supd.stopped.v1", "com.example"), "unknown record kind"},
		{"no time", stored(`"time":"2026`, `"time":"yesterday 2026`), "cannot decode"},
		{"time out of range", stored("2026-03-04T05:06:07.89Z", "9999-12-31T23:59:59-23:59"), "out of range"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := Decode(c.in)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "cannot decode record") {
				t.Errorf("got %v, want one with %q", err, c.want)
			}
			if errors.Is(err, ErrUnknownKind) {
				if u, ok := e.Record.Data.(Unknown); !ok || u.Type == "" || len(u.Raw) == 0 || e.Record.Seq != 1 {
					t.Errorf("people must be able to read on: %+v", e.Record)
				}
			}
		})
	}
}

func TestEncodeErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		r    Record
		want string
	}{
		{"no data", Record{Kind: SupdStopped}, "not of kind"},
		{"other data", Record{Kind: SupdStopped, Data: SupdStoppingData{}}, "not of kind"},
		{"too large", Record{Kind: StateBase, Data: StateBaseData{Chunk: strings.Repeat("x", MaxRecordSize)}}, "are more than"},
		{"no JSON", Record{Kind: StateBase, Data: StateBaseData{State: []byte("{")}}, "cannot encode"},
		{"year 10000", Record{Kind: SupdStopped, Data: SupdStoppedData{}, Time: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, "cannot encode"},
	} {
		if _, err := Encode(c.r); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

// What is encoded is what a reader gets, whatever clock the time is from (P6).
func TestEncodeNormalizesTime(t *testing.T) {
	local := time.Now().In(time.FixedZone("here", 3600))
	e, err := Encode(Record{ID: "i", Kind: SupdStopped, Time: local, Seq: 1, Prev: Genesis, Data: SupdStoppedData{}})
	if err != nil {
		t.Fatal(err)
	}
	d, err := Decode(e.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if e.Record.Time != d.Record.Time {
		t.Errorf("%#v is read back as %#v", e.Record.Time, d.Record.Time)
	}
}

func TestKinds(t *testing.T) {
	ks := Kinds()
	if len(ks) != len(codecs) {
		t.Fatal("a kind is missing")
	}
	for i, k := range ks {
		if i > 0 && ks[i-1] >= k {
			t.Errorf("%s is out of order", k)
		}
		got, ok := kindOfType(k.Type())
		if !ok || got != k || k.Group()+"."+k.What() != string(k) {
			t.Errorf("%s: %s, %s, %s", k, k.Type(), k.Group(), k.What())
		}
		d, err := codecs[k].decode([]byte("{}"))
		if err != nil || d.Kind() != k {
			t.Errorf("%s: its data says %v, %v", k, d, err)
		}
	}
}

func goldenFiles() []string {
	files, _ := filepath.Glob("testdata/golden/*.json")
	return files
}

// FuzzDecode: nothing that comes out of a damaged journal brings a reader
// down, and what is accepted means the same when it is written again.
func FuzzDecode(f *testing.F) {
	for _, file := range goldenFiles() {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add(stored())
	f.Add(stored("supd.supd.stopped.v1", "x"))
	f.Add([]byte(`{"specversion":"1.0","id":"x","type":"supd.command.accepted.v1","seq":1,"prev":"` + Genesis + `","data":{"args":{}}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		e, err := Decode(in)
		if err != nil {
			return
		}
		again, err := Encode(e.Record)
		if err != nil {
			t.Fatalf("accepted and not encodable: %v", err)
		}
		back, err := Decode(again.Bytes)
		if err != nil {
			t.Fatalf("written and not readable: %v", err)
		}
		if diff := cmp.Diff(e.Record, back.Record, cmpopts.EquateEmpty(), cmpopts.EquateNaNs()); diff != "" &&
			e.Record.Kind != StateBase { // raw JSON may lose white space
			t.Fatal(diff)
		}
		third, err := Encode(back.Record)
		if err != nil || !bytes.Equal(third.Bytes, again.Bytes) {
			t.Fatalf("the stored form is not stable: %v\n%s\n%s", err, again.Bytes, third.Bytes)
		}
	})
}
