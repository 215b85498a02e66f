package main

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"supd/cmd/internal/bench/bigjournal"
	"supd/cmd/internal/client"
	"supd/journal/event"
)

// Everything comes in its order and once, and a reader that has enough leaves
// no goroutine behind.
func TestPipeline(t *testing.T) {
	folder := t.TempDir()
	n, err := bigjournal.Write(folder, 20_000)
	if err != nil {
		t.Fatal(err)
	}
	src, err := openSource(folder, client.Network{}, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for _, full := range []depth{nil, headsOnly, func(r *event.Record) bool { return r.Seq%3 == 0 }} {
		next := event.Seq(1)
		for st := range src.history(reading{full: full}) {
			if st.finding != nil || st.rec.Record.Seq != next {
				t.Fatalf("at %d comes %+v", next, st)
			}
			if r := st.rec.Record; (full == nil || full(&event.Record{Seq: r.Seq})) && r.Data == nil {
				t.Fatalf("record %d was to be decoded", r.Seq)
			}
			next++
		}
		if int(next)-1 != n {
			t.Fatalf("%d records of %d", next-1, n)
		}
	}
	for _, enough := range []event.Seq{1, 255, 256, 257, 9000} {
		for st := range src.history(reading{}) {
			if st.rec.Record.Seq == enough {
				break
			}
		}
	}
	if v := src.verify(nil); v.Result != resultIntact || v.Records != n {
		t.Errorf("%d records: %v", v.Records, v.Findings)
	}
}

// Blocks are read into room that is used again: what is kept of a history is not
// changed by that, and what is only passing is right while it passes.
func TestLentRoom(t *testing.T) {
	folder := t.TempDir()
	if _, err := bigjournal.Write(folder, 40_000); err != nil { // four blocks
		t.Fatal(err)
	}
	src, err := openSource(folder, client.Network{}, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	var want []event.Record
	for e, err := range src.reader.Records(0) {
		if err != nil {
			t.Fatal(err)
		}
		rec, err := event.Decode(e.Data)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, rec.Record)
	}
	var kept []event.Encoded
	for st := range src.history(reading{}) {
		kept = append(kept, st.rec)
	}
	for i, e := range kept {
		if !reflect.DeepEqual(e.Record, want[i]) || event.Hash(e.Bytes) != e.Hash {
			t.Fatalf("record %d became %+v", i+1, e.Record)
		}
	}
	n := 0
	for st := range src.history(reading{passing: true}) {
		if !reflect.DeepEqual(st.rec.Record, want[n]) || event.Hash(st.entry.Data) != st.rec.Hash {
			t.Fatalf("record %d passes as %+v", n+1, st.rec.Record)
		}
		n++
	}
	for st := range src.history(heads) {
		st.rec.Record.Data = want[st.rec.Record.Seq-1].Data
		if !reflect.DeepEqual(st.rec.Record, want[st.rec.Record.Seq-1]) {
			t.Fatalf("the head of record %d is %+v", st.rec.Record.Seq, st.rec.Record)
		}
	}
	if len(kept) != len(want) || n != len(want) {
		t.Fatalf("%d and %d records of %d", len(kept), n, len(want))
	}
}

// A stepper is at the same place, with the same state, by whatever way it came.
func TestStepperFindsItsWay(t *testing.T) {
	folder := t.TempDir()
	n, err := bigjournal.Write(folder, 5000)
	if err != nil {
		t.Fatal(err)
	}
	src, err := openSource(folder, client.Network{}, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newStepper(src)
	if err != nil {
		t.Fatal(err)
	}
	for _, seq := range []event.Seq{event.Seq(n), 1, 1024, 1025, 3000, 2047, 2048, 2049, 17} {
		if err := s.gotoSeq(seq); err != nil || s.here().Seq != seq {
			t.Fatalf("at %d: %v %v", seq, s.here().Seq, err)
		}
		v, err := src.at(moment{seq: seq})
		if err != nil {
			t.Fatal(err)
		}
		if state, why := s.state(); state == nil || string(state.Canonical()) != string(v.state.Canonical()) {
			t.Fatalf("at %d the state is another one %s", seq, why)
		}
		if err := s.gotoMoment(moment{at: s.here().Time}); err != nil || s.here().Seq != seq {
			t.Fatalf("at the time of %d: %d %v", seq, s.here().Seq, err)
		}
	}
	if err := s.gotoSeq(1020); err != nil {
		t.Fatal(err)
	}
	for want := event.Seq(1021); want < 1030; want++ {
		if err := s.move(true, ""); err != nil || s.here().Seq != want {
			t.Fatal(s.here().Seq, want, err)
		}
	}
	for want := event.Seq(1028); want > 1015; want-- {
		if err := s.move(false, ""); err != nil || s.here().Seq != want {
			t.Fatal(s.here().Seq, want, err)
		}
	}
	if err := s.gotoMoment(moment{at: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)}); err == nil {
		t.Error("a time before the journal was found")
	}
}

// benchRecords is the length of the journal that the verbs are measured on.
var benchRecords = flag.Int("bench-records", 100_000, "records of the journal in benchmarks")

// BenchmarkVerbs measures each verb on a generated journal: what it costs in
// time, in the processors' time (which a busy machine hardly changes) and in
// memory allotted.
func BenchmarkVerbs(b *testing.B) {
	folder := b.TempDir()
	n, err := bigjournal.Write(folder, *benchRecords)
	if err != nil {
		b.Fatal(err)
	}
	middle, page := strconv.Itoa(n/2), filepath.Join(b.TempDir(), "page.html")
	for _, args := range [][]string{
		{"verify"},
		{"timeline"},
		{"timeline", "--service", "service-07"},
		{"timeline", "-o", "json"},
		{"at", strconv.Itoa(n)},
		{"at", middle},
		{"diff", middle, strconv.Itoa(n)},
		{"why", "service-07"},
		{"html", "--until", strconv.Itoa(min(n, maxRows)), "--no-output", "-o", page},
	} {
		b.Run(strings.ReplaceAll(strings.Join(args[:min(len(args), 3)], " "), "/", ""), func(b *testing.B) {
			b.ReportAllocs()
			began := processorTime(b)
			for b.Loop() {
				if code := run(append(args, "--from", folder), io.Discard, os.Stderr); code != 0 {
					b.Fatal(code)
				}
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64((processorTime(b)-began).Nanoseconds())/float64(n*b.N), "cpu-ns/record")
		})
	}
}

func processorTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
